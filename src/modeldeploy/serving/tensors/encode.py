"""From what a model returned to the body of an answer.

Floats are written with the fewest digits that tell them from all others of their type, so reading them back
gives the same float16, float32 or float64, bit by bit; also by way of a double, as most JSON readers go. (All
float32 were tried: for a single one the shortest text does not do, and that one is written longer.)

JSON has no NaN and no infinity: those are written as the strings "NaN", "Infinity" and "-Infinity", as the
JSON form of protocol buffers does.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import orjson

_ODD = np.array(0x15AE43FD, dtype=np.uint32).view(np.float32)[()]
"""The float32 whose shortest text, read as a double, is nearer to another: the middle is that close."""
_ODD_TEXT = b"7.038531e-26"
_SHORT = 4096
"""Bytes: a longer body takes longer to search than its arrays to look through."""


def write_answer(outputs: Mapping[str, object]) -> bytes:
    """The JSON object of named outputs, in UTF-8."""
    try:
        body = orjson.dumps(outputs, option=orjson.OPT_SERIALIZE_NUMPY)
    except TypeError:  # texts, scalars, arrays in another order, maps by number
        return _write_slowly(outputs)
    return body if _is_exact(outputs, body) else _write_slowly(outputs)


def plain_value(value: object) -> object:
    """What JSON can hold: a tensor as nested lists, a sequence as a list, a map as an object."""
    if isinstance(value, np.ndarray):
        return _nested(value)
    if isinstance(value, Mapping):
        return {str(key): plain_value(entry) for key, entry in value.items()}
    if isinstance(value, list | tuple):
        return [plain_value(entry) for entry in value]
    if isinstance(value, np.generic):
        return _nested(np.asarray(value))
    return _finite(value)


def without_batch(value: object, *, batched: bool) -> object:
    """The first and only entry of an output whose leading dimension is the batch; else all of it."""
    if batched and isinstance(value, list) and len(value) == 1:
        return value[0]
    if batched and isinstance(value, np.ndarray) and value.shape[:1] == (1,):
        return value[0]
    return value


def _is_exact(outputs: Mapping[str, object], body: bytes) -> bool:
    """False if something that is not finite became null in this body, or the odd one is in it."""
    values = outputs.values()
    if len(body) < _SHORT or not all(isinstance(value, np.ndarray) for value in values):
        return b"null" not in body and _ODD_TEXT not in body
    arrays = (value for value in values if isinstance(value, np.ndarray) and value.dtype.kind == "f")
    return all(np.isfinite(array).all() and not _has_odd(array) for array in arrays)


def _has_odd(array: npt.NDArray[Any]) -> bool:
    return array.dtype.itemsize == 4 and bool((np.abs(array) == _ODD).any())


def _write_slowly(outputs: Mapping[str, object]) -> bytes:
    plain = {name: plain_value(value) for name, value in outputs.items()}
    text = json.dumps(plain, separators=(",", ":"), allow_nan=False, ensure_ascii=False)
    try:
        return text.encode()
    except UnicodeEncodeError:  # half a character, from a model of somebody's own
        return json.dumps(plain, separators=(",", ":"), allow_nan=False).encode()


def _nested(array: npt.NDArray[Any]) -> object:
    if array.dtype.kind != "f":
        return array.tolist()
    finite = np.isfinite(array)
    exact = _shortest(np.where(finite, array, 0)) if array.dtype.itemsize < 8 else array
    if finite.all():
        return exact.tolist()
    return _finite(np.where(finite, exact, array.astype(np.float64)).tolist())


def _shortest(array: npt.NDArray[Any]) -> npt.NDArray[np.float64]:
    """The doubles whose text is the shortest for these narrower floats, all of which are finite."""
    flat = np.ascontiguousarray(array.reshape(-1), dtype=array.dtype.newbyteorder("="))
    texts = orjson.dumps(flat, option=orjson.OPT_SERIALIZE_NUMPY)
    short = np.array(orjson.loads(texts), dtype=np.float64)
    return np.where(short.astype(flat.dtype) == flat, short, flat.astype(np.float64)).reshape(array.shape)


def _finite(value: object) -> object:
    if isinstance(value, list):
        return [_finite(entry) for entry in value]
    if isinstance(value, float) and not math.isfinite(value):
        return "NaN" if math.isnan(value) else ("Infinity" if value > 0 else "-Infinity")
    return value
