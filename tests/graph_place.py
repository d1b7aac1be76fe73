"""Small models of numpy for tests of graphs, and the specs that go with them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from modeldeploy.serving.runtimes.base import Value
from modeldeploy.serving.spec import ModelSpec, ServiceSpec, TensorSpec, parse
from modeldeploy.serving.tensors.rules import Array


class Sum:
    """A model whose one output is made of its inputs by a function; it remembers how it was asked."""

    def __init__(self, make: Callable[..., Mapping[str, Any]], *, parallel: bool = True) -> None:
        self.make = make
        self.parallel = parallel
        self.asked: list[int] = []
        self.closed = 0

    def run(self, arrays: Mapping[str, Array]) -> dict[str, Value]:
        self.asked.append(len(next(iter(arrays.values()))))
        return dict(self.make(**arrays))

    def close(self) -> None:
        self.closed += 1


def tensor(name: str, dtype: str = "float32", shape: Any = ("batch", 3), **more: Any) -> dict[str, Any]:
    return {"name": name, "dtype": dtype, "shape": None if shape is None else list(shape), **more}


def model(inputs: list[dict[str, Any]], outputs: list[dict[str, Any]]) -> dict[str, Any]:
    return {"framework": "onnx", "path": "m.onnx", "inputs": inputs, "outputs": outputs}


def service(
    models: dict[str, dict[str, Any]],
    graph: dict[str, Any] | None,
    inputs: list[dict[str, Any]],
    outputs: list[dict[str, Any]],
    **more: Any,
) -> ServiceSpec:
    return parse(
        {
            "format": 2,
            "name": "s",
            "models": models,
            "graph": graph,
            "inputs": inputs,
            "outputs": outputs,
            **more,
        }
    )


def specs(models: dict[str, dict[str, Any]]) -> list[ModelSpec]:
    first = next(iter(models.values()))
    chain = {"kind": "chain", "models": list(models)} if len(models) > 1 else None
    return list(service(models, chain, first["inputs"], first["outputs"]).models)


def shown(tensors: tuple[TensorSpec, ...]) -> list[str]:
    return [f"{one.name} {one}" for one in tensors]


def rows(*values: float, width: int = 3) -> Array:
    return np.repeat(np.array(values, dtype="float32")[:, None], width, axis=1)
