"""JSON Schema of a generated service's requests and answers, in the two dialects that BentoML speaks.

Its clients want to know of tensors (``"type": "tensor"``), OpenAPI wants nested arrays.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ..spec import Dimension, TensorSpec

_TYPES = {"bool": "boolean", "string": "string"}


def schema_of(tensors: Sequence[TensorSpec], title: str, *, openapi: bool) -> dict[str, Any]:
    """The object that has these tensors as fields. The caller may change what it gets."""
    return {
        "type": "object",
        "title": title,
        "properties": {tensor.name: _array(tensor) if openapi else _tensor(tensor) for tensor in tensors},
        "required": [tensor.name for tensor in tensors],
    }


def _tensor(tensor: TensorSpec) -> dict[str, Any]:
    if tensor.dtype == "string" or "(" in tensor.dtype or tensor.shape is None:
        return {"title": str(tensor)}
    return {"type": "tensor", "format": "numpy-array", "dtype": tensor.dtype, "title": str(tensor)}


def _array(tensor: TensorSpec) -> dict[str, Any]:
    """Nested arrays. BentoML keeps only the first of alternatives, so the single sample is told in words."""
    if tensor.shape is None or "(" in tensor.dtype:
        return {"description": str(tensor)}
    single = "; one sample may come without its leading dimension" if tensor.batched else ""
    bounds = {"minimum": tensor.minimum, "maximum": tensor.maximum}
    entry = {"type": json_type(tensor), **{key: end for key, end in bounds.items() if end is not None}}
    return {**nested(entry, tensor.shape), "description": f"{tensor}{single}"}


def json_type(tensor: TensorSpec) -> str:
    """What JSON Schema calls the type of one value."""
    return _TYPES.get(tensor.dtype, "integer" if "int" in tensor.dtype else "number")


def nested(entry: dict[str, Any], shape: Sequence[Dimension]) -> dict[str, Any]:
    """The schema of nested arrays of this shape; an entry of theirs has the schema ``entry``."""
    for size in reversed(shape):
        fixed = {"minItems": size, "maxItems": size} if isinstance(size, int) else {"minItems": 1}
        entry = {"type": "array", "items": entry, **fixed}
    return entry
