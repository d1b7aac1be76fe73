"""From a project file with two models, or hooks, to answers over HTTP. Real builds, real workers."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from bundle_place import PYTHON, Told, Workshop
from modeldeploy.bundle import lock, trial
from modeldeploy.bundle.build import Built
from modeldeploy.bundle.golden import Call, verify
from modeldeploy.bundle.manifest import Manifest
from modeldeploy.bundle.recipe import Recipe
from modeldeploy.bundle.recording import record_recipe
from modeldeploy.config.load import load
from modeldeploy.errors import BundleError
from modeldeploy.model import HttpRequest, Level
from modeldeploy.ops.checking import check

HEAD = f'[project]\nname = "digits"\nversion = "1.0.0"\n[build]\npython = "{PYTHON}"\ninclude = ["*.py"]\n'
TWO = '[models.first]\npath = "first.onnx"\n[models.second]\npath = "second.onnx"\n'
HOOKS = """
import numpy as np

from mdeploy_serving.problems import BadInput


def clean(arrays):
    celsius = arrays["celsius"]
    if (celsius > 1e6).any():
        raise BadInput("celsius is hotter than the sun", field="celsius", expected="at most 1e6")
    if (celsius == 451).any():
        raise KeyError("a secret of the service")
    if (celsius < -273.15).any():
        raise ValueError("celsius is below absolute zero")
    return {"x": np.stack([celsius, celsius + 273.15], axis=1)}


def label(arrays):
    return {"warm": arrays["y"][:, 0] > 20, "y": arrays["y"]}
"""


def linear(
    path: Path, weights: Any, *, into: str = "x", out: str = "y", inputs: tuple[str, ...] = ()
) -> None:
    """y = x @ weights, for x float32 [batch, n]; with inputs of int64 [batch] that it does not look at."""
    matrix = np.array(weights, dtype="float32")
    rows, columns = matrix.shape
    graph = helper.make_graph(
        [
            helper.make_node("MatMul", [into, "W"], [out]),
            helper.make_node("ArgMax", [out], ["label"], axis=1, keepdims=0),
        ],
        "linear",
        [
            helper.make_tensor_value_info(into, TensorProto.FLOAT, ["batch", rows]),
            *(helper.make_tensor_value_info(name, TensorProto.INT64, ["batch"]) for name in inputs),
        ],
        [
            helper.make_tensor_value_info(out, TensorProto.FLOAT, ["batch", columns]),
            helper.make_tensor_value_info("label", TensorProto.INT64, ["batch"]),
        ],
        [onnx.numpy_helper.from_array(matrix, "W")],
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), path)


def project(folder: Path, text: str) -> Recipe:
    """The recipe in a project file, whose folder it writes."""
    folder.mkdir(exist_ok=True)
    (folder / "modeldeploy.toml").write_text(HEAD + text)
    (folder / "hooks.py").write_text(HOOKS)
    linear(folder / "first.onnx", [[1, 2], [3, 4]], into="x", out="z")
    linear(folder / "second.onnx", [[10, 0], [0, 100]], into="v", out="y")
    return Recipe.of(load(folder))


def side_by_side(folder: Path, *inputs: str) -> None:
    for name, weights in (("first", [[1, 2], [3, 4]]), ("second", [[5, 0], [0, 0]])):
        linear(folder / f"{name}.onnx", weights, inputs=inputs)


def built(workshop: Workshop, recipe: Recipe) -> Built:
    workshop.give_lock(recipe)
    return workshop.build(recipe)


def predict(call: Call, **inputs: Any) -> tuple[int, dict[str, Any]]:
    body = json.dumps(inputs).encode()
    answer = call(HttpRequest("POST", "/predict", body, {"content-type": "application/json"}))
    return answer.status, json.loads(answer.body)


def told(bundle: Built) -> Mapping[str, Any]:
    content: Mapping[str, Any] = json.loads((bundle.path / "src" / "mdeploy_service.json").read_text())
    return content


CHAIN = TWO + '[service.chain]\nmodels = ["first", "second"]\nconnect = { "second.v" = "first.z" }\n'


def test_a_chain_answers_with_its_last_model_and_reproduces_its_golden_samples(
    workshop: Workshop, tmp_path: Path
) -> None:
    recipe = project(tmp_path / "p", CHAIN)
    workshop.give_lock(recipe)
    recorded = record_recipe(recipe, emit=Told(), count=5)
    bundle = workshop.build(replace(recipe, golden=recorded.path))
    manifest = Manifest.read(bundle.path)
    assert [(model.name, model.path) for model in manifest.models] == [
        ("first", "src/first.onnx"),
        ("second", "src/second.onnx"),
    ]
    assert manifest.signature is not None
    assert [str(one) for one in manifest.signature.inputs] == ["x: float32[batch, 2]"]
    assert [one.name for one in manifest.signature.outputs] == ["y", "label"]
    with trial.running(bundle.path, emit=Told()) as call:
        assert predict(call, x=[[1, 1], [0, 1]]) == (200, {"y": [[40, 600], [30, 400]], "label": [1, 1]})
        status, answer = predict(call, x=[[1, 1, 1]])
        assert (status, answer["field"]) == (400, "x")
        assert verify(call, bundle.path).passed


def test_an_ensemble_answers_with_the_mean_of_its_models(workshop: Workshop, tmp_path: Path) -> None:
    text = '[service.ensemble]\nmodels = ["first", "second"]\ncombine = "weighted"\nweights = [3, 1]\n'
    project(tmp_path / "p", TWO + text)
    side_by_side(tmp_path / "p")
    with trial.running(built(workshop, Recipe.of(load(tmp_path / "p"))).path, emit=Told()) as call:
        assert predict(call, x=[[1, 1]]) == (200, {"y": [[4.25, 4.5]]})


def test_a_choice_splits_the_rows_of_one_request(workshop: Workshop, tmp_path: Path) -> None:
    text = '[service.choose]\nrules = [{ when = "age < 18", model = "first" }]\ndefault = "second"\n'
    project(tmp_path / "p", TWO + text)
    side_by_side(tmp_path / "p", "age")
    with trial.running(built(workshop, Recipe.of(load(tmp_path / "p"))).path, emit=Told()) as call:
        answer = predict(call, x=[[1, 1], [1, 1], [2, 1]], age=[3, 30, 17])
        assert answer == (200, {"y": [[4, 6], [5, 0], [5, 8]], "label": [1, 0, 1]})
        assert predict(call, x=[1, 1], age=30) == (200, {"y": [5, 0], "label": 0})


def test_hooks_stand_between_clients_and_the_model(workshop: Workshop, tmp_path: Path) -> None:
    text = """
[model]
path = "only.onnx"
[service]
preprocess = "hooks:clean"
postprocess = "hooks:label"
inputs = [{ name = "celsius", dtype = "float32", shape = ["batch"] }]
outputs = [{ name = "warm", dtype = "bool", shape = ["batch"] }]
max_body = "1kB"
"""
    (tmp_path / "p").mkdir()
    linear(tmp_path / "p" / "only.onnx", [[1, 0], [0, 1]])
    recipe = project(tmp_path / "p", text)
    bundle = built(workshop, recipe)
    assert told(bundle)["hooks"] == {"before": "hooks:clean", "after": "hooks:label"}
    assert told(bundle)["limits"]["body"] == 1000
    with trial.running(bundle.path, emit=Told()) as call:
        assert predict(call, celsius=[10, 30.5]) == (200, {"warm": [False, True]})
        status, answer = predict(call, celsius=[-300])
        assert (status, answer["error"]) == (400, "celsius is below absolute zero")
        status, answer = predict(call, celsius=[20, 2e6])
        assert (status, answer["field"], answer["expected"]) == (400, "celsius", "at most 1e6")
        status, answer = predict(call, celsius=[451])
        assert (status, "secret" in str(answer)) == (500, False)
        assert predict(call, celsius=[0.0] * 1000)[0] == 413
        assert predict(call, celsius=[25])[0] == 200


def test_a_service_of_the_projects_own_is_told_its_limits_and_nothing_else(
    workshop: Workshop, tmp_path: Path
) -> None:
    bundle = workshop.build(workshop.project(tmp_path / "p", own_service=True))
    assert set(told(bundle)) == {"format", "name", "limits", "runtime"}


@pytest.mark.parametrize(
    ("text", "says", "at"),
    [
        (
            CHAIN.replace("second.v", "second.w"),
            "no model of the chain has the input 'second.w'; did you mean 'second.v'?",
            "modeldeploy.toml:11",
        ),
        (
            TWO + '[service.ensemble]\nmodels = ["first", "second"]\n',
            "there is nothing to combine by mean",
            "modeldeploy.toml:11",
        ),
        (
            TWO + '[service.choose]\nrules = [{ when = "aeg < 3", model = "first" }]\ndefault = "second"\n',
            "rules[0]: column 1: there is no input 'aeg'",
            "modeldeploy.toml:11",
        ),
        (
            '[model]\npath = "first.onnx"\ninputs = [{ name = "x", dtype = "float32", shape = ["n", 3] }]\n',
            "the project says x: float32[n, 3], but first.onnx has x: float32[batch, 2]: a size of 3 is",
            "modeldeploy.toml:9",
        ),
        (
            '[model]\npath = "first.onnx"\ninputs = [{ name = "X", dtype = "float32" }]\n',
            "first.onnx has no input 'X'; its inputs are x",
            "modeldeploy.toml:9",
        ),
    ],
)
def test_models_that_do_not_fit_are_found_by_check_before_a_build(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str, says: str, at: str
) -> None:
    monkeypatch.chdir(tmp_path)
    project(tmp_path, text)
    found = [finding for finding in check(tmp_path) if finding.level is Level.ERROR]
    assert [finding.check for finding in found] == ["model" if "[model]" in text else "service"]
    assert says in found[0].message
    assert found[0].where.startswith(at)


def test_check_shows_the_models_and_how_they_are_one(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    project(tmp_path, CHAIN)
    messages = [finding.message for finding in check(tmp_path)]
    assert any(
        message.startswith("first (first.onnx): onnx, x: float32[batch, 2] ->") for message in messages
    )
    assert "first, then second, x: float32[batch, 2] -> y: float32[batch, 2], label: int64[batch]" in messages


def test_protocols_and_tracing_bring_their_packages_along(tmp_path: Path) -> None:
    recipe = project(tmp_path, CHAIN + '[service]\nprotocols = ["grpc", "arrow"]\ntracing = true\n')
    asked = {requirement.partition(">")[0] for requirement in lock.wanted(recipe)}
    assert {"grpcio", "protobuf", "pyarrow", "opentelemetry-exporter-otlp-proto-http", "onnxruntime"} <= asked


def test_code_that_a_key_names_must_be_there_by_that_name(workshop: Workshop, tmp_path: Path) -> None:
    text = '[model]\npath = "first.onnx"\n[service]\npreprocess = "hooks:claen"\n'
    recipe = project(tmp_path / "p", text)
    (wrong,) = [finding for finding in check(tmp_path / "p") if finding.check == "code"]
    assert (wrong.level, wrong.where.rpartition(":")[2]) == (Level.ERROR, "10")
    with pytest.raises(
        BundleError, match=r"\[service\] preprocess is 'hooks:claen', but hooks.py has no claen"
    ) as no:
        built(workshop, recipe)
    assert no.value.hint == "did you mean 'hooks:clean'?"
    with pytest.raises(BundleError, match=r"does not take in hooks.py"):
        built(workshop, replace(recipe, include=()))
