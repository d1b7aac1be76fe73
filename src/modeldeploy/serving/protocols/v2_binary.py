"""The binary tensor data extension of the Open Inference Protocol V2.

A body is the JSON of the request or answer, as many bytes as the header ``Inference-Header-Content-Length``
says, and after it the data of those tensors that have ``binary_data_size`` among their parameters, one after
the other: little-endian, in row-major order; BOOL a byte each, BYTES as `datatypes` packs them.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from ..problems import BadInput
from ..spec import TensorSpec
from ..tensors.rules import Array, bad
from .datatypes import pack_texts, unpack_texts

HEADER = "inference-header-content-length"
SIZE = "binary_data_size"


def split(headers: Mapping[str, str], body: bytes | bytearray | memoryview) -> tuple[memoryview, memoryview]:
    """The JSON and the binary data of a body. Raises `BadInput` for a length that is none or too large."""
    whole = memoryview(body)
    told = headers.get(HEADER)
    if told is None:
        return whole, whole[len(whole) :]
    expected = f"a number of bytes, {len(whole)} at most"
    if not (told.isascii() and told.isdecimal() and len(told) < 20):
        raise BadInput("Inference-Header-Content-Length is no number", expected=expected, got=told[:40])
    if int(told) > len(whole):
        raise BadInput(
            "Inference-Header-Content-Length is more than the body has", expected=expected, got=told
        )
    return whole[: int(told)], whole[int(told) :]


class Taken:
    """The binary data of a request, handed out tensor by tensor."""

    def __init__(self, data: memoryview) -> None:
        self._data = data
        self._place = 0

    def take(self, tensor: TensorSpec, size: object, shape: tuple[int, ...]) -> Array:
        """The next ``size`` bytes as an array of a shape that was checked; no copy. Raises `BadInput`."""
        if type(size) is not int or size < 0:
            raise bad(tensor, f"must have a whole number as {SIZE}", got=repr(size)[:40])
        left = len(self._data) - self._place
        if size > left:
            error = f"has a {SIZE} of {size}, but {left} bytes of binary data are left"
            raise bad(tensor, error, got=f"{left} bytes")
        piece = self._data[self._place : self._place + size]
        self._place += size
        return from_bytes(tensor, piece, shape)

    def check_all_taken(self) -> None:
        """Refuse data that belongs to no tensor."""
        left = len(self._data) - self._place
        if left:
            raise BadInput(
                f"{left} bytes of binary data belong to no input",
                expected=f"as many bytes as the inputs' {SIZE} say together",
                got=f"{len(self._data)} bytes",
            )


def from_bytes(tensor: TensorSpec, data: memoryview, shape: tuple[int, ...]) -> Array:
    """An input's array in bytes. Raises `BadInput` where they are not as many as the shape has."""
    count = math.prod(shape)
    if tensor.dtype == "string":
        return unpack_texts(tensor, data, count).reshape(shape)
    dtype = np.dtype(tensor.dtype).newbyteorder("<")
    needed = count * dtype.itemsize
    if len(data) != needed:
        error = f"has {len(data)} bytes of data, but {list(shape)} of {tensor.dtype} takes {needed}"
        raise bad(tensor, error, got=f"{len(data)} bytes")
    return np.frombuffer(data, dtype=dtype).reshape(shape)


def to_bytes(array: Array) -> bytes:
    """An output's data."""
    if array.dtype.kind in "OSU":
        return pack_texts(array)
    return array.astype(array.dtype.newbyteorder("<"), copy=False).tobytes()


def parameters(data: bytes) -> dict[str, Any]:
    """What an output whose data is appended says of it."""
    return {SIZE: len(data)}
