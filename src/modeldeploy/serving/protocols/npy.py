"""Arrays as ``.npy``: a request's body is the one input, an answer's the one output that is asked for.

The header is read by a pattern and never evaluated, and a size is believed only where the bytes are there,
so no body costs more memory than its own size. Pickled objects are not read.
"""

from __future__ import annotations

import io
import math
import re
import sys
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any
from urllib.parse import parse_qs

import numpy as np

from ..engine.batch import Rows
from ..exchange import Request, Response
from ..problems import BadInput, UnsupportedMedia
from ..runtimes.base import Value
from ..spec import ServiceSpec, TensorSpec
from ..tensors.arrays import check_sizes, read_arrays
from ..tensors.rules import Array, numpy_dtype
from .base import Asked
from .datatypes import as_tensor
from .signature import Unbatcher

MEDIA = "application/x-npy"
_MAGIC = b"\x93NUMPY"
_LONGEST = 4096
"""Bytes of a header; numpy's own have 118."""
_VALUE = r"""(?:'[^']*'|"[^"]*"|True|False|\([\d, L]*\))"""
_KEY = r"""['"](?:descr|fortran_order|shape)['"]"""
_HEADER = re.compile(rf"\{{(?: *{_KEY} *: *{_VALUE} *,?){{3}} *\}}\s*")
_ENTRY = re.compile(rf"""['"](\w+)['"] *: *({_VALUE})""")
_DESCR = re.compile(r"""['"]([<>|=]?)([biufU])(\d{1,9})['"]""")


def read(spec: ServiceSpec, rows: Rows, request: Request) -> Asked:
    """The one input of a service, a batch or a sample. Raises `Problem`."""
    if len(spec.inputs) != 1:
        raise UnsupportedMedia(
            f"a .npy body holds one array, but there are {len(spec.inputs)} inputs",
            expected="a form that names its inputs, such as JSON",
            got=MEDIA,
        )
    tensor = spec.inputs[0]
    inputs = read_arrays(spec.inputs, {tensor.name: parse(tensor, memoryview(request.body))})
    return Asked(inputs.arrays, rows(inputs.arrays), inputs.single)


def parse(tensor: TensorSpec, body: memoryview) -> Array:
    """The array in the bytes of a ``.npy``, if it has the input's dtype and form. Raises `BadInput`."""
    header, data = _split(tensor, body)
    fields = dict(_ENTRY.findall(header)) if _HEADER.fullmatch(header) else {}
    if set(fields) != {"descr", "fortran_order", "shape"}:
        raise _bad(tensor, "the header of the .npy is broken", got=ascii(header[:60]))
    dtype = _dtype(tensor, fields["descr"])
    shape = _shape(tensor, fields["shape"])
    check_sizes(tensor, shape)
    needed = math.prod(shape) * dtype.itemsize
    if len(data) != needed:
        raise _bad(
            tensor,
            f"the .npy has {len(data)} bytes of data, but its header says {needed}",
            got=f"{len(data)} bytes",
        )
    order: Any = "F" if fields["fortran_order"] == "True" else "C"
    array = np.frombuffer(data, dtype=dtype).reshape(shape, order=order)
    if dtype.kind == "U":
        _check_characters(tensor, data, dtype)
    return array.astype(numpy_dtype(tensor), order="C", copy=False)


def _check_characters(tensor: TensorSpec, data: memoryview, dtype: np.dtype[Any]) -> None:
    codes = np.frombuffer(data, np.dtype(np.uint32).newbyteorder(dtype.byteorder))
    if codes.size and codes.max() > sys.maxunicode:
        raise _bad(tensor, "the .npy holds what is no character", got=hex(codes.max()))


class Writer:
    """Answers with one output as ``.npy``: the only one, or ``?output=NAME``."""

    def __init__(self, spec: ServiceSpec) -> None:
        self._names = tuple(output.name for output in spec.outputs)
        self._as_asked = Unbatcher(spec)

    def choose(self, request: Request) -> Callable[[Asked, Mapping[str, Value]], Response]:
        """What writes the output that a request wants. Raises `BadInput` where it does not say which."""
        named = parse_qs(request.query).get("output", [])
        name = named[0] if named else (self._names[0] if len(self._names) == 1 else "")
        if name not in self._names:
            raise BadInput(
                "a .npy holds one output: say which by ?output=NAME",
                expected=f"one of {', '.join(self._names)}",
                got=name[:100] or "none",
            )
        return partial(self._write, name)

    def _write(self, name: str, asked: Asked, outputs: Mapping[str, Value]) -> Response:
        return Response(200, dump(as_tensor(self._as_asked(asked, outputs[name], name))), MEDIA)


def dump(array: Array) -> bytes:
    """The bytes of a ``.npy`` file; texts as numpy's own of fixed size."""
    if array.dtype == object:
        array = array.astype(str)
    file = io.BytesIO()
    np.lib.format.write_array(file, np.asarray(array, order="C"), allow_pickle=False)
    return file.getvalue()


def _split(tensor: TensorSpec, body: memoryview) -> tuple[str, memoryview]:
    start = bytes(body[:12])
    if start[:6] != _MAGIC or len(start) < 12 or start[6] not in (1, 2, 3):
        raise _bad(tensor, "the body is no .npy", got=ascii(start) if start else "an empty body")
    width = 2 if start[6] == 1 else 4
    length = int.from_bytes(start[8 : 8 + width], "little")
    begin = 8 + width
    if length > min(_LONGEST, len(body) - begin):
        raise _bad(tensor, "the header of the .npy is too long or cut off", got=f"{length} bytes")
    return str(body[begin : begin + length], "latin-1"), body[begin + length :]


def _dtype(tensor: TensorSpec, descr: str) -> np.dtype[Any]:
    wanted = "texts of fixed size (U)" if tensor.dtype == "string" else tensor.dtype
    match = _DESCR.fullmatch(descr)
    try:
        dtype = np.dtype(match[1] + match[2] + match[3]) if match else None
    except (TypeError, ValueError):
        dtype = None
    text = dtype is not None and dtype.kind == "U" and dtype.itemsize > 0
    if dtype is None or not (text if tensor.dtype == "string" else dtype == dtype_of(tensor, dtype)):
        held = dtype.name if dtype is not None else descr[:40]
        raise _bad(tensor, f"the .npy holds {held} instead of {wanted}", got=held)
    return dtype


def dtype_of(tensor: TensorSpec, dtype: np.dtype[Any]) -> np.dtype[Any]:
    """The input's dtype in the byte order of another: the order of bytes changes no value."""
    return np.dtype(tensor.dtype).newbyteorder(dtype.byteorder)


def _shape(tensor: TensorSpec, text: str) -> tuple[int, ...]:
    parts = [part.strip().removesuffix("L") for part in text.strip("()").split(",") if part.strip()]
    if len(parts) > 32 or not all(part.isdecimal() and len(part) < 19 for part in parts):
        raise _bad(tensor, "the shape in the .npy's header is none", got=text[:60])
    return tuple(int(part) for part in parts)


def _bad(tensor: TensorSpec, error: str, *, got: str) -> BadInput:
    return BadInput(error, field=tensor.name, expected=str(tensor), got=got)
