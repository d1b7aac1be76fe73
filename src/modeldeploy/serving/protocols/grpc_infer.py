"""The Open Inference Protocol's ``ModelInfer``: messages of protocol buffers to arrays and back.

Tensors come as raw bytes beside the message, one for each input, or typed in its ``contents``; the answer
has the form that the request had.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..engine.batch import Rows
from ..exchange import Request, Response
from ..problems import BadInput, ModelFailed, NotFound, NotReady, Overloaded, Problem, TimedOut, TooLarge
from ..runtimes.base import Value
from ..spec import ServiceSpec, TensorSpec
from ..tensors.arrays import check_sizes, read_arrays
from ..tensors.rules import Array, bad, numpy_dtype
from .base import Asked
from .datatypes import DATATYPES, as_tensor, datatype_of
from .grpc_messages import Messages
from .identity import Identity
from .signature import Unbatcher
from .v2 import named_tensor, refuse_foreign, sentence, unknown
from .v2_binary import from_bytes, to_bytes

MEDIA_TYPE = "application/grpc"
STATUS = "grpc-status"
"""The header of a refusal that has gRPC's own number of the problem, as on the wire."""
PUSHBACK = "grpc-retry-pushback-ms"
INVALID_ARGUMENT, DEADLINE_EXCEEDED, NOT_FOUND, RESOURCE_EXHAUSTED, INTERNAL, UNAVAILABLE = 3, 4, 5, 8, 13, 14
_CODES: Mapping[type[Exception], int] = {
    BadInput: INVALID_ARGUMENT,
    NotFound: NOT_FOUND,
    TooLarge: RESOURCE_EXHAUSTED,
    NotReady: UNAVAILABLE,
    Overloaded: RESOURCE_EXHAUSTED,
    TimedOut: DEADLINE_EXCEEDED,
    ModelFailed: INTERNAL,
}
_LONGEST = 2000
"""Characters of a message: it travels in a trailer, which clients bound."""
_CONTENTS = {
    "BOOL": "bool_contents",
    **dict.fromkeys(("INT8", "INT16", "INT32"), "int_contents"),
    "INT64": "int64_contents",
    **dict.fromkeys(("UINT8", "UINT16", "UINT32"), "uint_contents"),
    "UINT64": "uint64_contents",
    "FP32": "fp32_contents",
    "FP64": "fp64_contents",
    "BYTES": "bytes_contents",
}
"""The field that holds the values of each datatype; FP16 has none."""


@dataclass(frozen=True, slots=True)
class _Wanted:
    names: tuple[str, ...]
    model: str
    id: str
    raw: bool


class Infer:
    """The codec of ``ModelInfer``. A request's body is the serialized message, and so is an answer's."""

    def __init__(self, spec: ServiceSpec, who: Identity, messages: Messages) -> None:
        self._who = who
        self._inputs = spec.inputs
        self._specs = {tensor.name: tensor for tensor in spec.inputs}
        self._outputs = tuple(output.name for output in spec.outputs)
        self._as_asked = Unbatcher(spec)
        self._rows = Rows(spec.inputs)
        self._parse = messages.parser("inference.ModelInferRequest")
        self._answer = messages.classes["inference.ModelInferResponse"]

    def read(self, request: Request) -> Asked:
        message = self._parse(request.body)
        check_model(self._who, message.model_name, message.model_version)
        refuse_foreign(message.parameters, "the request")
        raw = message.raw_input_contents
        if len(raw) not in (0, len(message.inputs)):
            raise BadInput(
                f"there are {len(raw)} raw_input_contents for {len(message.inputs)} inputs",
                expected="one for each input, or none",
                got=str(len(raw)),
            )
        arrays: dict[str, Array] = {}
        for index, entry in enumerate(message.inputs):
            tensor = self._tensor(entry, arrays)
            arrays[tensor.name] = _array(tensor, entry, raw[index] if raw else None)
        inputs = read_arrays(self._inputs, arrays)
        return Asked(inputs.arrays, self._rows(inputs.arrays), inputs.single, self._wanted(message))

    def write(self, asked: Asked, outputs: Mapping[str, Value]) -> Response:
        wanted: _Wanted = asked.context
        arrays = [(name, as_tensor(self._as_asked(asked, outputs[name], name))) for name in wanted.names]
        answer = self._answer(model_name=wanted.model, model_version=self._who.version, id=wanted.id)
        raw = wanted.raw or any(array.dtype == np.float16 for _, array in arrays)
        for name, array in arrays:
            told = datatype_of(array)
            entry = answer.outputs.add(name=name, datatype=told, shape=array.shape)
            if raw:
                answer.raw_output_contents.append(to_bytes(array))
            else:
                getattr(entry.contents, _CONTENTS[told]).extend(_plain(array))
        return Response(200, answer.SerializeToString(), MEDIA_TYPE)

    def refuse(self, problem: Problem) -> Response:
        return refusal(problem)

    def _tensor(self, entry: Any, seen: Mapping[str, object]) -> TensorSpec:
        return named_tensor(self._specs, entry.name, seen)

    def _wanted(self, message: Any) -> _Wanted:
        names: list[str] = []
        for entry in message.outputs:
            if entry.name not in self._outputs:
                raise unknown("output", entry.name, self._outputs)
            if entry.name in names:  # each would come as often as it is wanted: gigabytes for a small request
                raise BadInput("an output is wanted twice", expected="each name once", got=entry.name)
            refuse_foreign(entry.parameters, f'the output "{entry.name}"')
            names.append(entry.name)
        raw = bool(message.raw_input_contents)
        return _Wanted(tuple(names) or self._outputs, message.model_name, message.id, raw)


def check_model(who: Identity, name: str, version: str) -> None:
    """Raises `NotFound` for a model or a version that is not here. "" is any version."""
    if name != who.name:
        raise NotFound(f'there is no model "{name[:40]}"', expected=who.name, got=name[:40])
    if version and version != who.version:
        raise NotFound(
            f'there is no version "{version[:40]}" of {name}',
            expected=who.version or "no version",
            got=version[:40],
        )


def refusal(problem: Problem) -> Response:
    """A problem in words, with gRPC's number for it among the headers."""
    if isinstance(problem, BadInput):
        problem.__traceback__ = problem.__context__ = (
            None  # their frames keep the message until the collector comes
        )
    code = next((_CODES[kind] for kind in type(problem).__mro__ if kind in _CODES), INTERNAL)
    if problem.status in {400, 415}:
        code = INVALID_ARGUMENT
    headers: tuple[tuple[str, str], ...] = ((STATUS, str(code)),)
    if isinstance(problem, Overloaded):
        headers += ((PUSHBACK, str(1000 * problem.retry_after)),)
    return Response(problem.status, sentence(problem)[:_LONGEST].encode(), "text/plain", headers)


def _array(tensor: TensorSpec, entry: Any, raw: bytes | None) -> Array:
    wanted = DATATYPES[tensor.dtype]
    if entry.datatype != wanted:
        got = entry.datatype[:40]
        raise bad(tensor, f"has the datatype {wanted}, not {got or 'empty'}", got=got or "nothing")
    refuse_foreign(entry.parameters, f'the input "{tensor.name}"')
    shape = tuple(entry.shape)
    if any(size < 0 for size in shape):
        raise bad(tensor, "must have a shape of whole numbers from 0", got=str(min(shape)))
    check_sizes(tensor, shape)
    if raw is None:
        return _typed(tensor, entry.contents, wanted, shape)
    if entry.HasField("contents"):
        raise bad(tensor, "has contents and raw_input_contents: one is enough", got="both")
    return from_bytes(tensor, memoryview(raw), shape)


def _typed(tensor: TensorSpec, contents: Any, datatype: str, shape: tuple[int, ...]) -> Array:
    """The array in the typed field of its datatype. Raises `BadInput`."""
    field = _CONTENTS.get(datatype)
    if field is None:
        raise bad(tensor, f"is {datatype}, which comes in raw_input_contents only", got="contents")
    odd = [given.name for given, _ in contents.ListFields() if given.name != field]
    if odd:
        raise bad(tensor, f"has its values in {odd[0]} instead of {field}", got=odd[0])
    values = getattr(contents, field)
    count = math.prod(shape)
    if len(values) != count:
        got = f"{len(values)} values"
        raise bad(tensor, f"has {got} in {field}, but its shape {list(shape)} takes {count}", got=got)
    return _converted(tensor, values, field).reshape(shape)


def _converted(tensor: TensorSpec, values: Any, field: str) -> Array:
    dtype = numpy_dtype(tensor)
    if dtype.kind == "O":
        return _texts(tensor, values)
    if field not in {"int_contents", "uint_contents"}:
        return np.array(values, dtype=dtype)
    wide = np.array(values, dtype=np.int64)
    limits = np.iinfo(dtype)
    if wide.size and not (limits.min <= wide.min() and wide.max() <= limits.max):
        odd = wide[(wide < limits.min) | (wide > limits.max)][0]
        raise bad(tensor, f"holds {odd}: it must be {limits.min} to {limits.max}", got=str(odd))
    return wide.astype(dtype)


def _texts(tensor: TensorSpec, values: Any) -> Array:
    texts = np.empty(len(values), dtype=object)
    try:
        texts[:] = [value.decode() for value in values]
    except UnicodeDecodeError as error:
        raise bad(tensor, "holds a text that is not UTF-8", got=repr(error.object[:20])) from None
    return texts


def _plain(array: Array) -> list[Any]:
    entries: list[Any] = array.reshape(-1).tolist()
    if array.dtype.kind in "OSU":
        return [entry if isinstance(entry, bytes) else str(entry).encode() for entry in entries]
    return entries
