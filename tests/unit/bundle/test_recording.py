"""Golden samples are recorded from the running bundle, and a bundle reproduces them. Real workers."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from bundle_place import OWN_SERVICE, Told, Workshop, write_model
from modeldeploy.bundle import trial
from modeldeploy.bundle.golden import verify
from modeldeploy.bundle.manifest import Manifest
from modeldeploy.bundle.recording import record_recipe
from modeldeploy.errors import BundleError
from modeldeploy.model import HttpRequest


def test_made_up_samples_are_recorded_and_a_changed_model_does_not_reproduce_them(
    workshop: Workshop, tmp_path: Path
) -> None:
    recipe = workshop.project(tmp_path / "p")
    recorded = record_recipe(recipe, emit=Told())
    assert recorded.path.name == "golden.npz"
    assert recorded.samples == 20
    first = recorded.path.read_bytes()
    recipe = replace(recipe, golden=recorded.path)
    built = workshop.build(recipe)
    golden = Manifest.read(built.path).golden
    assert golden is not None
    assert golden.samples == 20
    with trial.running(built.path, emit=Told()) as call:
        assert verify(call, built.path).passed
        assert call(HttpRequest("GET", "/livez")).status == 200
    write_model(recipe.model, seed=1)
    other = workshop.build(replace(recipe, version="1.0.1"))
    with trial.running(other.path, emit=Told()) as call:
        report = verify(call, other.path)
    assert not report.passed
    assert "recorded (tolerance" in "".join(report.failures)
    write_model(recipe.model)
    assert record_recipe(recipe, emit=Told()).path.read_bytes() == first


def test_given_samples_are_recorded_from_json_and_from_npz(workshop: Workshop, tmp_path: Path) -> None:
    recipe = workshop.project(tmp_path / "p")
    (tmp_path / "samples.json").write_text(json.dumps({"pixels": [[1, 2, 3, 4], [0, 0, 0, 1.5]]}))
    recorded = record_recipe(recipe, samples=tmp_path / "samples.json", emit=Told())
    with np.load(recorded.path) as content:
        assert content["input/pixels"].dtype == np.float32
        assert content["output/probability"].shape == (2, 3)
    np.savez(tmp_path / "samples.npz", image=np.zeros((2, 4)))
    with pytest.raises(BundleError, match=r"samples.npz has image; the model's inputs are pixels"):
        record_recipe(recipe, samples=tmp_path / "samples.npz", emit=Told())


def test_an_own_service_is_recorded_by_request(workshop: Workshop, tmp_path: Path) -> None:
    recipe = workshop.project(tmp_path / "p", own_service=True)
    requests = [{"path": "/double", "body": {"number": 2}}]
    (tmp_path / "samples.json").write_text(json.dumps(requests))
    recorded = record_recipe(recipe, samples=tmp_path / "samples.json", emit=Told())
    assert json.loads(recorded.path.read_text()) == [{**requests[0], "expect": {"doubled": 4.0, "took": 0.1}}]
    built = workshop.build(replace(recipe, golden=recorded.path))
    with trial.running(built.path, emit=Told()) as call:
        assert verify(call, built.path).passed
    (tmp_path / "samples.json").write_text(json.dumps([{"path": "/double", "body": {"number": "x"}}]))
    with pytest.raises(BundleError, match=r"sample 0 cannot be recorded: answered 4"):
        record_recipe(recipe, samples=tmp_path / "samples.json", emit=Told())


def test_a_bundle_that_does_not_start_shows_its_last_lines(workshop: Workshop, tmp_path: Path) -> None:
    broken = OWN_SERVICE.replace(
        "    @bentoml.api",
        "    def __init__(self):\n        raise RuntimeError('no weights')\n\n    @bentoml.api",
    )
    built = workshop.build(workshop.project(tmp_path / "p", own_service=True, text=broken))
    with (
        pytest.raises(BundleError, match="its worker ended with code") as caught,
        trial.running(built.path, emit=Told()),
    ):
        pytest.fail("it started")
    assert "no weights" in "\n".join(caught.value.details["output"])  # type: ignore[arg-type]  # lines
