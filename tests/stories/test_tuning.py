"""A network that int8 makes smaller and quicker: refused where answers must be exact, else taken."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

from story_project import PYTHON, Story

pytestmark = pytest.mark.story

PROJECT = f"""\
# Handwritten digits
[project]
name = "network"
version = "1.0.0"

[model]
path = "model.onnx"   # two layers
golden = "golden.npz"

[model.tolerance]
atol = 1e-05  # as exact as floats are

[build]
python = "{PYTHON}"
requirements = ["onnxruntime>=1.20"]
"""


@pytest.fixture(scope="session")
def network(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a network that learned real digits, and the inputs that it did not learn from."""
    from skl2onnx import to_onnx
    from sklearn.datasets import load_digits
    from sklearn.neural_network import MLPClassifier
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import MinMaxScaler

    images, digits = load_digits(return_X_y=True)
    images = (images / 16).astype("float32")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        network = MLPClassifier((768, 768), max_iter=8, random_state=0)
        model = make_pipeline(MinMaxScaler(), network).fit(images[:1400], digits[:1400])
        made = to_onnx(model, images[:1], options={"zipmap": False}, target_opset=17)
    folder = tmp_path_factory.mktemp("network")
    onnx.save(made, folder / "model.onnx")
    unseen = images[1400:]
    sure = model.predict_proba(unseen).max(axis=1) > 0.8  # so that rounding changes no label by chance
    np.savez(folder / "inputs.npz", X=unseen[sure])
    return folder


@pytest.fixture
def scientist(user: Story, network: Path) -> Story:
    """A user with that network and no golden samples yet."""
    user.folder.mkdir(parents=True, exist_ok=True)
    for name in ("model.onnx", "inputs.npz"):
        (user.folder / name).write_bytes((network / name).read_bytes())
    user.file.write_text(PROJECT)
    user.give_lock("onnx")
    return user


def test_a_quicker_form_is_found_proven_and_written(scientist: Story) -> None:
    samples_come_first(scientist)
    exact = int8_is_refused_where_answers_must_be_exact(scientist)
    int8_is_quicker_and_smaller(exact)
    int8_is_taken_where_they_need_not(scientist)
    the_new_bundle_answers_its_samples(scientist)
    it_is_measured_under_load(scientist)


def samples_come_first(user: Story) -> None:
    told = user.ask("optimize --quick", ends_with=3).error
    assert "mdeploy golden" in told["message"]
    user.type("golden --samples inputs.npz")
    user.keep_lock()


def int8_is_refused_where_answers_must_be_exact(user: Story) -> dict[str, Any]:
    before = files(user)
    told = user.ask("optimize --quick --dry-run --save ../report.html").result
    states = {each["name"]: each["state"] for each in told["variants"]}
    assert states["int8, dynamic"] == "refused"
    assert (told["written"], told["path"]) == (False, None)
    assert told["samples"] > 200
    assert files(user) == before, "a dry run writes nothing"
    report = (user.folder.parent / "report.html").read_text("utf-8")
    assert "int8, dynamic: " in report and "<svg" in report
    return {each["name"]: each for each in told["variants"]}


def int8_is_quicker_and_smaller(variants: dict[str, Any]) -> None:
    now, int8 = variants["as it is"], variants["int8, dynamic"]
    assert int8["size"] < now["size"] / 3
    assert int8["ratio"]["middle"] < 1
    assert now["accuracy"]["failed"] == 0 < int8["accuracy"]["failed"]
    assert 0 < int8["accuracy"]["largest"] < 0.2


def int8_is_taken_where_they_need_not(user: Story) -> None:
    user.edit("atol", "0.2")
    told = user.ask("optimize --quick --for size --max-loss 0.02").result
    assert told["written"] is True
    assert told["chosen"].startswith("int8")
    text = user.file.read_text()
    assert 'path = "model.int8.onnx"   # two layers' in text
    assert "# as exact as floats are" in text
    assert (user.folder / "model.onnx").exists()
    assert 'set [model] path = "model.onnx"' in told["undo"]
    assert told["next"] == "mdeploy build --bump patch"


def the_new_bundle_answers_its_samples(user: Story) -> None:
    built = user.build("build --bump patch")
    assert built["ref"] == "network:1.0.1"
    tried = user.ask("test 1.0.1").result
    assert tried["passed"] is True, tried


def it_is_measured_under_load(user: Story) -> None:
    told = user.ask("bench 1.0.1 --duration 500ms --concurrency 1,8 --save bench.svg").result
    assert [level["connections"] for level in told["levels"]] == [1, 8]
    assert all(level["requests"] > 20 and not level["errors"] for level in told["levels"])
    assert told["ready"] > 0
    assert (user.folder / "bench.svg").read_text("utf-8").startswith("<svg")
    typed = user.type("bench 1.0.1 --duration 300ms --concurrency 2 --rows 8 --protocol v2-binary")
    assert "Closed loop" in typed.out


def files(user: Story) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in user.folder.iterdir()}
