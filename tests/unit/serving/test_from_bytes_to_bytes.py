"""From a request's bytes to those of its answer: real ONNX models behind named fields in JSON."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from model_engine_place import Counted, zip_map
from modeldeploy.serving.engine.engine import Engine, open_engine
from modeldeploy.serving.exchange import Request, Response
from modeldeploy.serving.problems import Problem
from modeldeploy.serving.protocols.predict import NamedJson
from modeldeploy.serving.spec import parse

Tensor = tuple[str, str, list[int | str | None] | None]


@dataclass
class Asker:
    """An engine and the codec in front of it."""

    engine: Engine
    codec: NamedJson

    def answer(self, body: bytes) -> Response:
        try:
            asked = self.codec.read(Request("POST", "/predict", {}, body))
        except Problem as problem:
            return self.codec.refuse(problem)
        return self.codec.write(asked, self.engine.run(asked.arrays))


Make = Callable[[str | onnx.ModelProto, list[Tensor], list[Tensor]], Asker]

DOUBLED = """
<ir_version: 8, opset_import: ["" : 17]>
doubled (float[batch, 3] "input:0", int64 times) => (float[batch, 3] "output:0", int64 counted) {
    factor = Constant <value = float {2.0}> ()
    "output:0" = Mul ("input:0", factor)
    counted = Identity (times)
}
"""


def model_of(text: str) -> onnx.ModelProto:
    for name in ("input:0", "output:0"):  # the parser knows no quoted names
        text = text.replace(f'"{name}"', name.replace(":", "_COLON_"))
    model = onnx.parser.parse_model(text)
    graph = model.graph
    for value in (*graph.input, *graph.output):
        value.name = value.name.replace("_COLON_", ":")
    for node in graph.node:
        node.input[:] = [name.replace("_COLON_", ":") for name in node.input]
        node.output[:] = [name.replace("_COLON_", ":") for name in node.output]
    onnx.checker.check_model(model)
    return model


@pytest.fixture
def served(tmp_path: Path) -> Iterator[Make]:
    """What answers for an ONNX model, given as text or as itself, and the tensors of its signature."""
    engines: list[Engine] = []

    def make(model: str | onnx.ModelProto, inputs: list[Tensor], outputs: list[Tensor]) -> Asker:
        made = model_of(model) if isinstance(model, str) else model
        (tmp_path / "model.onnx").write_bytes(made.SerializeToString())
        tensors = {
            key: [{"name": name, "dtype": dtype, "shape": shape} for name, dtype, shape in given]
            for key, given in (("inputs", inputs), ("outputs", outputs))
        }
        models = {"m": {"framework": "onnx", "path": "model.onnx", **tensors}}
        spec = parse({"format": 2, "name": "m", **tensors, "models": models})
        engines.append(open_engine(tmp_path, spec, meter=Counted()))
        return Asker(engines[-1], NamedJson(spec))

    yield make
    for engine in engines:
        engine.close()


@pytest.fixture
def doubled(served: Make) -> Asker:
    return served(
        DOUBLED,
        [("input:0", "float32", ["batch", 3]), ("times", "int64", [])],
        [("output:0", "float32", ["batch", 3]), ("counted", "int64", [])],
    )


def ask(served: Asker, value: object) -> tuple[int, Any]:
    answer = served.answer(json.dumps(value).encode())
    return answer.status, json.loads(bytes(answer.body))


def test_named_inputs_give_named_outputs(doubled: Asker) -> None:
    assert ask(doubled, {"input:0": [[1, 2, 3], [4, 5, 6]], "times": 7}) == (
        200,
        {"output:0": [[2.0, 4.0, 6.0], [8.0, 10.0, 12.0]], "counted": 7},
    )


def test_one_sample_is_answered_without_the_batch_dimension(doubled: Asker) -> None:
    assert ask(doubled, {"input:0": [1, 2, 3], "times": 7}) == (
        200,
        {"output:0": [2.0, 4.0, 6.0], "counted": 7},
    )


def test_a_bad_request_is_answered_with_400_and_the_field(doubled: Asker) -> None:
    status, body = ask(doubled, {"input:0": [["a", 2, 3]], "times": 7})
    assert (status, body["field"], body["expected"]) == (400, "input:0", "float32 [batch, 3]")
    assert doubled.answer(b"nonsense").status == 400


def test_text_goes_in_and_out(served: Make) -> None:
    echo = served(
        '<ir_version: 8, opset_import: ["" : 17]> g (string[n] x) => (string[n] y) { y = Identity (x) }',
        [("x", "string", ["n"])],
        [("y", "string", ["n"])],
    )
    texts = ["", "é\n", "日本", 'a"b']
    assert ask(echo, {"x": texts}) == (200, {"y": texts})
    assert ask(echo, {"x": "one"}) == (200, {"y": "one"})


def test_maps_of_scores_as_scikit_learn_models_give_them_become_objects(served: Make) -> None:
    zipped = served(
        zip_map("scores", "maps"),
        [("scores", "float32", ["n", 2])],
        [("maps", "sequence(map(int64,float32))", None)],
    )
    assert ask(zipped, {"scores": [[0.25, 0.75]]}) == (200, {"maps": [{"10": 0.25, "20": 0.75}]})
    assert ask(zipped, {"scores": [0.25, 0.75]}) == (200, {"maps": {"10": 0.25, "20": 0.75}})


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.sampled_from(["input:0", "times"]), inner),
)


def test_no_json_value_becomes_a_server_error(doubled: Asker) -> None:
    @settings(max_examples=200, deadline=None)
    @given(json_values | st.fixed_dictionaries({"input:0": json_values, "times": json_values}))
    def asked(value: object) -> None:
        status, body = ask(doubled, value)
        assert status == 200 or (status == 400 and set(body) == {"error", "field", "expected", "got"})

    asked()
