"""Arrow: a stream of record batches with a column per input, a row per sample; answered by one per output.

A column is of the input's dtype; where a sample has dimensions, of (fixed-size) lists of lists of it, or
Arrow's fixed-shape tensors. Only where pyarrow is installed. Compressed buffers and dictionaries are refused,
because a few bytes of those can say that they are a terabyte; whatever else a stream says of itself is
checked in full before a value is touched.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from ..engine.batch import Rows
from ..exchange import Request, Response
from ..problems import BadInput
from ..runtimes.base import Value
from ..spec import ServiceSpec, TensorSpec
from ..tensors.arrays import check_sizes, read_arrays
from ..tensors.rules import Array, bad, named_fields, numpy_dtype
from .base import Asked
from .datatypes import as_tensor

MEDIA = "application/vnd.apache.arrow.stream"
_DEEPEST = 32
_UNREADABLE = (ValueError, TypeError, LookupError, OverflowError, MemoryError, OSError, struct.error)
"""What pyarrow raises, beside errors of its own, for names that are no UTF-8, sizes beyond all measure..."""


def read(spec: ServiceSpec, rows: Rows, request: Request) -> Asked:
    """The inputs of a service, a column each. Raises `BadInput`."""
    import pyarrow as pa

    try:
        schema, batches = _batches(pa, request.body)
        columns = dict(zip(schema.names, schema.types, strict=True))
        named_fields(spec.inputs, columns)
        if len(columns) < len(schema.names):
            raise BadInput("a column is there twice", expected="each name once", got=_names(schema.names))
        arrays = {tensor.name: _column(pa, tensor, batches, columns[tensor.name]) for tensor in spec.inputs}
    except (pa.ArrowException, *_UNREADABLE) as error:
        raise _broken(str(error)) from None
    inputs = read_arrays(spec.inputs, arrays)
    if inputs.single:
        tensor = spec.inputs[0]
        raise bad(tensor, "has a value in each row, not a sample", got="a column without lists")
    return Asked(inputs.arrays, rows(inputs.arrays))


def write(asked: Asked, outputs: Mapping[str, Value]) -> Response:  # noqa: ARG001  # a codec's signature
    """The outputs, a column each, with a row for each sample. One that has no rows has its value in each."""
    import pyarrow as pa

    columns = {name: as_tensor(value) for name, value in outputs.items()}
    rows = max((len(array) for array in columns.values() if array.ndim), default=1)
    batch = pa.record_batch({name: _as_column(pa, array, rows) for name, array in columns.items()})
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, batch.schema) as stream:
        stream.write_batch(batch)
    return Response(200, sink.getvalue().to_pybytes(), MEDIA)


def _batches(pa: Any, body: bytes | bytearray | memoryview) -> tuple[Any, list[Any]]:
    messages = pa.ipc.MessageReader.open_stream(pa.py_buffer(body))
    first = next(iter(messages), None)
    if first is None or first.type != "schema":
        raise _broken("it does not begin with a schema")
    schema = pa.ipc.read_schema(first)
    return schema, list(_checked_batches(pa, messages, schema))


def _checked_batches(pa: Any, messages: Any, schema: Any) -> Iterator[Any]:
    for kind in schema.types:
        _check_type(pa, kind)
    for message in messages:
        if message.type != "record batch":
            raise _broken(f"it has a {message.type}")
        if _compressed(message.metadata.to_pybytes()):
            raise _broken("its buffers are compressed")
        batch = pa.ipc.read_record_batch(message, schema)
        batch.validate(full=True)
        yield batch


def _check_type(pa: Any, kind: Any) -> None:
    """Refuse all types but numbers, booleans, texts, and lists and tensors of these."""
    for _ in range(_DEEPEST):
        if isinstance(kind, pa.FixedShapeTensorType):
            kind = kind.storage_type
        if not (pa.types.is_list(kind) or pa.types.is_fixed_size_list(kind) or pa.types.is_large_list(kind)):
            break
        kind = kind.value_type
    plain = pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_boolean(kind)
    if not (plain or pa.types.is_string(kind) or pa.types.is_large_string(kind)):
        raise _broken(f"it has a column of {str(kind)[:60]}")


def _compressed(metadata: bytes) -> bool:
    """True if a record batch has the field ``compression``. pyarrow has verified the metadata's offsets."""
    root = struct.unpack_from("<I", metadata, 0)[0]
    header = _field(metadata, root, 2)
    batch = header + struct.unpack_from("<I", metadata, header)[0]
    return bool(_field(metadata, batch, 3))


def _field(metadata: bytes, table: int, index: int) -> int:
    """Where a field of a flatbuffers table is; 0 if it has none."""
    vtable = table - struct.unpack_from("<i", metadata, table)[0]
    if vtable < 0 or 4 + 2 * index >= struct.unpack_from("<H", metadata, vtable)[0]:
        return 0
    offset: int = struct.unpack_from("<H", metadata, vtable + 4 + 2 * index)[0]
    return table + offset if offset else 0


def _column(pa: Any, tensor: TensorSpec, batches: list[Any], kind: Any) -> Array:
    """An input's column in every batch, as one array."""
    parts = [_values(pa, tensor, batch.column(tensor.name), kind) for batch in batches if len(batch)]
    if not parts:
        raise bad(tensor, "is empty", got="no rows")
    if len({part.shape[1:] for part in parts}) > 1:
        raise bad(tensor, "is ragged: its batches have lists of different sizes", got="several sizes")
    array = parts[0] if len(parts) == 1 else np.concatenate(parts)
    if tensor.shape == () and array.shape == (1,):
        return array[0, ...]
    return array


def _values(pa: Any, tensor: TensorSpec, column: Any, kind: Any) -> Array:
    shape: tuple[int, ...] = (len(column),)
    for _ in range(_DEEPEST):
        if isinstance(column.type, pa.FixedShapeTensorType):
            order = column.type.permutation
            if order is not None and list(order) != sorted(order):
                raise bad(tensor, "is a tensor with its dimensions in another order", got=str(kind)[:60])
            shape += tuple(column.type.shape)
            column = _without_nulls(tensor, column.storage).flatten()
            break
        if not hasattr(column, "flatten") or not hasattr(column.type, "value_type"):
            break
        shape += (_size(pa, tensor, _without_nulls(tensor, column)),)
        column = column.flatten()
    check_sizes(tensor, shape)
    missing_is_nan = tensor.nan and pa.types.is_floating(column.type)
    return _plain(pa, tensor, column if missing_is_nan else _without_nulls(tensor, column)).reshape(shape)


def _size(pa: Any, tensor: TensorSpec, column: Any) -> int:
    """The one size of the lists in a column."""
    if pa.types.is_fixed_size_list(column.type):
        return int(column.type.list_size)
    lengths = np.diff(column.offsets.to_numpy())
    if lengths.min() != lengths.max():
        raise bad(
            tensor, "is ragged: its lists have different sizes", got=f"{lengths.min()} to {lengths.max()}"
        )
    return int(lengths[0])


def _without_nulls(tensor: TensorSpec, column: Any) -> Any:
    if column.null_count:
        raise bad(tensor, "holds null", got=f"{column.null_count} nulls")
    return column


def _plain(pa: Any, tensor: TensorSpec, column: Any) -> Array:
    """A flat column as an array; no copy for numbers."""
    text = pa.types.is_string(column.type) or pa.types.is_large_string(column.type)
    held = "string" if text else str(column.type.to_pandas_dtype()().dtype.name)
    if held != tensor.dtype:
        raise bad(tensor, f"holds {held} instead of {tensor.dtype}", got=held)
    array: Array = column.to_numpy(zero_copy_only=False)
    return array.astype(numpy_dtype(tensor), copy=False)


def _as_column(pa: Any, array: Array, rows: int) -> Any:
    if not array.ndim or len(array) != rows:
        array = np.broadcast_to(array, (rows, *array.shape))
    flat = np.ascontiguousarray(array).reshape(-1)
    column = pa.array(flat.tolist() if flat.dtype == object else flat)
    for size in reversed(array.shape[1:]):
        column = pa.FixedSizeListArray.from_arrays(column, size)
    return column


def _names(names: list[str]) -> str:
    return ", ".join(names)[:100]


def _broken(why: str) -> BadInput:
    return BadInput(
        f"the body is no Arrow stream that is read here: {why[:200]}",
        expected="an Arrow IPC stream without compression and dictionaries",
    )
