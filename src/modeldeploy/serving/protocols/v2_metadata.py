"""What the Open Inference Protocol V2 tells of server and model; with Triton's index and configuration."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from ..spec import ServiceSpec, TensorSpec
from .datatypes import datatype, metadata, sizes
from .identity import Identity

EXTENSIONS = ("binary_tensor_data", "model_configuration", "model_repository(index)")
_PLATFORMS = {"onnx": "onnxruntime_onnx", "tensorflow": "tensorflow_savedmodel", "torch": "pytorch_libtorch"}


def places(who: Identity) -> tuple[str, ...]:
    """The paths that stand for the model: by name, and by name and version where it has one."""
    named = f"/v2/models/{who.name}"
    return (named, f"{named}/versions/{who.version}") if who.version else (named,)


def documents(spec: ServiceSpec, who: Identity) -> Iterator[tuple[str, str, object]]:
    """Method, path and content of each."""
    yield "GET", "/v2", server(who)
    for place in places(who):
        yield "GET", place, model(spec, who)
        yield "GET", f"{place}/config", configuration(spec, who)
    yield (
        "POST",
        "/v2/repository/index",
        [{"name": who.name, "version": who.version or "1", "state": "READY"}],
    )


def server(who: Identity) -> dict[str, Any]:
    """Metadata of the server."""
    return {"name": who.name, "version": who.version, "extensions": list(EXTENSIONS)}


def model(spec: ServiceSpec, who: Identity) -> dict[str, Any]:
    """Metadata of the model: its tensors, with -1 for a free size."""
    return {
        "name": who.name,
        "versions": [who.version] if who.version else [],
        "platform": platform(spec),
        "inputs": metadata(spec.inputs),
        "outputs": metadata(spec.outputs),
    }


def platform(spec: ServiceSpec) -> str:
    """What the model runs on, as Triton calls it where it knows it."""
    if len(spec.models) != 1:
        return "ensemble"
    return _PLATFORMS.get(spec.models[0].framework, spec.models[0].framework)


def configuration(spec: ServiceSpec, who: Identity) -> dict[str, Any]:
    """As Triton has it. Shapes are whole, so there is no batch dimension beside them."""
    return {
        "name": who.name,
        "platform": platform(spec),
        "max_batch_size": 0,
        "input": _fields(spec.inputs),
        "output": _fields(spec.outputs),
    }


def _fields(tensors: Sequence[TensorSpec]) -> list[dict[str, Any]]:
    return [
        {"name": tensor.name, "data_type": f"TYPE_{_triton(tensor)}", "dims": sizes(tensor)}
        for tensor in tensors
    ]


def _triton(tensor: TensorSpec) -> str:
    return "STRING" if datatype(tensor.dtype) == "BYTES" else datatype(tensor.dtype)
