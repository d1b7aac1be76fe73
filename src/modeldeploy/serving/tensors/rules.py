"""The rules that all inputs are held to, however they came, and the words for those that break one."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any

import numpy as np
import numpy.typing as npt

from ..problems import BadInput
from ..spec import TensorSpec

Array = npt.NDArray[Any]

_JSON_NAMES = {bool: "a boolean", type(None): "null", list: "a list", dict: "an object"}


@dataclass(frozen=True, slots=True)
class Inputs:
    """Arrays by input name, as the model takes them."""

    arrays: dict[str, Array]
    single: bool
    """One sample came without its batch dimension; the answer goes back without it too."""


def numpy_dtype(tensor: TensorSpec) -> np.dtype[Any]:
    """What numpy calls the input's dtype; texts are objects."""
    return np.dtype(object if tensor.dtype == "string" else tensor.dtype)


def as_inputs(specs: Sequence[TensorSpec], arrays: Mapping[str, Array]) -> Inputs:
    """Arrays that are in order each by itself, as one request: all batches or all samples, sizes that agree.

    Raises `BadInput`.
    """
    found: dict[str, Array] = {}
    without_batch: dict[str, bool] = {}
    for tensor in specs:
        array = arrays[tensor.name]
        if tensor.batched:
            without_batch[tensor.name] = array.ndim < len(tensor.shape or ())
        found[tensor.name] = array[np.newaxis] if without_batch.get(tensor.name) else array
    single = _all_or_none(specs, without_batch)
    _same_free_sizes(specs, found)
    return Inputs(found, single)


def named_fields(specs: Sequence[TensorSpec], value: object) -> Mapping[str, object]:
    """The fields of a request, if they are the inputs and no others. Raises `BadInput`."""
    names = [tensor.name for tensor in specs]
    expected = f"an object with {', '.join(quoted(name) for name in names)}"
    if not isinstance(value, dict):
        raise BadInput(f"the body must be {expected}", expected=expected, got=described(value))
    for name in value:
        if name not in names:
            near = get_close_matches(name[:100], names, n=1, cutoff=0.5)
            hint = f"; did you mean {quoted(near[0])}?" if near else ""
            raise BadInput(
                f"there is no input {quoted(name)}{hint}",
                field=shortened(name),
                expected=expected,
                got=quoted(name),
            )
    for tensor in specs:
        if tensor.name not in value:
            raise bad(tensor, "is missing", got="nothing")
    return value


def check_shape(tensor: TensorSpec, value: object, shape: tuple[int, ...]) -> None:
    """Refuse a shape that the input does not have; ``value`` is what came, if that was no list."""
    if tensor.shape is None:
        wanted: tuple[int | str | None, ...] = (None,) * len(shape)
    elif tensor.batched and len(shape) == len(tensor.shape) - 1:
        wanted = tensor.shape[1:]
    else:
        wanted = tensor.shape
    got = f"shape {list(shape)}" if shape else described(value)
    if shape and shape[0] == 0 and len(wanted) and wanted[0] != 0:
        raise bad(tensor, "is empty", got="an empty list")
    if wanted and not shape:
        raise bad(tensor, f"must be a list, not {got}", got=got)
    if len(shape) != len(wanted):
        raise bad(tensor, f"has {len(shape)} dimensions instead of {len(wanted)}", got=got)
    for axis, (size, want) in enumerate(zip(shape, wanted, strict=True)):
        if isinstance(want, int) and size != want:
            raise bad(tensor, f"has {size} instead of {want} entries in dimension {axis}", got=got)
        if size == 0 and want != 0:
            raise bad(tensor, f"is empty in dimension {axis}", got=got)


def check_text(tensor: TensorSpec, flat: list[str], shape: tuple[int, ...]) -> None:
    """Refuse texts that no UTF-8 can hold."""
    for index, text in enumerate(flat):
        try:
            text.encode()
        except UnicodeEncodeError:
            where = at_position(index, shape)
            raise bad(
                tensor, f"holds half a character (a lone surrogate){where}", got=ascii(text[:40])
            ) from None


def check_range(tensor: TensorSpec, array: Array) -> None:
    """Refuse values beyond the input's minimum and maximum.

    NaN is in every range: whether it may come is decided before.
    """
    if tensor.minimum is None and tensor.maximum is None:
        return
    wrong = np.zeros(array.shape, dtype=bool)
    with np.errstate(over="ignore"):  # a bound beyond the dtype's own is none
        if tensor.minimum is not None:
            wrong |= array < tensor.minimum
        if tensor.maximum is not None:
            wrong |= array > tensor.maximum
    if wrong.any():
        odd = int(np.flatnonzero(wrong)[0])
        raise outside(tensor, array.flat[odd].item(), odd, array.shape, tensor.allowed)


def _all_or_none(specs: Sequence[TensorSpec], without_batch: Mapping[str, bool]) -> bool:
    single = bool(without_batch) and all(without_batch.values())
    if single or not any(without_batch.values()):
        return single
    odd = next(tensor for tensor in specs if without_batch.get(tensor.name))
    other = next(name for name, alone in without_batch.items() if not alone)
    raise bad(
        odd,
        f"is a single sample, but {quoted(other)} is a batch",
        got="a sample without its batch dimension",
    )


def _same_free_sizes(specs: Sequence[TensorSpec], arrays: Mapping[str, Array]) -> None:
    """Dimensions of one name have one size; leading ones without a name are all the batch."""
    seen: dict[str, tuple[int, str]] = {}
    for tensor in specs:
        for axis, wanted in enumerate(tensor.shape or ()):
            if isinstance(wanted, int) or (wanted is None and axis):
                continue
            size = arrays[tensor.name].shape[axis]
            before, field = seen.setdefault(wanted or "", (size, tensor.name))
            if size != before:
                raise bad(
                    tensor,
                    f"has {size} entries in dimension {axis}, but {quoted(field)} has {before}",
                    got=f"shape {list(arrays[tensor.name].shape)}",
                )


def outside(tensor: TensorSpec, value: object, index: int, shape: tuple[int, ...], allowed: str) -> BadInput:
    """The refusal of a value that is not in the allowed range."""
    got = described(value) + at_position(index, shape)
    return BadInput(
        f"{quoted(tensor.name)} holds {got}: it must be {allowed}",
        field=tensor.name,
        expected=f"{tensor}, values {allowed}",
        got=got,
    )


def bad(tensor: TensorSpec, error: str, *, got: str) -> BadInput:
    """The refusal of an input: what is wrong with it, as a sentence that its name begins."""
    return BadInput(f"{quoted(tensor.name)} {error}", field=tensor.name, expected=str(tensor), got=got)


def at_position(index: int, shape: tuple[int, ...]) -> str:
    """The same after a value: `` at [2][0]``, and nothing where there is only one."""
    return f" at {position(index, shape)}" if shape else ""


def position(index: int, shape: tuple[int, ...]) -> str:
    """Where in the nested list, e.g. ``[2][0]``."""
    return "".join(f"[{int(step)}]" for step in np.unravel_index(index, shape)) if shape else "the top"


def described(value: object) -> str:
    """A JSON value in a few words; never long, whatever came."""
    if isinstance(value, str):
        return f"the string {quoted(value)}"
    if type(value) in (int, float):
        return shortened(json.dumps(value))
    return _JSON_NAMES[type(value)]


def quoted(text: str) -> str:
    """A name or a text of the request, in quotes and cut short."""
    return json.dumps(shortened(text), ensure_ascii=False)


def shortened(text: str) -> str:
    """At most 40 characters of a text."""
    return text if len(text) <= 40 else f"{text[:37]}..."
