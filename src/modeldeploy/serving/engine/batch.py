"""Rows of several requests in one run of the model: put together, and taken apart again."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from ..runtimes.base import Value
from ..spec import TensorSpec
from ..tensors.rules import Array
from .job import Job

_RELATIVE = {2: 2e-2, 4: 1e-3, 8: 1e-6}
"""Per bytes of a float: how far results may differ that were summed in another order."""
_OF_LARGEST = 0.1
"""The same for values near zero: this share of the relative difference, of the largest value."""
_MOST_VALUES = 1_000_000
"""In one made-up row."""
_JOINED = 1024 * 1024
"""Bytes of input that are joined at most. Larger runs gain nothing, for what joining saves is the cost of
a run beside its values; and onnxruntime keeps the memory that its largest run took."""


class Indivisible(Exception):
    """An output has no row for each row that went in, so it cannot be given to those who asked."""


class Rows:
    """Tells how many rows of these inputs an engine may join with others."""

    __slots__ = ("_leading",)

    def __init__(self, specs: Sequence[TensorSpec]) -> None:
        self._leading = specs[0].name if _have_one_batch(specs) else None

    def __call__(self, arrays: Mapping[str, Array]) -> int:
        """Size of the batch; 0 where the inputs have no common one."""
        return 0 if self._leading is None else len(arrays[self._leading])


def rows_together(arrays: Mapping[str, Array], rows: int, most: int) -> int:
    """How many rows of the size of these may go in one run; ``most`` at the most."""
    size = sum(array.nbytes for array in arrays.values())
    return min(most, _JOINED * rows // size) if size else most


def joinable(first: Job, other: Job) -> bool:
    """True if the two jobs' arrays differ in nothing but the number of rows."""
    for name, array in first.arrays.items():
        mate = other.arrays[name]
        if array.dtype != mate.dtype or array.shape[1:] != mate.shape[1:]:
            return False
    return True


def join(jobs: Sequence[Job]) -> dict[str, Array]:
    """All rows of the jobs, in their order."""
    return {name: np.concatenate([job.arrays[name] for job in jobs]) for name in jobs[0].arrays}


def split(outputs: Mapping[str, Value], sizes: Sequence[int]) -> list[dict[str, Value]]:
    """Each job's share of the outputs, for so many rows each. Raises `Indivisible`."""
    total = sum(sizes)
    for name, value in outputs.items():
        rows = _rows(value)
        if rows != total:
            got = "no rows" if rows is None else f"{rows} rows"
            raise Indivisible(f"output {name!r} has {got} for {total} rows of input")
    shares, start = [], 0
    for size in sizes:
        end = start + size
        shares.append({name: value[start:end] for name, value in outputs.items()})  # type: ignore[index]  # _rows has looked
        start = end
    return shares


def same(one: Mapping[str, Value], other: Mapping[str, Value]) -> bool:
    """True if two answers differ by no more than what another order of summing brings about."""
    return one.keys() == other.keys() and all(_same(value, other[name]) for name, value in one.items())


def made_up(
    inputs: Sequence[TensorSpec], rows: int, *, free: int = 1, random: bool = True
) -> dict[str, Array]:
    """Rows within each input's range: by chance, or all the smallest. ``free``: size of free dimensions."""
    source = np.random.default_rng(0) if random else None
    return {tensor.name: _made_up(tensor, rows, free, source) for tensor in inputs}


def affordable(inputs: Sequence[TensorSpec], free: int) -> bool:
    """True if a made-up row with free dimensions of this size is no burden."""
    return all(
        np.prod([size if isinstance(size, int) else free for size in (tensor.shape or ())[1:]], dtype=float)
        <= _MOST_VALUES
        for tensor in inputs
    )


def _have_one_batch(specs: Sequence[TensorSpec]) -> bool:
    """True if every input's leading dimension, and no other, is the batch."""
    if not specs or not all(tensor.batched for tensor in specs):
        return False
    leading = {(tensor.shape or ("",))[0] or "" for tensor in specs}
    others = {size for tensor in specs for size in (tensor.shape or ())[1:]}
    return len(leading) == 1 and not leading & others


def _rows(value: Value) -> int | None:
    if isinstance(value, np.ndarray):
        return value.shape[0] if value.ndim else None
    return len(value) if isinstance(value, list) else None


def _same(one: Value, other: Value) -> bool:
    if isinstance(one, np.ndarray) and isinstance(other, np.ndarray):
        if one.dtype != other.dtype or one.shape != other.shape:
            return False
        return _close(one, other) if one.dtype.kind == "f" else bool(np.array_equal(one, other))
    if isinstance(one, Mapping) and isinstance(other, Mapping):
        return one.keys() == other.keys() and all(_same(value, other[key]) for key, value in one.items())
    if isinstance(one, list | tuple) and isinstance(other, list | tuple):
        return len(one) == len(other) and all(map(_same, one, other))
    if isinstance(one, float | np.floating) and isinstance(other, float | np.floating):
        return _close(np.asarray(one, dtype=np.float32), np.asarray(other, dtype=np.float32))
    return bool(one == other)


def _close(one: Array, other: Array) -> bool:
    relative = _RELATIVE.get(one.dtype.itemsize, 1e-6)
    finite = np.abs(other[np.isfinite(other)], dtype=np.float64)
    largest = float(finite.max()) if finite.size else 0.0
    return bool(np.allclose(one, other, rtol=relative, atol=relative * _OF_LARGEST * largest, equal_nan=True))


def _made_up(tensor: TensorSpec, rows: int, free: int, source: np.random.Generator | None) -> Array:
    shape = tuple(size if isinstance(size, int) else free for size in tensor.shape or ())
    if tensor.batched:
        shape = (rows, *shape[1:])
    if tensor.dtype == "string":
        return np.full(shape, "", dtype=object)
    dtype = np.dtype(tensor.dtype)
    low, high = _range(tensor, dtype)
    if source is None:
        return np.full(shape, low, dtype=dtype)
    drawn = source.random(shape) * (high - low) + low
    return np.rint(drawn).astype(dtype) if dtype.kind in "iub" else drawn.astype(dtype)


def _range(tensor: TensorSpec, dtype: np.dtype[np.generic]) -> tuple[float, float]:
    """Small values, those that the input allows; numbers are often indexes, so there are only two of them."""
    low: float = -1 if dtype.kind == "f" else 0
    high: float = 1
    if tensor.minimum is not None:
        low, high = tensor.minimum, max(tensor.minimum, high)
    if tensor.maximum is not None:
        low = min(low, tensor.maximum) if tensor.minimum is None else low
        high = tensor.maximum if tensor.minimum is not None else min(high, tensor.maximum)
    return low, high
