"""From the body of a request to the arrays that a model takes; from a bad body to a clear answer.

Strict on purpose: a value that is not of the signature's dtype is refused rather than cast, because a
service that guesses answers wrongly without saying so. JSON numbers with a fraction or an exponent are
not integers, and what JSON does not know (NaN, Infinity) is not a number.
"""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Mapping, Sequence
from itertools import chain
from typing import Any

import numpy as np

from ..problems import BadInput
from ..spec import TensorSpec
from .fast import BodyReader
from .memory import check_memory
from .pieces import LARGE
from .rules import (
    Array,
    Inputs,
    as_inputs,
    at_position,
    bad,
    check_range,
    check_shape,
    check_text,
    described,
    named_fields,
    numpy_dtype,
    outside,
    position,
    quoted,
    shortened,
)

_DEEPEST = 32
"""Nesting that numpy can hold: the limit for an input whose rank is not known."""
_KINDS: Mapping[str, tuple[tuple[type, ...], str]] = {
    "b": ((bool,), "true or false"),
    "i": ((int,), "whole numbers"),
    "u": ((int,), "whole numbers"),
    "f": ((float, int), "numbers"),
    "O": ((str,), "strings"),
}
"""Per numpy kind: the Python types that JSON values of that kind have, and what to call them."""


class RequestReader:
    """Reads the bodies of one service's requests."""

    def __init__(self, specs: Sequence[TensorSpec]) -> None:
        self._specs = specs
        self._short = BodyReader(specs)

    def read(self, body: bytes | bytearray | memoryview) -> Inputs:
        """The inputs in a request's body, ``{"<input>": nested list, ...}``. Raises `BadInput`.

        An input whose leading dimension is free takes a batch, or one sample without that dimension: then
        all such inputs must come without it. A body that is in order takes the short way (`fast`); what that
        does not accept goes the long one here, which words what is wrong.
        """
        if isinstance(body, memoryview):
            body = bytes(body)
        check_memory(body)
        if accepted := self._short.accept(body):
            return Inputs(*accepted)
        return read_inputs(self._specs, parse_json(body))


def parse_json(body: bytes | bytearray) -> object:
    """The JSON value in a body, in UTF-8. Raises `BadInput`, also for a name given twice."""
    check_memory(body)
    try:
        # functions of Python's let other threads go on between the numbers of what else is one long call
        numbers: Any = {"parse_float": _float, "parse_int": _int} if len(body) > LARGE else {}
        return json.loads(body.decode(), object_pairs_hook=_object_without_doubles, **numbers)
    except RecursionError:
        raise BadInput("the body is nested too deeply", expected="a JSON object") from None
    except ValueError as error:  # bad UTF-8, bad JSON, a number of thousands of digits
        got = shortened(body.decode(errors="replace")) or "an empty body"
        raise BadInput(f"the body is not JSON: {error}", expected="a JSON object", got=got) from None


def read_inputs(specs: Sequence[TensorSpec], value: object) -> Inputs:
    """The inputs in a JSON value. Raises `BadInput` naming the field that is wrong."""
    fields = named_fields(specs, value)
    return as_inputs(specs, {tensor.name: read_array(tensor, fields[tensor.name]) for tensor in specs})


def read_array(tensor: TensorSpec, value: object) -> Array:
    """One input's array; of one dimension less where a sample came without its batch dimension.

    Raises `BadInput`.
    """
    flat, shape = _unnested(tensor, value)
    check_shape(tensor, value, shape)
    dtype = numpy_dtype(tensor)
    if tensor.nan:
        flat = _missing_as_nan(flat)
    _check_types(tensor, flat, shape, dtype)
    array = _converted(tensor, flat, shape, dtype).reshape(shape)
    check_range(tensor, array)
    return array


def _float(text: str) -> float:
    return float(text)


def _int(text: str) -> int:
    return int(text)


def _object_without_doubles(pairs: list[tuple[str, object]]) -> dict[str, object]:
    fields = dict(pairs)
    if len(fields) < len(pairs):
        double, times = Counter(name for name, _ in pairs).most_common(1)[0]
        raise BadInput(
            f"{quoted(double)} is given twice",
            field=shortened(double),
            expected="each name once",
            got=f"{times} times",
        )
    return fields


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
            raise bad(
                tensor, f"is nested more than {deepest} deep", got=f"{len(shape)} or more levels of lists"
            )
        flat = list(chain.from_iterable(flat))
    return flat, shape


def _ragged(tensor: TensorSpec, flat: list[Any], shape: tuple[int, ...]) -> BadInput:
    def form(entry: object) -> str:
        return f"a list of {len(entry)}" if isinstance(entry, list) else described(entry)

    def size(entry: object) -> int:
        return len(entry) if isinstance(entry, list) else -1

    odd = next(index for index, entry in enumerate(flat) if size(entry) != size(flat[0]))
    first, other = position(0, shape), position(odd, shape)
    return bad(
        tensor,
        f"is ragged: {form(flat[0])} at {first}, but {form(flat[odd])} at {other}",
        got=f"{form(flat[odd])} at {other}",
    )


def _check_types(
    tensor: TensorSpec, flat: list[object], shape: tuple[int, ...], dtype: np.dtype[Any]
) -> None:
    allowed, called = _KINDS[dtype.kind]
    if set(map(type, flat)) <= set(allowed):
        return
    odd = next(index for index, entry in enumerate(flat) if type(entry) not in allowed)
    got = described(flat[odd])
    raise bad(
        tensor,
        f"must hold {called}, not {got}{at_position(odd, shape)}",
        got=f"{got}{at_position(odd, shape)}",
    )


def _converted(tensor: TensorSpec, flat: list[Any], shape: tuple[int, ...], dtype: np.dtype[Any]) -> Array:
    if dtype.kind in "iu":
        lowest, highest = np.iinfo(dtype).min, np.iinfo(dtype).max
        if flat and not (lowest <= min(flat) and max(flat) <= highest):
            odd = next(index for index, entry in enumerate(flat) if not lowest <= entry <= highest)
            raise outside(tensor, flat[odd], odd, shape, f"{lowest} to {highest}")
    elif dtype.kind == "f":
        return _floats(tensor, flat, shape, dtype)
    elif dtype.kind == "O":
        check_text(tensor, flat, shape)
    return np.array(flat, dtype=dtype)


def _floats(tensor: TensorSpec, flat: list[Any], shape: tuple[int, ...], dtype: np.dtype[Any]) -> Array:
    highest = float(np.finfo(dtype).max)
    try:
        wide = np.array(flat, dtype=np.float64)
    except OverflowError:  # an integer beyond every float
        odd = next(index for index, entry in enumerate(flat) if abs(entry) > highest)
        raise outside(tensor, flat[odd], odd, shape, f"{-highest:g} to {highest:g}") from None
    with np.errstate(over="ignore"):
        narrow = wide.astype(dtype)
    good = np.isfinite(narrow) | (np.isnan(wide) & tensor.nan)
    if good.all():
        return narrow
    odd = int(np.flatnonzero(~good)[0])
    if not np.isfinite(wide[odd]):
        got = described(flat[odd]) + at_position(odd, shape)
        raise bad(tensor, f"must hold finite numbers, not {got}", got=got)
    raise outside(tensor, flat[odd], odd, shape, f"{-highest:g} to {highest:g}")


def _missing_as_nan(flat: list[Any]) -> list[Any]:
    """Values that are not there, which JSON says as null, or as the text that answers have for NaN."""
    return [math.nan if entry is None or entry == "NaN" else entry for entry in flat]
