"""The short way from a request's body to arrays, for bodies that are in order; `validate` has the rules.

It accepts only what `validate` accepts, with the same arrays, and leaves all else to it: a body that is wrong
costs two readings, and is refused in the words of one. What makes it short: orjson, one conversion per input
with no list in between, and counting characters where `validate` looks at each value's type. numpy takes true
for 1, null for NaN and "1" for 1; orjson lets a name come twice and makes a float of a large integer. So:

* a body that has no more quotes than its names and texts need, names nothing twice, and no text is a number;
* one that has no more letters "u" and "s" than its names holds neither true nor null, nor false;
* integers are converted without naming a type, so that anything else among them makes another type.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import chain
from typing import Any

import numpy as np
import numpy.typing as npt
import orjson

from ..spec import TensorSpec
from .pieces import LARGE, read_numbers, texts_of

_Array = npt.NDArray[Any]
_DEEPEST = 32


_least, _greatest = np.minimum.reduce, np.maximum.reduce


class InputReader:
    """How one input is read, from a JSON value that is nested lists or not."""

    __slots__ = (
        "_bounded",
        "_high",
        "_low",
        "_of_kind",
        "_read",
        "_shape",
        "_tail",
        "batched",
        "dtype",
        "name",
        "rank",
        "texts",
    )

    def __init__(self, tensor: TensorSpec) -> None:
        self.name = tensor.name
        self.texts = tensor.dtype == "string"
        self.dtype: np.dtype[Any] = np.dtype(object if self.texts else tensor.dtype)
        self.batched = tensor.batched
        self._shape = tensor.shape
        self.rank = len(tensor.shape or ())
        tail = tensor.shape[1:] if tensor.batched and tensor.shape else ()
        self._tail = tail if tail and all(isinstance(size, int) and size > 0 for size in tail) else None
        self._low, self._high = low, high = tensor.minimum, tensor.maximum
        largest = _HIGHEST.get(self.dtype)
        self._bounded = (
            largest is not None
            and low is not None
            and high is not None
            and -largest <= low <= high <= largest
        )
        kinds = {"f": self._floats, "i": self._integers, "u": self._integers, "b": self._booleans}
        self._read = kinds.get(self.dtype.kind, _texts)

    def read(self, value: object) -> _Array | None:
        """The array in a JSON value, without its batch dimension if it came so; None if it is not sure."""
        return self._checked(self._read(value))

    def read_text(self, text: bytes) -> _Array | None:
        """The array in the JSON text of a value, of an input of numbers. Raises ValueError, too."""
        return self._checked(read_numbers(text, self._read))

    def _checked(self, array: _Array | None) -> _Array | None:
        if array is None or not self._fits(array.shape):
            return None
        return array if self._bounded or self._within(array) else None

    def _within(self, array: _Array) -> bool:
        low, high = self._low, self._high
        return (low is None or _least(array, axis=None).item() >= low) and (
            high is None or _greatest(array, axis=None).item() <= high
        )

    def _fits(self, shape: tuple[int, ...]) -> bool:
        if self._tail is not None and (shape == self._tail or (shape[1:] == self._tail and shape[0] > 0)):
            return True
        if 0 in shape:
            return False
        if self._shape is None:
            return len(shape) <= _DEEPEST
        wanted = self._shape[1:] if self.batched and len(shape) == self.rank - 1 else self._shape
        return len(shape) == len(wanted) and all(
            size == want or not isinstance(want, int) for size, want in zip(shape, wanted, strict=True)
        )

    def _floats(self, value: object) -> _Array | None:
        """By way of doubles, as every JSON number is one; what is not finite, null for one, is left."""
        wide = np.array(value, dtype=np.float64)
        if self._bounded:  # then nothing in range is too large, and NaN is in no range
            if not wide.size or not self._within(wide):
                return None
            return wide if self.dtype.itemsize == 8 else wide.astype(self.dtype)
        highest = _HIGHEST[self.dtype]
        if not np.vdot(wide, wide) <= highest * highest:  # the sum of squares: cheap, and NaN for a NaN
            largest = max(wide.max(initial=0.0), -wide.min(initial=0.0))
            if not largest <= highest:
                return None
        return wide if self.dtype.itemsize == 8 else wide.astype(self.dtype)

    def _integers(self, value: object) -> _Array | None:
        found: _Array = np.array(value)
        if found.dtype.kind not in "iu":
            return None
        if found.dtype != self.dtype:
            limits = np.iinfo(self.dtype)
            if not found.size or found.min() < limits.min or found.max() > limits.max:
                return None
        return found.astype(self.dtype, copy=False)

    def _booleans(self, value: object) -> _Array | None:
        found: _Array = np.array(value)
        return found if found.dtype.kind == "b" else None


_HIGHEST: Mapping[np.dtype[Any], float] = {
    np.dtype(kind): float(np.finfo(kind).max) for kind in ("float16", "float32", "float64")
}


def _texts(value: object) -> _Array | None:
    """Nested lists of texts; orjson has refused halves of characters."""
    flat: list[Any] = [value]
    shape: tuple[int, ...] = ()
    while flat and type(flat[0]) is list:
        if set(map(type, flat)) != {list} or len(sizes := set(map(len, flat))) != 1 or len(shape) == _DEEPEST:
            return None
        shape += (sizes.pop(),)
        flat = list(chain.from_iterable(flat))
    return np.array(flat, dtype=object).reshape(shape) if set(map(type, flat)) == {str} else None


class BodyReader:
    """Reads the bodies of one service: what can be known of all of them, before the first one comes."""

    __slots__ = ("_batched", "_inputs", "_letters", "_numbers", "_quotes", "_same")

    def __init__(self, specs: Sequence[TensorSpec]) -> None:
        self._inputs = inputs = tuple(map(InputReader, specs))
        self._quotes = 2 * len(inputs)  # those around the names
        self._numbers = tuple(one.name for one in inputs if one.dtype.kind in "fiu")
        names = "".join(one.name for one in inputs)
        # how many "u" and "s" the names have; texts and booleans have some of their own
        self._letters = (names.count("u"), names.count("s")) if len(self._numbers) == len(inputs) else None
        self._batched = sum(one.batched for one in inputs)
        self._same = _dimensions_of_one_size(specs)

    def accept(self, body: bytes | bytearray) -> tuple[dict[str, _Array], bool] | None:
        """The arrays in a body, and whether they are one sample without its batch dimension.

        None for what has to go the long way: nearly always because it is wrong.
        """
        try:
            if len(body) > LARGE and self._letters is not None:
                return self._accept_in_pieces(body)
            fields = orjson.loads(body)
            if type(fields) is not dict or len(fields) != len(self._inputs):
                return None
            arrays: dict[str, _Array] = {}
            texts = alone = 0
            for one in self._inputs:
                array = one.read(fields[one.name])
                if array is None:
                    return None
                if one.batched and array.ndim < one.rank:
                    alone += 1
                    array = array[np.newaxis]
                if one.texts:
                    texts += array.size
                arrays[one.name] = array
        except (ValueError, KeyError, TypeError, OverflowError):
            return None
        if body.count(b'"') != self._quotes + 2 * texts or (
            self._numbers and not self._only_numbers(body, fields, arrays)
        ):
            return None
        return self._agreed(arrays, alone)

    def _accept_in_pieces(self, body: bytes | bytearray) -> tuple[dict[str, _Array], bool] | None:
        """The same for a large body that holds nothing but numbers."""
        texts = texts_of(body, self._numbers)
        if texts is None:
            return None
        arrays: dict[str, _Array] = {}
        alone = 0
        for one in self._inputs:
            array = one.read_text(texts.pop(one.name))
            if array is None:
                return None
            if one.batched and array.ndim < one.rank:
                alone += 1
                array = array[np.newaxis]
            arrays[one.name] = array
        return self._agreed(arrays, alone)

    def _only_numbers(
        self, body: bytes | bytearray, fields: Mapping[str, Any], arrays: Mapping[str, _Array]
    ) -> bool:
        """True if no input of numbers has true, false or null among them."""
        if self._letters is not None:
            return (body.count(b"u"), body.count(b"s")) == self._letters
        return all(_plain(fields[name], arrays[name]) for name in self._numbers)

    def _agreed(self, arrays: dict[str, _Array], alone: int) -> tuple[dict[str, _Array], bool] | None:
        """The arrays, if all or none came ``alone``, and dimensions of one name have one size."""
        if alone and alone != self._batched:
            return None
        for places in self._same:
            if len({arrays[name].shape[axis] for name, axis in places}) > 1:
                return None
        return arrays, alone > 0


def _dimensions_of_one_size(specs: Sequence[TensorSpec]) -> tuple[tuple[tuple[str, int], ...], ...]:
    """Dimensions, as names and axes, that must have one size."""
    sizes: dict[str, list[tuple[str, int]]] = {}
    for tensor in specs:
        for axis, size in enumerate(tensor.shape or ()):
            if not isinstance(size, int) and (size or not axis):
                sizes.setdefault(size or "", []).append((tensor.name, axis))
    return tuple(tuple(places) for places in sizes.values() if len(places) > 1)


def _plain(value: Any, array: _Array) -> bool:
    flat = [value]
    while type(flat[0]) is list:
        flat = list(chain.from_iterable(flat))
    return len(flat) == array.size and set(map(type, flat)) <= {int, float}
