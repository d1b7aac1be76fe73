"""The short way to read the JSON of a V2 request that is in order; `v2` has the long one, with the words.

orjson takes a name that comes twice, and numpy takes true for 1 and "1" for a number. Counting tells: a body
with more quotes than the texts that were read need has a name twice, or texts among numbers; one with more
letters "u" and "s" than those texts and the known true, false and null has others.
(`tensors.fast` counts so, too.)
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import orjson

from ..problems import BadInput
from ..spec import TensorSpec
from ..tensors.fast import InputReader
from ..tensors.memory import check_memory
from ..tensors.pieces import LARGE
from ..tensors.rules import Array
from .v2_pieces import Text, put_back, taken_out


class QuickReader:
    """Reads what it is sure of."""

    def __init__(self, inputs: tuple[TensorSpec, ...]) -> None:
        self._readers = {tensor.name: InputReader(replace(tensor, shape=None)) for tensor in inputs}

    def fields(self, head: memoryview) -> dict[str, Any] | None:
        """The object of a request, if it is one and holds nothing twice and no odd value among numbers."""
        check_memory(head)
        body, texts = taken_out(bytes(head)) if len(head) > LARGE else (bytes(head), [])
        try:
            fields = orjson.loads(body)
            seen = _Seen()
            seen.look(fields)
        except (ValueError, RecursionError):
            return None
        whole = type(fields) is dict and seen.is_all_of(body) and (not texts or put_back(fields, texts))
        return fields if whole else None

    def array(self, tensor: TensorSpec, data: object) -> Array:
        """The array in a tensor's data, flat or nested, of the input's dtype and range.

        Raises `BadInput` without words where it is not sure that there is one.
        """
        reader = self._readers[tensor.name]
        try:
            if isinstance(data, Text):
                return _sure_of(reader.read_text(data.text))
            sure = reader.dtype.kind not in "fiu" or _begin_with_numbers(data)
            array = reader.read(data) if sure else None
        except (ValueError, TypeError, OverflowError):
            array = None
        return _sure_of(array)


def _sure_of(array: Array | None) -> Array:
    if array is None:
        raise BadInput("")
    return array


def _begin_with_numbers(data: object) -> bool:
    """True if each list in ``data`` that is not one of lists begins with a number; `_Seen` has the others."""
    if type(data) is list and data and type(data[0]) is list:
        return all(map(_begin_with_numbers, data))
    return type(data[0] if type(data) is list and data else data) in (int, float)


class _Seen:
    """The texts and words in a JSON value."""

    def __init__(self) -> None:
        self.texts: list[str] = []
        self.u = self.s = 0

    def look(self, value: Any) -> None:
        kind = type(value)
        if kind is str:
            self.texts.append(value)
        elif kind is dict:
            for name, entry in value.items():
                self.texts.append(name)
                self.look(entry)
        elif kind is list:
            if value and type(value[0]) in (int, float):
                return  # numbers: anything else among them is counted in the body
            for entry in value:
                self.look(entry)
        elif value is False:
            self.s += 1
        elif value is True or value is None:
            self.u += 1

    def is_all_of(self, body: bytes) -> bool:
        """True if the body has no other texts and words."""
        joined = "".join(self.texts)
        return (
            body.count(b'"') == 2 * len(self.texts)
            and body.count(b"u") == joined.count("u") + self.u
            and body.count(b"s") == joined.count("s") + self.s
        )
