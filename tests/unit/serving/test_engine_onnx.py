"""Real ONNX models behind the engine: what may go in one run and what may not, and what comes out."""

from __future__ import annotations

import asyncio
import json
import logging
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

from model_engine_place import Asked, Counted, all_answered, on_loop, until, zip_map
from modeldeploy.serving.engine.engine import Engine, open_engine
from modeldeploy.serving.exchange import Request
from modeldeploy.serving.problems import ModelFailed, TimedOut
from modeldeploy.serving.protocols.predict import NamedJson
from modeldeploy.serving.settings import settings
from modeldeploy.serving.spec import SpecError, parse

Tensor = tuple[str, str, list[int | str | None] | None]
Open = Callable[..., tuple[Engine, Counted]]
HEAD = '<ir_version: 8, opset_import: ["" : 17, "ai.onnx.ml" : 3]>'


def description(inputs: Sequence[Tensor], outputs: Sequence[Tensor]) -> dict[str, Any]:
    tensors = {
        key: [{"name": name, "dtype": dtype, "shape": shape} for name, dtype, shape in given]
        for key, given in (("inputs", inputs), ("outputs", outputs))
    }
    return {
        "format": 2,
        "name": "m",
        **tensors,
        "models": {"m": {"framework": "onnx", "path": "model.onnx", **tensors}},
    }


@pytest.fixture
def opened(tmp_path: Path) -> Open:
    """An engine for an ONNX model, given as text or as itself, and the tensors of its signature."""

    def open_it(
        model: str | onnx.ModelProto, inputs: Sequence[Tensor], outputs: Sequence[Tensor], **variables: str
    ) -> tuple[Engine, Counted]:
        made = onnx.parser.parse_model(HEAD + model) if isinstance(model, str) else model
        onnx.checker.check_model(made)
        (tmp_path / "model.onnx").write_bytes(made.SerializeToString())
        spec, meter = parse(description(inputs, outputs)), Counted()
        return open_engine(tmp_path, spec, meter=meter, settings=settings(spec, variables)), meter

    return open_it


def together(engine: Engine, *values: Any, name: str = "x", rows: int | None = None) -> list[Asked]:
    """Ask for several values in one turn of the loop."""
    jobs = [Asked(np.asarray(value), rows=rows) for value in values]
    for job in jobs:
        job.arrays = {name: job.arrays["x"]}

    async def story() -> None:
        for job in jobs:
            engine.submit(job)
        await all_answered(*jobs)

    on_loop(engine, story())
    return jobs


ROW: list[Tensor] = [("x", "float32", ["n", 2])]
OUT: list[Tensor] = [("y", "float32", ["n", 2])]
A, B, C = (np.array([[value, 2.5]], dtype=np.float32) for value in (1, 30, 500))


def test_an_ordinary_model_is_joined_from_the_first_request_on(
    opened: Open, caplog: pytest.LogCaptureFixture
) -> None:
    engine, meter = opened("g (float[n, 2] x) => (float[n, 2] y) { y = Add (x, x) }", ROW, OUT)
    assert engine.ready and meter.models == ["m"]
    jobs = together(engine, A, B, C)
    assert [job.y for job in jobs] == [(value * 2).tolist() for value in (A, B, C)]
    assert meter.runs == [(3, 3)] and not caplog.text


def test_an_operator_across_the_batch_is_found_and_each_request_runs_alone(
    opened: Open, caplog: pytest.LogCaptureFixture
) -> None:
    across = """g (float[n, 2] x) => (float[n, 2] y) {
        mean = ReduceMean <axes = [0], keepdims = 1> (x)
        y = Sub (x, mean)
    }"""
    engine, meter = opened(across, ROW, OUT)
    assert "depends on the rows beside it" in caplog.text
    assert [job.y for job in together(engine, A, B)] == [[[0.0, 0.0]], [[0.0, 0.0]]]
    assert meter.runs == [(1, 1), (1, 1)]


def test_quantisation_over_the_whole_batch_is_found_too(
    opened: Open, caplog: pytest.LogCaptureFixture
) -> None:
    quantised = """g (float[n, 2] x) => (float[n, 2] y) {
        q, scale, zero = DynamicQuantizeLinear (x)
        y = DequantizeLinear (q, scale, zero)
    }"""
    opened(quantised, ROW, OUT)[0].close()
    assert "depends on the rows beside it" in caplog.text


@pytest.mark.parametrize("shape", [[], None])
def test_an_output_of_one_number_is_not_split(opened: Open, shape: list[int | str | None] | None) -> None:
    total = "g (float[n, 2] x) => (float y) { y = ReduceSum <keepdims = 0> (x) }"
    engine, meter = opened(total, ROW, [("y", "float32", shape)])
    assert [job.y for job in together(engine, A, B)] == [3.5, 32.5]
    assert meter.runs == [(1, 1), (1, 1)]


def test_a_batch_that_was_fixed_inside_by_an_export_is_found(
    opened: Open, caplog: pytest.LogCaptureFixture
) -> None:
    fixed = """g (float[n, 2] x) => (float[n, 2] y) {
        shape = Constant <value = int64[2] {1, 2}> ()
        y = Reshape (x, shape)
    }"""
    engine, meter = opened(fixed, ROW, OUT)
    assert "fails for several requests together" in caplog.text
    assert [job.y for job in together(engine, A, B)] == [A.tolist(), B.tolist()]
    assert meter.failures == 0


def test_a_list_of_maps_as_scikit_learn_models_give_is_split_by_its_entries(opened: Open) -> None:
    engine, meter = opened(zip_map("x", "y"), ROW, [("y", "sequence(map(int64,float32))", None)])
    assert [job.y for job in together(engine, A, B)] == [[{10: 1.0, 20: 2.5}], [{10: 30.0, 20: 2.5}]]
    assert meter.runs == [(2, 2)]


def test_a_list_of_tensors_without_a_row_each_is_not_split(opened: Open) -> None:
    halves = (
        """g (float[n, 2] x) => (seq(float[n, 1]) y) { y = SplitToSequence <axis = 1, keepdims = 1> (x) }"""
    )
    engine, meter = opened(halves, ROW, [("y", "sequence(tensor(float32))", None)])
    first, second = together(engine, A, B)
    assert [part.tolist() for part in first.y] == [[[1.0]], [[2.5]]]
    assert [part.tolist() for part in second.y] == [[[30.0]], [[2.5]]]
    assert meter.runs == [(1, 1), (1, 1)]


def test_texts_are_joined(opened: Open) -> None:
    echo = "g (string[n] x) => (string[n] y) { y = Identity (x) }"
    engine, meter = opened(echo, [("x", "string", ["n"])], [("y", "string", ["n"])])
    texts = (["a", "日本"], [""])
    assert [job.y for job in together(engine, *(np.array(text, dtype=object) for text in texts))] == [*texts]
    assert meter.runs == [(3, 2)]


PICKY = """g (int64[n] x) => (float[n] y) {
    table = Constant <value = float[3] {1.0, 2.0, 3.0}> ()
    y = Gather (table, x)
}"""


def test_one_index_out_of_bounds_fails_alone(opened: Open, caplog: pytest.LogCaptureFixture) -> None:
    engine, meter = opened(PICKY, [("x", "int64", ["n"])], [("y", "float32", ["n"])])
    good, bad, other = together(engine, *(np.array([value]) for value in (2, 99, 0)))
    assert (good.y, other.y) == ([3.0], [1.0])
    assert isinstance(bad.problem, ModelFailed) and "Gather" not in str(bad.problem.as_json())
    assert meter.failures == 1 and "Gather" in caplog.text


def test_a_warm_up_that_the_model_refuses_is_only_a_warning(
    opened: Open, caplog: pytest.LogCaptureFixture
) -> None:
    of_three = """g (int64[n] x) => (int64[k] y) {
        three = Constant <value = int64[1] {3}> ()
        y = Reshape (x, three)
    }"""
    with caplog.at_level(logging.WARNING):
        engine, _ = opened(of_three, [("x", "int64", ["n"])], [("y", "int64", ["k"])])
    assert "warm-up" in caplog.text
    three = np.array([1, 2, 3])
    assert [job.y for job in together(engine, three, three)] == [[1, 2, 3]] * 2


ENDLESS = """g (int64 times, float[n] x) => (float[n] y) {
    yes = Constant <value = bool {1}> ()
    y = Loop (times, yes, x) <body = body (int64 i, bool c, float[n] a) => (bool d, float[n] b) {
        d = Identity (c)
        one = Constant <value = float {1.0}> ()
        b = Add (a, one)
    }>
}"""


def test_a_run_without_end_is_answered_504_and_then_interrupted(opened: Open) -> None:
    engine, _ = opened(ENDLESS, [("times", "int64", []), ("x", "float32", ["n"])], [("y", "float32", ["n"])])
    hung, fine = (Asked(np.zeros(2, dtype=np.float32), rows=0, seconds=wait) for wait in (0.1, 20))
    hung.arrays = {**hung.arrays, "times": np.array(10**15)}
    fine.arrays = {**fine.arrays, "times": np.array(3)}
    engine._pace.note(3, 1, 1.0, here=True)  # it is known as slow
    engine._pace._quick = [False] * 64

    async def story() -> None:
        engine.submit(hung)
        await asyncio.sleep(0)
        began = time.monotonic()
        await all_answered(hung)
        assert time.monotonic() - began < 2
        await until(lambda: engine.ready)
        engine.submit(fine)
        await all_answered(fine)

    on_loop(engine, story())
    assert isinstance(hung.problem, TimedOut) and fine.y == [3.0, 3.0]


def test_a_signature_of_another_model_is_refused_at_the_start(opened: Open) -> None:
    with pytest.raises(SpecError, match=r"models\.m: inputs \['other'\] are not the model's own: \['x'\]"):
        opened(PICKY, [("other", "int64", ["n"])], [("y", "float32", ["n"])])


def test_float32_answers_in_json_are_exact(opened: Open) -> None:
    engine, _ = opened("g (float[n, 2] x) => (float[n, 2] y) { y = Add (x, x) }", ROW, OUT)
    values = np.random.default_rng(1).standard_normal((4, 2)).astype(np.float32)
    codec = NamedJson(engine.spec)
    asked = codec.read(Request("POST", "/predict", {}, json.dumps({"x": values.tolist()}).encode()))
    body = codec.write(asked, engine.run(asked.arrays)).body
    engine.close()
    assert np.array(json.loads(bytes(body))["y"], dtype=np.float32).tobytes() == (values * 2).tobytes()
