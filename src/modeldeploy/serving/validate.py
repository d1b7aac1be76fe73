"""From the body of a request to the arrays that a model takes; from a bad body to a clear answer.

Strict on purpose: a value that is not of the signature's dtype is refused rather than cast, because a
service that guesses answers wrongly without saying so. JSON numbers with a fraction or an exponent are
not integers, and what JSON does not know (NaN, Infinity) is not a number.

Only numpy is needed, so that a faster way in can use the same rules.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from itertools import chain
from typing import Any

import numpy as np
import numpy.typing as npt

from .spec import ServiceSpec, TensorSpec

Array = npt.NDArray[Any]

_DEEPEST = 32
"""Nesting that numpy can hold: the limit for an input whose rank is not known."""
_JSON_NAMES = {bool: "a boolean", type(None): "null", list: "a list", dict: "an object"}
_KINDS: Mapping[str, tuple[tuple[type, ...], str]] = {
    "b": ((bool,), "true or false"),
    "i": ((int,), "whole numbers"),
    "u": ((int,), "whole numbers"),
    "f": ((float, int), "numbers"),
    "O": ((str,), "strings"),
}
"""Per numpy kind: the Python types that JSON values of that kind have, and what to call them."""


class BadInput(Exception):
    """The request is wrong: an answer of 400. ``field`` is None if no one field is to blame."""

    def __init__(self, error: str, *, field: str | None = None, expected: str = "", got: str = "") -> None:
        super().__init__(error)
        self.error = error
        self.field = field
        self.expected = expected
        self.got = got

    def as_json(self) -> dict[str, str | None]:
        """The answer's body: what is wrong, where, what was expected and what came."""
        return {"error": self.error, "field": self.field, "expected": self.expected, "got": self.got}


@dataclass(frozen=True, slots=True)
class Inputs:
    """Arrays by input name, as the model takes them."""

    arrays: dict[str, Array]
    single: bool
    """One sample came without its batch dimension; the answer goes back without it too."""


def read_request(spec: ServiceSpec, body: bytes) -> Inputs:
    """The inputs in a request's body, ``{"<input>": nested list, ...}``. Raises `BadInput`.

    An input whose leading dimension is free takes a batch, or one sample without that dimension: then
    all such inputs must come without it.
    """
    return read_inputs(spec, parse_json(body))


def parse_json(body: bytes) -> object:
    """The JSON value in a body, in UTF-8. Raises `BadInput`, also for a name given twice."""
    try:
        return json.loads(body.decode(), object_pairs_hook=_object_without_doubles)
    except RecursionError:
        raise BadInput("the body is nested too deeply", expected="a JSON object") from None
    except ValueError as error:  # bad UTF-8, bad JSON, a number of thousands of digits
        got = _shortened(body.decode(errors="replace")) or "an empty body"
        raise BadInput(f"the body is not JSON: {error}", expected="a JSON object", got=got) from None


def read_inputs(spec: ServiceSpec, value: object) -> Inputs:
    """The inputs in a JSON value. Raises `BadInput` naming the field that is wrong."""
    fields = _named_fields(spec, value)
    arrays: dict[str, Array] = {}
    without_batch: dict[str, bool] = {}
    for tensor in spec.inputs:
        array = read_array(tensor, fields[tensor.name])
        if tensor.batched:
            without_batch[tensor.name] = array.ndim < len(tensor.shape or ())
        arrays[tensor.name] = array[np.newaxis] if without_batch.get(tensor.name) else array
    single = _all_or_none(spec, without_batch)
    _same_free_sizes(spec, arrays)
    return Inputs(arrays, single)


def read_array(tensor: TensorSpec, value: object) -> Array:
    """One input's array; of one dimension less where a sample came without its batch dimension.

    Raises `BadInput`.
    """
    flat, shape = _unnested(tensor, value)
    _check_shape(tensor, value, shape)
    dtype = np.dtype(object if tensor.dtype == "string" else tensor.dtype)
    _check_types(tensor, flat, shape, dtype)
    array = _converted(tensor, flat, shape, dtype).reshape(shape)
    _check_range(tensor, array)
    return array


def _object_without_doubles(pairs: list[tuple[str, object]]) -> dict[str, object]:
    fields = dict(pairs)
    if len(fields) < len(pairs):
        names = [name for name, _ in pairs]
        double = next(name for name in names if names.count(name) > 1)
        raise BadInput(
            f"{_quoted(double)} is given twice",
            field=double,
            expected="each name once",
            got=f"{names.count(double)} times",
        )
    return fields


def _named_fields(spec: ServiceSpec, value: object) -> Mapping[str, object]:
    names = [tensor.name for tensor in spec.inputs]
    expected = f"an object with {', '.join(_quoted(name) for name in names)}"
    if not isinstance(value, dict):
        raise BadInput(f"the body must be {expected}", expected=expected, got=_described(value))
    for name in value:
        if name not in names:
            near = get_close_matches(name[:100], names, n=1, cutoff=0.5)
            hint = f"; did you mean {_quoted(near[0])}?" if near else ""
            raise BadInput(
                f"there is no input {_quoted(name)}{hint}", field=name, expected=expected, got=_quoted(name)
            )
    for tensor in spec.inputs:
        if tensor.name not in value:
            raise _bad(tensor, "is missing", got="nothing")
    return value


def _unnested(tensor: TensorSpec, value: object) -> tuple[list[object], tuple[int, ...]]:
    """The values in a nested list and its shape, level by level: fast, and no recursion to exhaust."""
    deepest = _DEEPEST if tensor.shape is None else len(tensor.shape)
    flat: list[Any] = [value]
    shape: tuple[int, ...] = ()
    while list in (kinds := set(map(type, flat))):
        sizes = set(map(len, flat)) if len(kinds) == 1 else set()
        if len(sizes) != 1:
            raise _ragged(tensor, flat, shape)
        shape += (sizes.pop(),)
        if len(shape) > deepest:
            raise _bad(
                tensor, f"is nested more than {deepest} deep", got=f"{len(shape)} or more levels of lists"
            )
        flat = list(chain.from_iterable(flat))
    return flat, shape


def _ragged(tensor: TensorSpec, flat: list[Any], shape: tuple[int, ...]) -> BadInput:
    def form(entry: object) -> str:
        return f"a list of {len(entry)}" if isinstance(entry, list) else _described(entry)

    def size(entry: object) -> int:
        return len(entry) if isinstance(entry, list) else -1

    odd = next(index for index, entry in enumerate(flat) if size(entry) != size(flat[0]))
    first, other = _position(0, shape), _position(odd, shape)
    return _bad(
        tensor,
        f"is ragged: {form(flat[0])} at {first}, but {form(flat[odd])} at {other}",
        got=f"{form(flat[odd])} at {other}",
    )


def _check_shape(tensor: TensorSpec, value: object, shape: tuple[int, ...]) -> None:
    if tensor.shape is None:
        wanted: tuple[int | str | None, ...] = (None,) * len(shape)
    elif tensor.batched and len(shape) == len(tensor.shape) - 1:
        wanted = tensor.shape[1:]
    else:
        wanted = tensor.shape
    got = f"shape {list(shape)}" if shape else _described(value)
    if shape and shape[0] == 0 and len(wanted) and wanted[0] != 0:
        raise _bad(tensor, "is empty", got="an empty list")
    if wanted and not shape:
        raise _bad(tensor, f"must be a list, not {got}", got=got)
    if len(shape) != len(wanted):
        raise _bad(tensor, f"has {len(shape)} dimensions instead of {len(wanted)}", got=got)
    for axis, (size, want) in enumerate(zip(shape, wanted, strict=True)):
        if isinstance(want, int) and size != want:
            raise _bad(tensor, f"has {size} instead of {want} entries in dimension {axis}", got=got)
        if size == 0 and want != 0:
            raise _bad(tensor, f"is empty in dimension {axis}", got=got)


def _check_types(
    tensor: TensorSpec, flat: list[object], shape: tuple[int, ...], dtype: np.dtype[Any]
) -> None:
    allowed, called = _KINDS[dtype.kind]
    if set(map(type, flat)) <= set(allowed):
        return
    odd = next(index for index, entry in enumerate(flat) if type(entry) not in allowed)
    got = _described(flat[odd])
    raise _bad(tensor, f"must hold {called}, not {got}{_at(odd, shape)}", got=f"{got}{_at(odd, shape)}")


def _converted(tensor: TensorSpec, flat: list[Any], shape: tuple[int, ...], dtype: np.dtype[Any]) -> Array:
    if dtype.kind in "iu":
        lowest, highest = np.iinfo(dtype).min, np.iinfo(dtype).max
        if flat and not (lowest <= min(flat) and max(flat) <= highest):
            odd = next(index for index, entry in enumerate(flat) if not lowest <= entry <= highest)
            raise _outside(tensor, flat[odd], odd, shape, f"{lowest} to {highest}")
    elif dtype.kind == "f":
        return _floats(tensor, flat, shape, dtype)
    elif dtype.kind == "O":
        _check_text(tensor, flat, shape)
    return np.array(flat, dtype=dtype)


def _floats(tensor: TensorSpec, flat: list[Any], shape: tuple[int, ...], dtype: np.dtype[Any]) -> Array:
    highest = float(np.finfo(dtype).max)
    try:
        wide = np.array(flat, dtype=np.float64)
    except OverflowError:  # an integer beyond every float
        odd = next(index for index, entry in enumerate(flat) if abs(entry) > highest)
        raise _outside(tensor, flat[odd], odd, shape, f"{-highest:g} to {highest:g}") from None
    with np.errstate(over="ignore"):
        narrow = wide.astype(dtype)
    if np.isfinite(narrow).all():
        return narrow
    odd = int(np.flatnonzero(~np.isfinite(narrow))[0])
    if not np.isfinite(wide[odd]):
        got = _described(flat[odd]) + _at(odd, shape)
        raise _bad(tensor, f"must hold finite numbers, not {got}", got=got)
    raise _outside(tensor, flat[odd], odd, shape, f"{-highest:g} to {highest:g}")


def _check_text(tensor: TensorSpec, flat: list[str], shape: tuple[int, ...]) -> None:
    for index, text in enumerate(flat):
        try:
            text.encode()
        except UnicodeEncodeError:
            where = _at(index, shape)
            raise _bad(
                tensor, f"holds half a character (a lone surrogate){where}", got=ascii(text[:40])
            ) from None


def _check_range(tensor: TensorSpec, array: Array) -> None:
    if tensor.minimum is None and tensor.maximum is None:
        return
    wrong = np.zeros(array.shape, dtype=bool)
    if tensor.minimum is not None:
        wrong |= array < tensor.minimum
    if tensor.maximum is not None:
        wrong |= array > tensor.maximum
    if wrong.any():
        odd = int(np.flatnonzero(wrong)[0])
        low = "" if tensor.minimum is None else f"{tensor.minimum:g}"
        high = "" if tensor.maximum is None else f"{tensor.maximum:g}"
        text = f"{low} to {high}" if low and high else (f"at least {low}" if low else f"at most {high}")
        raise _outside(tensor, array.flat[odd].item(), odd, array.shape, text)


def _all_or_none(spec: ServiceSpec, without_batch: Mapping[str, bool]) -> bool:
    single = bool(without_batch) and all(without_batch.values())
    if single or not any(without_batch.values()):
        return single
    odd = next(tensor for tensor in spec.inputs if without_batch.get(tensor.name))
    other = next(name for name, alone in without_batch.items() if not alone)
    raise _bad(
        odd,
        f"is a single sample, but {_quoted(other)} is a batch",
        got="a sample without its batch dimension",
    )


def _same_free_sizes(spec: ServiceSpec, arrays: Mapping[str, Array]) -> None:
    """Dimensions of one name have one size; leading ones without a name are all the batch."""
    seen: dict[str, tuple[int, str]] = {}
    for tensor in spec.inputs:
        for axis, wanted in enumerate(tensor.shape or ()):
            if isinstance(wanted, int) or (wanted is None and axis):
                continue
            size = arrays[tensor.name].shape[axis]
            before, field = seen.setdefault(wanted or "", (size, tensor.name))
            if size != before:
                raise _bad(
                    tensor,
                    f"has {size} entries in dimension {axis}, but {_quoted(field)} has {before}",
                    got=f"shape {list(arrays[tensor.name].shape)}",
                )


def _outside(tensor: TensorSpec, value: object, index: int, shape: tuple[int, ...], allowed: str) -> BadInput:
    got = _described(value) + _at(index, shape)
    return BadInput(
        f"{_quoted(tensor.name)} holds {got}: it must be {allowed}",
        field=tensor.name,
        expected=f"{tensor}, values {allowed}",
        got=got,
    )


def _bad(tensor: TensorSpec, error: str, *, got: str) -> BadInput:
    return BadInput(f"{_quoted(tensor.name)} {error}", field=tensor.name, expected=str(tensor), got=got)


def _at(index: int, shape: tuple[int, ...]) -> str:
    return f" at {_position(index, shape)}" if shape else ""


def _position(index: int, shape: tuple[int, ...]) -> str:
    """Where in the nested list, e.g. ``[2][0]``."""
    return "".join(f"[{int(step)}]" for step in np.unravel_index(index, shape)) if shape else "the top"


def _described(value: object) -> str:
    """A JSON value in a few words; never long, whatever came."""
    if isinstance(value, str):
        return f"the string {_quoted(value)}"
    if type(value) in (int, float):
        return _shortened(json.dumps(value))
    return _JSON_NAMES[type(value)]


def _quoted(text: str) -> str:
    return json.dumps(_shortened(text), ensure_ascii=False)


def _shortened(text: str) -> str:
    return text if len(text) <= 40 else f"{text[:37]}..."
