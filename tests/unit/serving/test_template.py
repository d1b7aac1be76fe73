"""The project that `mdeploy init --template onnx` gives: small, real, and reproducible."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import numpy as np
import onnxruntime
import pytest

from modeldeploy.serving.spec import parse
from modeldeploy.serving.tensors.validate import RequestReader
from serving_place import DIGITS, ROOT, TEMPLATE

SUCCESSOR = ROOT / "examples" / "digits"
VERSIONS = {
    "baseline": (TEMPLATE / "model.onnx", TEMPLATE / "golden.npz", "95.7"),
    "better": (SUCCESSOR / "model-v2.onnx", SUCCESSOR / "golden-v2.npz", "98.0"),
}


@pytest.mark.parametrize(("model", "golden", "_"), VERSIONS.values(), ids=VERSIONS)
def test_a_model_gives_its_golden_answers(model: Path, golden: Path, _: str) -> None:
    samples = np.load(golden)
    session = onnxruntime.InferenceSession(model)
    answers = session.run(["digit", "probability"], {"image": samples["input/image"]})
    assert len(samples["input/image"]) == 32
    assert np.array_equal(answers[0], samples["output/digit"])
    np.testing.assert_allclose(answers[1], samples["output/probability"], rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize(("model", "golden", "_"), VERSIONS.values(), ids=VERSIONS)
def test_both_versions_have_the_same_signature_and_tell_their_range(
    model: Path, golden: Path, _: str
) -> None:
    session = onnxruntime.InferenceSession(model)
    assert [
        (node.name, node.type, node.shape) for node in (*session.get_inputs(), *session.get_outputs())
    ] == [
        ("image", "tensor(float)", ["batch", 64]),
        ("digit", "tensor(int64)", ["batch"]),
        ("probability", "tensor(float)", ["batch", 10]),
    ]
    assert json.loads(session.get_modelmeta().custom_metadata_map["mdeploy.ranges"]) == {"image": [0, 16]}


@pytest.mark.parametrize("version", VERSIONS)
def test_training_again_gives_the_same_model(version: str, tmp_path: Path) -> None:
    model, golden, accuracy = VERSIONS[version]
    train: list[str | Path] = [
        sys.executable,
        "-W",
        "error",
        TEMPLATE / "train.py",
        "--model",
        version,
        "--out",
        tmp_path,
    ]
    told = subprocess.run(
        train, check=True, capture_output=True, text=True, env={**os.environ, "PYTHONHASHSEED": "5"}
    )
    assert f"{accuracy}% of 540 unseen digits" in told.stdout
    again, before = np.load(tmp_path / "golden.npz"), np.load(golden)
    assert np.array_equal(again["input/image"], before["input/image"])
    assert np.array_equal(again["output/digit"], before["output/digit"])
    # Other processors add in another order, and 400 rounds of training make that grow.
    np.testing.assert_allclose(again["output/probability"], before["output/probability"], atol=0.01)
    assert abs((tmp_path / "model.onnx").stat().st_size - model.stat().st_size) < 64


def test_the_samples_are_a_request_of_the_service() -> None:
    spec = parse(DIGITS)
    arrays = RequestReader(spec.inputs).read((TEMPLATE / "samples.json").read_bytes()).arrays
    assert arrays["image"].shape == (2, 64)
    session = onnxruntime.InferenceSession(TEMPLATE / "model.onnx")
    assert session.run(["digit"], arrays)[0].tolist() == [0, 6]


def test_the_project_names_files_that_are_there() -> None:
    project = tomllib.loads((TEMPLATE / "modeldeploy.toml").read_text())
    assert (TEMPLATE / project["model"]["path"]).is_file()
    assert (TEMPLATE / project["model"]["golden"]).is_file()
    for file in re.findall(r"^\| `([\w.]+)`", (TEMPLATE / "README.md").read_text(), re.MULTILINE):
        assert (TEMPLATE / file).is_file()
    assert sum(path.stat().st_size for path in TEMPLATE.iterdir() if path.is_file()) < 200_000
