"""From what a model returned to the body of an answer.

Floats are written with all the digits of their exact value as a double, so that reading them back gives
the same float16, float32 or float64, bit by bit. JSON has no NaN and no infinity: those are written as
the strings "NaN", "Infinity" and "-Infinity", as the JSON form of protocol buffers does.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping

import numpy as np


def write_answer(outputs: Mapping[str, object]) -> bytes:
    """The JSON object of named outputs, in UTF-8."""
    plain = {name: plain_value(value) for name, value in outputs.items()}
    return json.dumps(plain, separators=(",", ":"), allow_nan=False, ensure_ascii=False).encode()


def plain_value(value: object) -> object:
    """What JSON can hold: a tensor as nested lists, a sequence as a list, a map as an object."""
    if isinstance(value, np.ndarray):
        nested = value.tolist()
        finite = value.dtype.kind != "f" or np.isfinite(value).all()
        return nested if finite else _finite(nested)
    if isinstance(value, Mapping):
        return {str(key): plain_value(entry) for key, entry in value.items()}
    if isinstance(value, list | tuple):
        return [plain_value(entry) for entry in value]
    if isinstance(value, np.generic):
        value = value.item()
    return _finite(value)


def without_batch(value: object, *, batched: bool) -> object:
    """The first and only entry of an output whose leading dimension is the batch; else all of it."""
    if batched and isinstance(value, list) and len(value) == 1:
        return value[0]
    if batched and isinstance(value, np.ndarray) and value.shape[:1] == (1,):
        return value[0]
    return value


def _finite(value: object) -> object:
    if isinstance(value, list):
        return [_finite(entry) for entry in value]
    if isinstance(value, float) and not math.isfinite(value):
        return "NaN" if math.isnan(value) else ("Infinity" if value > 0 else "-Infinity")
    return value
