"""The Open Inference Protocol V2 over REST, as Triton, KServe, MLServer and their clients speak it.

``POST /v2/models/NAME[/versions/VERSION]/infer`` and what tells of health, readiness and metadata. Tensors
come and go as JSON or, by the extension in `v2_binary`, as bytes after it. Errors are ``{"error": "..."}``.
"""

from __future__ import annotations

import json
import math
from collections.abc import Container, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from difflib import get_close_matches
from typing import Any

from ..engine.batch import Rows
from ..exchange import JSON, Request, Response
from ..problems import BadInput, Problem
from ..runtimes.base import Value
from ..spec import ServiceSpec, TensorSpec
from ..tensors.arrays import check_sizes, read_arrays
from ..tensors.encode import write_answer
from ..tensors.rules import Array, bad
from ..tensors.validate import parse_json, read_array
from . import v2_binary
from .base import Asked
from .datatypes import DATATYPES, as_tensor, datatype_of
from .media import AS_JSON, media_type
from .predict import retry
from .signature import Unbatcher
from .v2_quick import QuickReader

OCTETS = "application/octet-stream"
_READ = dict.fromkeys((*AS_JSON, OCTETS))
_LARGEST = 2**63
_FOREIGN = ("shared_memory_region", "classification")


@dataclass(frozen=True, slots=True)
class Wanted:
    """What a request wants to see: outputs in order, those that are to be bytes, and its own id."""

    outputs: tuple[tuple[str, bool], ...]
    id: str | None


class Infer:
    """The codec of ``infer``."""

    def __init__(self, spec: ServiceSpec, name: str, version: str) -> None:
        self._inputs = spec.inputs
        self._specs = {tensor.name: tensor for tensor in spec.inputs}
        self._outputs = tuple(output.name for output in spec.outputs)
        self._as_asked = Unbatcher(spec)
        self._quick = QuickReader(spec.inputs)
        self._rows = Rows(spec.inputs)
        self._told = {"model_name": name, **({"model_version": version} if version else {})}

    def read(self, request: Request) -> Asked:
        if request.headers.get("content-type", "") not in _READ or "content-encoding" in request.headers:
            media_type(request, _READ)
        head, data = v2_binary.split(request.headers, request.body)
        fields = self._quick.fields(head)
        if fields is not None:
            with suppress(BadInput):  # the long way has the words
                return self._read(fields, data, self._quick)
        return self._read(_object(parse_json(bytes(head)), "the request"), data, None)

    def _read(self, fields: Mapping[str, Any], data: memoryview, quick: QuickReader | None) -> Asked:
        binary = v2_binary.Taken(data)
        arrays: dict[str, Array] = {}
        for entry in _list(fields, "inputs"):
            tensor = self._tensor(entry, arrays)
            arrays[tensor.name] = _array(tensor, entry, binary, quick)
        binary.check_all_taken()
        inputs = read_arrays(self._inputs, arrays)
        return Asked(inputs.arrays, self._rows(inputs.arrays), inputs.single, self._wanted(fields))

    def write(self, asked: Asked, outputs: Mapping[str, Value]) -> Response:
        wanted: Wanted = asked.context
        data: list[bytes] = []
        told = [self._output_of(asked, outputs, name, data if raw else None) for name, raw in wanted.outputs]
        head = write_answer(
            {**self._told, **({} if wanted.id is None else {"id": wanted.id}), "outputs": told}
        )
        if not data:
            return Response(200, head)
        length = ((v2_binary.HEADER, str(len(head))),)
        return Response(200, b"".join((head, *data)), OCTETS, length)

    def _output_of(
        self, asked: Asked, outputs: Mapping[str, Value], name: str, data: list[bytes] | None
    ) -> dict[str, Any]:
        """An output, with its data as bytes appended to ``data`` if that is given."""
        array = as_tensor(self._as_asked(asked, outputs[name], name))
        entry: dict[str, Any] = {"name": name, "datatype": datatype_of(array), "shape": list(array.shape)}
        if data is None:
            return {**entry, "data": array.reshape(-1)}
        data.append(v2_binary.to_bytes(array))
        return {**entry, "parameters": v2_binary.parameters(data[-1])}

    def refuse(self, problem: Problem) -> Response:
        return refusal(problem)

    def _tensor(self, entry: object, seen: Mapping[str, object]) -> TensorSpec:
        return named_tensor(self._specs, _text(_object(entry, "an input"), "name", "an input"), seen)

    def _wanted(self, fields: Mapping[str, Any]) -> Wanted:
        told = fields.get("id")
        if told is not None and not isinstance(told, str):
            raise BadInput("id must be a string", expected="a string", got=_short(told))
        usually = _parameters(fields, "the request").get("binary_data_output", False) is True
        entries = fields.get("outputs")
        if entries is None or entries == []:
            return Wanted(tuple((name, usually) for name in self._outputs), told)
        if not isinstance(entries, list):
            raise BadInput("outputs must be a list", expected="a list of objects", got=_short(entries))
        wanted = dict(self._output(entry, usually=usually) for entry in entries)
        if len(wanted) < len(entries):
            raise BadInput("an output is wanted twice", expected="each name once", got=", ".join(wanted))
        return Wanted(tuple(wanted.items()), told)

    def _output(self, entry: object, *, usually: bool) -> tuple[str, bool]:
        name = _text(_object(entry, "an output"), "name", "an output")
        if name not in self._outputs:
            raise unknown("output", name, self._outputs)
        told = _parameters(_object(entry, "an output"), f'the output "{name}"')
        return name, told.get("binary_data", usually) is True


def named_tensor(specs: Mapping[str, TensorSpec], name: str, seen: Mapping[str, object]) -> TensorSpec:
    """The input of this name, if there is one and it was not ``seen``. Raises `BadInput`."""
    if name not in specs:
        raise unknown("input", name, tuple(specs))
    if name in seen:
        raise BadInput(f'"{name}" is given twice', field=name, expected="each name once", got="2 times")
    return specs[name]


def refuse_foreign(parameters: Container[str], what: str) -> None:
    """Raises `BadInput` for parameters that would change what is asked for: we do not have what they want."""
    for name in _FOREIGN:
        if name in parameters:
            raise BadInput(f"{what} asks for {name}, which this service does not have", got=name)


def refusal(problem: Problem) -> Response:
    """A problem in the protocol's form: one sentence."""
    return Response(problem.status, json.dumps({"error": sentence(problem)}).encode(), JSON, retry(problem))


def sentence(problem: Problem) -> str:
    """All that a problem says, in one line."""
    expected = f"; expected {problem.expected}" if problem.expected else ""
    got = f", got {problem.got}" if problem.got and problem.expected else ""
    return f"{problem.error}{expected}{got}"


def _array(
    tensor: TensorSpec, entry: Mapping[str, Any], binary: v2_binary.Taken, quick: QuickReader | None
) -> Array:
    """One tensor of a request, of the shape that it says. ``quick``: where the JSON is in order."""
    told = _text(entry, "datatype", f'the input "{tensor.name}"')
    if told != DATATYPES[tensor.dtype]:
        raise bad(tensor, f"has the datatype {DATATYPES[tensor.dtype]}, not {told[:40]}", got=told[:40])
    shape = _shape(tensor, entry)
    check_sizes(tensor, shape)
    size = _parameters(entry, f'the input "{tensor.name}"').get(v2_binary.SIZE)
    if size is not None:
        if "data" in entry:
            raise bad(tensor, f"has data and {v2_binary.SIZE}: one is enough", got="both")
        return binary.take(tensor, size, shape)
    if "data" not in entry:
        raise bad(tensor, "has no data", got="nothing")
    return _shaped(tensor, _values(tensor, entry["data"], quick), shape)


def _values(tensor: TensorSpec, data: object, quick: QuickReader | None) -> Array:
    return quick.array(tensor, data) if quick else read_array(replace(tensor, shape=None), data)


def _shaped(tensor: TensorSpec, array: Array, shape: tuple[int, ...]) -> Array:
    """Flat data in the shape that it is said to have; nested data has it already."""
    if array.shape == shape:
        return array
    if array.ndim != 1 or array.size != math.prod(shape):
        raise bad(
            tensor,
            f"has data of shape {list(array.shape)}, but says {list(shape)}",
            got=f"shape {list(array.shape)}",
        )
    return array.reshape(shape)


def _shape(tensor: TensorSpec, entry: Mapping[str, Any]) -> tuple[int, ...]:
    told = entry.get("shape")
    if not isinstance(told, list):
        raise bad(tensor, "must have a shape: a list of sizes", got=_short(told))
    for size in told:
        if type(size) is not int or not 0 <= size < _LARGEST:
            raise bad(tensor, "must have a shape of whole numbers from 0", got=_short(size))
    return tuple(told)


def _object(value: object, what: str) -> Mapping[str, Any]:
    if not isinstance(value, dict):
        raise BadInput(f"{what} must be an object", expected="an object", got=_short(value))
    return value


def _list(fields: Mapping[str, Any], key: str) -> list[Any]:
    value = fields.get(key)
    if not isinstance(value, list) or not value:
        raise BadInput(f"{key} must be a list of objects", expected=f"{key}: a list", got=_short(value))
    return value


def _text(fields: Mapping[str, Any], key: str, what: str) -> str:
    value = fields.get(key)
    if not isinstance(value, str):
        raise BadInput(f"{what} needs a {key}", expected=f"{key}: a string", got=_short(value))
    return value


def _parameters(fields: Mapping[str, Any], what: str) -> Mapping[str, Any]:
    told = fields.get("parameters")
    if told is None:
        return {}
    if not isinstance(told, dict):
        raise BadInput(f"parameters of {what} must be an object", expected="an object", got=_short(told))
    refuse_foreign(told, what)
    return told


def unknown(kind: str, name: str, known: Sequence[str]) -> BadInput:
    """A name that is none of the service's, with the nearest one that is."""
    near = get_close_matches(name[:100], known, n=1, cutoff=0.5)
    hint = f'; did you mean "{near[0]}"?' if near else ""
    return BadInput(
        f"there is no {kind} {json.dumps(name[:40])}{hint}",
        field=name,
        expected=f"one of {', '.join(known)}",
        got=json.dumps(name[:40]),
    )


def _short(value: object) -> str:
    if isinstance(value, dict | list):
        return "an object" if isinstance(value, dict) else "a list"
    return json.dumps(value if not isinstance(value, str) else value[:40])[:60]
