"""Three models: one where only the server counts, one where JSON counts too, and one for images."""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

INPUT, OUTPUT = "x", "y"
_SEED = 20


@dataclass(frozen=True, slots=True)
class Model:
    """One model. ``shape`` is of a sample, without its batch dimension."""

    name: str
    title: str
    shape: tuple[int, ...]
    make: Callable[[], onnx.ModelProto]

    def write(self, path: Path) -> None:
        """Write the ONNX file; the same bytes each time."""
        path.write_bytes(self.make().SerializeToString(deterministic=True))

    def sample(self) -> np.ndarray:
        """A batch of one."""
        values = np.random.default_rng(_SEED).random((1, *self.shape))
        return values.astype(np.float32).round(3)

    def nested(self) -> str:
        """The sample as JSON: nested lists with three decimals."""
        return json.dumps([[round(float(value), 3) for value in self.sample().ravel()]])

    def nested_image(self) -> str:
        """The sample as JSON in its own shape."""
        return json.dumps(self.sample().round(3).astype(float).round(3).tolist())


def _layers(*sizes: int) -> onnx.ModelProto:
    """Dense layers with ReLU between them."""
    dice = np.random.default_rng(_SEED)
    nodes, weights, name = [], [], INPUT
    for number, (wide, narrow) in enumerate(itertools.pairwise(sizes)):
        last = number == len(sizes) - 2
        matrix = dice.standard_normal((wide, narrow)).astype(np.float32) / np.float32(wide**0.5)
        weights.append(numpy_helper.from_array(matrix, f"w{number}"))
        product = OUTPUT if last else f"h{number}"
        nodes.append(helper.make_node("MatMul", [name, f"w{number}"], [product]))
        if not last:
            nodes.append(helper.make_node("Relu", [product], [f"r{number}"]))
            name = f"r{number}"
    return _model(nodes, weights, (sizes[0],), (sizes[-1],))


def _convolutions() -> onnx.ModelProto:
    """Four convolutions with stride 2 and a pooled answer: a few milliseconds on one core."""
    dice = np.random.default_rng(_SEED)
    nodes, weights, name, channels = [], [], INPUT, 3
    for number, wide in enumerate((24, 48, 96, 192)):
        kernel = dice.standard_normal((wide, channels, 3, 3)).astype(np.float32) / 10
        weights.append(numpy_helper.from_array(kernel, f"k{number}"))
        nodes.append(
            helper.make_node("Conv", [name, f"k{number}"], [f"c{number}"], strides=[2, 2], pads=[1, 1, 1, 1])
        )
        nodes.append(helper.make_node("Relu", [f"c{number}"], [f"r{number}"]))
        name, channels = f"r{number}", wide
    nodes.append(helper.make_node("GlobalAveragePool", [name], ["pooled"]))
    nodes.append(helper.make_node("Flatten", ["pooled"], [OUTPUT]))
    return _model(nodes, weights, (3, 224, 224), (channels,))


def _model(
    nodes: list[onnx.NodeProto],
    weights: list[onnx.TensorProto],
    taken: tuple[int, ...],
    given: tuple[int, ...],
) -> onnx.ModelProto:
    graph = helper.make_graph(
        nodes,
        "benchmark",
        [helper.make_tensor_value_info(INPUT, TensorProto.FLOAT, ["batch", *taken])],
        [helper.make_tensor_value_info(OUTPUT, TensorProto.FLOAT, ["batch", *given])],
        weights,
    )
    opset = helper.make_opsetid("", 17)
    return helper.make_model(graph, opset_imports=[opset], ir_version=8, producer_name="benchmarks")


MODELS = (
    Model("small", "4 floats as JSON", (4,), lambda: _layers(4, 16, 3)),
    Model("wide", "1,000 floats as JSON", (1000,), lambda: _layers(1000, 64, 10)),
    Model("image", "An image of 3 x 224 x 224 floats", (3, 224, 224), _convolutions),
)
