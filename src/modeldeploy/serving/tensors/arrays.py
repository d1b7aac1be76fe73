"""Arrays that come as bytes (V2 binary, .npy, Arrow), held to the same rules as those in JSON (`rules`)."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np

from ..problems import BadInput
from ..spec import TensorSpec
from .rules import (
    Array,
    Inputs,
    as_inputs,
    at_position,
    bad,
    check_range,
    check_shape,
    check_text,
    named_fields,
)


def check_sizes(tensor: TensorSpec, shape: tuple[int, ...]) -> None:
    """Refuse a shape that the input does not have, before anything of that shape is made."""
    least = 0 if tensor.shape is None else len(tensor.shape) - tensor.batched
    if not shape and least:
        raise bad(tensor, f"has 0 dimensions instead of {len(tensor.shape or ())}", got="shape []")
    check_shape(tensor, 0, shape)


def read_arrays(specs: Sequence[TensorSpec], arrays: Mapping[str, Array]) -> Inputs:
    """Inputs by name, each of its dtype and already of its form.

    Raises `BadInput` for names, ranks, sizes, infinities, NaN where the input has none, and values out of
    range.
    """
    if len(arrays) != len(specs) or not all(tensor.name in arrays for tensor in specs):
        named_fields(specs, dict(arrays))
    return as_inputs(specs, {tensor.name: checked(tensor, arrays[tensor.name]) for tensor in specs})


def checked(tensor: TensorSpec, array: Array) -> Array:
    """The array, aligned and in C order, if shape and values are the input's. Its dtype must be already."""
    check_sizes(tensor, array.shape)
    if not array.flags.aligned or not array.flags.c_contiguous:
        array = np.array(array, order="C")
    if array.dtype.kind == "f":
        _check_finite(tensor, array)
    elif array.dtype.kind == "b":
        _check_booleans(tensor, array)
    elif array.dtype.kind == "O":
        check_text(tensor, array.reshape(-1).tolist(), array.shape)
    if tensor.minimum is not None or tensor.maximum is not None:
        check_range(tensor, array)
    return array


def _check_finite(tensor: TensorSpec, array: Array) -> None:
    with np.errstate(all="ignore"):
        total = float(array.sum())
    if math.isfinite(total):  # what is not finite stays so in every sum
        return
    wrong = np.isinf(array) if tensor.nan else ~np.isfinite(array)
    if wrong.any():  # else the sum was too large, not an entry; or NaN stands for what is missing
        odd = int(np.flatnonzero(wrong)[0])
        value = array.flat[odd].item()
        got = "NaN" if math.isnan(value) else ("Infinity" if value > 0 else "-Infinity")
        raise _wrong_entry(tensor, array, odd, "must hold finite numbers", got)


def _check_booleans(tensor: TensorSpec, array: Array) -> None:
    raw = array.reshape(-1).view(np.uint8)
    if raw.size and raw.max() > 1:
        odd = int(np.flatnonzero(raw > 1)[0])
        raise _wrong_entry(tensor, array, odd, "must hold true or false as 1 or 0", f"the byte {raw[odd]}")


def _wrong_entry(tensor: TensorSpec, array: Array, index: int, must: str, got: str) -> BadInput:
    got += at_position(index, array.shape)
    return bad(tensor, f"{must}, not {got}", got=got)
