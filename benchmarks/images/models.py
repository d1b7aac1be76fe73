"""The two models that are shipped, and other weights for each."""

from __future__ import annotations

import json
import random
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

_COLUMNS = 1_953_125
"""Times 64 inputs times 4 bytes: 500 MB."""


@dataclass(frozen=True, slots=True)
class Model:
    """A model by name. ``make`` writes it, ``change`` gives a written one other weights."""

    name: str
    title: str
    make: Callable[[Path], None]
    change: Callable[[Path, int], None]

    @property
    def request(self) -> bytes:
        """The body of one request."""
        return json.dumps({"image": [[0.5] * 64]}).encode()


def _copy_template(path: Path) -> None:
    shutil.copyfile(Path(__file__).parents[2] / "templates" / "onnx" / "model.onnx", path)


def _other_coefficient(path: Path, seed: int) -> None:
    model = onnx.load(path)
    attributes = (attribute for node in model.graph.node for attribute in node.attribute)
    weights = next(attribute for attribute in attributes if attribute.name == "coefficients")
    weights.floats[0] += 1e-4 * seed
    onnx.save(model, path)


def _make_big(path: Path) -> None:
    """The largest of some two million products, from random weights that no compressor makes smaller."""
    weights = np.random.default_rng(7).integers(0, 2**16, 64 * _COLUMNS * 2, dtype=np.uint16)
    values = (weights.view(np.uint32) & 0x3FFFFFFF).view(np.float32).reshape(64, _COLUMNS)
    nodes = [
        helper.make_node("MatMul", ["image", "weights"], ["products"]),
        helper.make_node("ReduceMax", ["products"], ["score"], axes=[1], keepdims=1),
    ]
    graph = helper.make_graph(
        nodes,
        "big",
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, ["batch", 64])],
        [helper.make_tensor_value_info("score", TensorProto.FLOAT, ["batch", 1])],
        [numpy_helper.from_array(values, "weights")],
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8), path)


def _other_bytes(path: Path, seed: int) -> None:
    """Change some weights in place; where does not matter, since most of the file is weights."""
    with path.open("r+b") as file:
        file.seek(path.stat().st_size // 2)
        file.write(random.Random(seed).randbytes(3))


MODELS = (
    Model("small", "a model of some kilobytes", _copy_template, _other_coefficient),
    Model("big", "a model of 500 MB", _make_big, _other_bytes),
)
