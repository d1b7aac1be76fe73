"""The OpenAPI 3.1 document of a generated service, made from its signature."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from ..spec import Dimension, ServiceSpec, TensorSpec
from ..tensors.schema import json_type, nested
from . import npy
from .datatypes import DATATYPES, datatype
from .identity import Identity
from .v2_metadata import places

_LARGEST_EXAMPLE = 2048
"""Entries of an input; a larger one is told in words only."""
_NOT_FINITE = {"type": "string", "enum": ["NaN", "Infinity", "-Infinity"]}
_PROBLEM = {
    "type": "object",
    "required": ["error", "field", "expected", "got"],
    "properties": {
        "error": {"type": "string", "description": "what is wrong"},
        "field": {"type": ["string", "null"], "description": "the input to blame"},
        "expected": {"type": ["string", "null"]},
        "got": {"type": ["string", "null"]},
    },
}
_V2_PROBLEM = {"type": "object", "required": ["error"], "properties": {"error": {"type": "string"}}}
_REFUSALS = {
    "400": "The request is wrong: what is, in which input, what was expected and what came.",
    "408": "The body did not come in time.",
    "413": "The body is larger than the service reads.",
    "415": "The content type or encoding is not read here.",
    "500": "The model failed on input that is in order.",
    "503": "The queue is full, or the model is not ready. Retry-After says when to come back.",
    "504": "The deadline passed before the model answered.",
}


def document(spec: ServiceSpec, who: Identity, max_body: int) -> dict[str, Any]:
    """The document, as JSON can hold it."""
    return {
        "openapi": "3.1.0",
        "info": {
            "title": who.name,
            "version": who.version or "0",
            "description": f"A model served by mdeploy. Bodies of {max_body} bytes at most are read.",
        },
        "paths": {**_predictions(spec), **_v2(spec, who), **_health()},
        "components": {
            "schemas": {
                "Inputs": inputs(spec.inputs),
                "Outputs": outputs(spec.outputs),
                "Problem": _PROBLEM,
                "V2Request": _v2_request(spec),
                "V2Answer": _v2_answer(spec),
                "V2Problem": _V2_PROBLEM,
            }
        },
    }


def inputs(tensors: Sequence[TensorSpec]) -> dict[str, Any]:
    """A request: a batch, or one sample, whose inputs all come without their batch dimension."""
    batch = _named({tensor.name: _input(tensor, tensor.shape) for tensor in tensors})
    if not any(tensor.batched for tensor in tensors):
        return batch
    single = _named(
        {
            tensor.name: _input(tensor, (tensor.shape or ())[1:] if tensor.batched else tensor.shape)
            for tensor in tensors
        }
    )
    return {"anyOf": [{"title": "a batch", **batch}, {"title": "one sample", **single}]}


def outputs(tensors: Sequence[TensorSpec]) -> dict[str, Any]:
    """An answer: the outputs by name, without their batch dimension for one sample."""
    return _named({tensor.name: _output(tensor) for tensor in tensors}, closed=False)


def example(tensors: Sequence[TensorSpec]) -> dict[str, Any] | None:
    """A request with values that every input allows; None where it would be too large to look at."""
    if any(math.prod(_sizes(tensor)) > _LARGEST_EXAMPLE for tensor in tensors):
        return None
    return {tensor.name: _values(tensor) for tensor in tensors}


def _values(tensor: TensorSpec) -> Any:
    sizes = _sizes(tensor)
    count = math.prod(sizes)
    if tensor.dtype == "string":
        return np.full(sizes, "text", dtype=object).tolist()
    if tensor.dtype == "bool":
        return (np.arange(count) % 2 == 0).reshape(sizes).tolist()
    low, high = _ends(tensor)
    whole = "int" in tensor.dtype
    steps = np.linspace(low, high, 5)
    if whole:
        steps = np.clip(np.round(steps), math.ceil(low), math.floor(high)).astype(np.int64)
    return np.resize(steps, count).reshape(sizes).tolist()


def _ends(tensor: TensorSpec) -> tuple[float, float]:
    """A small range within the one that the input allows."""
    low = tensor.minimum if tensor.minimum is not None else min(0.0, tensor.maximum or 0.0)
    high = tensor.maximum if tensor.maximum is not None else max(low + 1, 1.0)
    return float(low), float(high)


def _sizes(tensor: TensorSpec) -> tuple[int, ...]:
    return tuple(size if isinstance(size, int) else 1 for size in tensor.shape or ())


def _named(fields: Mapping[str, Any], *, closed: bool = True) -> dict[str, Any]:
    schema = {"type": "object", "properties": dict(fields), "required": list(fields)}
    return {**schema, "additionalProperties": False} if closed else schema


def _input(tensor: TensorSpec, shape: Sequence[Dimension] | None) -> dict[str, Any]:
    if shape is None:
        return {"description": f"{tensor}: nested lists of equal sizes"}
    return {**nested(_entry(tensor), shape), "description": str(tensor)}


def _entry(tensor: TensorSpec) -> dict[str, Any]:
    """One value of an input, with the range that its dtype and the model allow."""
    if tensor.dtype in ("bool", "string"):
        return {"type": json_type(tensor)}
    whole = "int" in tensor.dtype
    limits: Any = np.iinfo(tensor.dtype) if whole else np.finfo(tensor.dtype)
    number = int if whole else float
    low = number(limits.min) if tensor.minimum is None else max(number(limits.min), tensor.minimum)
    high = number(limits.max) if tensor.maximum is None else min(number(limits.max), tensor.maximum)
    entry = {"type": json_type(tensor), "minimum": low, "maximum": high}
    return {"anyOf": [entry, {"enum": [None, "NaN"]}]} if tensor.nan else entry


def _output(tensor: TensorSpec) -> dict[str, Any]:
    if tensor.shape is None or tensor.dtype not in DATATYPES:
        return {"description": str(tensor)}
    entry: dict[str, Any] = {"type": json_type(tensor)}
    if "float" in tensor.dtype:
        entry = {"anyOf": [entry, _NOT_FINITE]}
    whole = _any_size(entry, len(tensor.shape))
    if tensor.batched:
        whole = {"anyOf": [whole, _any_size(entry, len(tensor.shape) - 1)]}
    return {**whole, "description": str(tensor)}


def _any_size(entry: dict[str, Any], rank: int) -> dict[str, Any]:
    for _ in range(rank):
        entry = {"type": "array", "items": entry}
    return entry


def _predictions(spec: ServiceSpec) -> dict[str, Any]:
    said = example(spec.inputs)
    body = {"schema": _ref("Inputs"), **({} if said is None else {"example": said})}
    outputs_content = {"application/json": {"schema": _ref("Outputs")}}
    operation = {
        "operationId": "predict",
        "summary": "Ask the model for a prediction",
        "description": "Each input by its name: a batch, or one sample without the leading dimension. "
        f"{_binary_forms(spec)} Accept chooses the answer's form.",
        "requestBody": {"required": True, "content": {"application/json": body}},
        "responses": {
            "200": {"description": "The outputs.", "content": outputs_content},
            **_refusals("Problem"),
        },
    }
    return {"/predict": {"post": operation}, "/invocations": {"post": _invocations(operation)}}


def _invocations(predict: Mapping[str, Any]) -> dict[str, Any]:
    return {
        **predict,
        "operationId": "invocations",
        "summary": "The same, as SageMaker and MLflow ask",
        "description": 'As /predict; also {"instances": [...]} row by row, {"inputs": ...} column by column, '
        '{"dataframe_split": {"columns": [...], "data": [[...]]}}, {"dataframe_records": [{...}]}, '
        'and text/csv where the one input is a table of numbers: answered with {"predictions": ...}.',
        "responses": {"200": {"description": "The outputs."}, **_refusals("Problem")},
    }


def _binary_forms(spec: ServiceSpec) -> str:
    forms = [f"{npy.MEDIA} (one input)"] if len(spec.inputs) == 1 else []
    if "arrow" in spec.protocols:
        forms.append("application/vnd.apache.arrow.stream (a column per input)")
    return f"Also read as {' and '.join(forms)}." if forms else ""


def _refusals(schema: str) -> dict[str, Any]:
    content = {"application/json": {"schema": _ref(schema)}}
    told = {status: {"description": text, "content": content} for status, text in _REFUSALS.items()}
    retry = {"description": "seconds", "schema": {"type": "integer"}}
    told["503"] = {**told["503"], "headers": {"Retry-After": retry}}
    return told


def _ref(name: str) -> dict[str, str]:
    return {"$ref": f"#/components/schemas/{name}"}


def _v2(spec: ServiceSpec, who: Identity) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for index, place in enumerate(places(who)):
        version = "_version" if index else ""
        found[place] = {"get": _told(f"v2_model{version}", "Metadata of the model")}
        found[f"{place}/ready"] = {"get": _told(f"v2_ready{version}", "Is the model ready?", ready=True)}
        found[f"{place}/infer"] = {"post": _infer(spec, f"v2_infer{version}")}
    found["/v2"] = {"get": _told("v2", "Metadata of the server")}
    found["/v2/health/live"] = {"get": _told("v2_live", "Does the process live?")}
    found["/v2/health/ready"] = {"get": _told("v2_health", "Is the service ready?", ready=True)}
    return found


def _infer(spec: ServiceSpec, operation: str) -> dict[str, Any]:
    said = _v2_example(spec)
    body = {"schema": _ref("V2Request"), **({} if said is None else {"example": said})}
    return {
        "operationId": operation,
        "summary": "Ask by the Open Inference Protocol V2",
        "description": "Tensors as JSON or, by its binary tensor data extension, as bytes after the JSON.",
        "requestBody": {"required": True, "content": {"application/json": body}},
        "responses": {
            "200": {
                "description": "The outputs.",
                "content": {"application/json": {"schema": _ref("V2Answer")}},
            },
            **_refusals("V2Problem"),
        },
    }


def _v2_example(spec: ServiceSpec) -> dict[str, Any] | None:
    said = example(spec.inputs)
    if said is None:
        return None
    return {
        "inputs": [
            {
                "name": tensor.name,
                "shape": list(_sizes(tensor)),
                "datatype": DATATYPES[tensor.dtype],
                "data": np.array(said[tensor.name], dtype=object).reshape(-1).tolist(),
            }
            for tensor in spec.inputs
        ]
    }


def _v2_request(spec: ServiceSpec) -> dict[str, Any]:
    tensor = {
        "name": {"type": "string", "enum": [tensor.name for tensor in spec.inputs]},
        "shape": {"type": "array", "items": {"type": "integer", "minimum": 0}},
        "datatype": {"type": "string", "enum": sorted({DATATYPES[tensor.dtype] for tensor in spec.inputs})},
        "data": {"type": "array", "description": "flat in row-major order, or nested"},
        "parameters": {"type": ["object", "null"]},
    }
    each = {"type": "object", "required": ["name", "shape", "datatype"], "properties": tensor}
    count = len(spec.inputs)
    return {
        "type": "object",
        "required": ["inputs"],
        "properties": {
            "id": {"type": ["string", "null"]},
            "parameters": {"type": ["object", "null"]},
            "inputs": {"type": "array", "minItems": count, "maxItems": count, "items": each},
            "outputs": {"type": ["array", "null"], "items": _v2_wanted(spec)},
        },
    }


def _v2_wanted(spec: ServiceSpec) -> dict[str, Any]:
    name = {"type": "string", "enum": [output.name for output in spec.outputs]}
    fields = {"name": name, "parameters": {"type": ["object", "null"]}}
    return {"type": "object", "required": ["name"], "properties": fields}


def _v2_answer(spec: ServiceSpec) -> dict[str, Any]:
    tensor = {
        "name": {"type": "string"},
        "shape": {"type": "array", "items": {"type": "integer"}},
        "datatype": {"type": "string", "enum": sorted({datatype(output.dtype) for output in spec.outputs})},
        "data": {"type": "array"},
        "parameters": {"type": "object"},
    }
    entry = {"type": "object", "required": ["name", "shape", "datatype"], "properties": tensor}
    return {
        "type": "object",
        "required": ["model_name", "outputs"],
        "properties": {
            "model_name": {"type": "string"},
            "model_version": {"type": "string"},
            "id": {"type": "string"},
            "outputs": {"type": "array", "items": entry},
        },
    }


def _health() -> dict[str, Any]:
    return {
        "/ping": {"get": _told("ping", "Is the service ready? (SageMaker)", ready=True)},
        "/livez": {"get": {**_told("livez", "Does the process live?"), "responses": _plain()}},
        "/readyz": {"get": {**_told("readyz", "Is the service ready?"), "responses": _plain(ready=True)}},
    }


def _plain(*, ready: bool = False) -> dict[str, Any]:
    told = {"200": {"description": "Yes."}}
    return {**told, "503": {"description": "No."}} if ready else told


def _told(operation: str, summary: str, *, ready: bool = False) -> dict[str, Any]:
    content = {"application/json": {"schema": {"type": "object"}}}
    responses = {status: {**told, "content": content} for status, told in _plain(ready=ready).items()}
    return {"operationId": operation, "summary": summary, "responses": responses}
