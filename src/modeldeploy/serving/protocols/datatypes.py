"""What the Open Inference Protocol calls dtypes and shapes, and how it packs texts: for REST and gRPC."""

from __future__ import annotations

import json
from collections.abc import Sequence
from struct import Struct
from typing import Any

import numpy as np

from ..runtimes.base import Value
from ..spec import TensorSpec
from ..tensors.encode import plain_value
from ..tensors.rules import Array, bad

DATATYPES = {
    "bool": "BOOL",
    **{f"{sign}int{bits}": f"{sign.upper()}INT{bits}" for sign in ("", "u") for bits in (8, 16, 32, 64)},
    **{f"float{bits}": f"FP{bits}" for bits in (16, 32, 64)},
    "string": "BYTES",
}
"""V2 datatype by dtype of the spec."""
_LENGTH = Struct("<I")


def datatype(dtype: str) -> str:
    """The V2 datatype of a dtype; what is no tensor is sent as JSON texts."""
    return DATATYPES.get(dtype, "BYTES")


def datatype_of(array: Array) -> str:
    """The V2 datatype of an array's entries."""
    return DATATYPES.get(array.dtype.name, "BYTES")


def metadata(tensors: Sequence[TensorSpec]) -> list[dict[str, Any]]:
    """Inputs or outputs as the model's metadata lists them; -1 stands for a free size."""
    return [
        {"name": tensor.name, "datatype": datatype(tensor.dtype), "shape": sizes(tensor)}
        for tensor in tensors
    ]


def sizes(tensor: TensorSpec) -> list[int]:
    """The shape in numbers; one free dimension where any rank is allowed."""
    if tensor.shape is None:
        return [-1]
    return [size if isinstance(size, int) else -1 for size in tensor.shape]


def as_tensor(value: Value) -> Array:
    """An output as an array. One that is no tensor (a sequence, a map) gives each entry as a JSON text."""
    if isinstance(value, np.ndarray):
        return value
    if isinstance(value, np.generic | int | float | bool):
        return np.asarray(value)
    entries = value if isinstance(value, list | tuple) else [value]
    texts = np.empty(len(entries), dtype=object)
    texts[:] = [entry if isinstance(entry, str) else _json_text(entry) for entry in entries]
    return texts


def _json_text(value: object) -> str:
    return json.dumps(plain_value(value), separators=(",", ":"), ensure_ascii=False)


def pack_texts(array: Array) -> bytes:
    """Each entry's length in four bytes, and its UTF-8."""
    parts: list[bytes] = []
    for entry in array.reshape(-1).tolist():
        text = entry if isinstance(entry, bytes) else str(entry).encode()
        parts += (_LENGTH.pack(len(text)), text)
    return b"".join(parts)


def unpack_texts(tensor: TensorSpec, packed: memoryview, count: int) -> Array:
    """The ``count`` texts in bytes that `pack_texts` wrote. Raises `BadInput`."""
    texts: list[str] = []
    place = 0
    while place < len(packed):
        start = place + 4
        end = start + _LENGTH.unpack_from(packed, place)[0] if start <= len(packed) else start
        if end > len(packed):
            raise bad(tensor, f"ends within its text {len(texts)}", got=f"{len(packed)} bytes")
        texts.append(_decoded(tensor, packed[start:end], len(texts)))
        place = end
    if len(texts) != count:
        raise bad(tensor, f"holds {len(texts)} texts instead of {count}", got=f"{len(texts)} texts")
    array = np.empty(count, dtype=object)
    array[:] = texts
    return array


def _decoded(tensor: TensorSpec, text: memoryview, index: int) -> str:
    try:
        return str(text, "utf-8")
    except UnicodeDecodeError:
        raise bad(
            tensor, f"holds a text that is not UTF-8 at [{index}]", got=repr(bytes(text[:20]))
        ) from None
