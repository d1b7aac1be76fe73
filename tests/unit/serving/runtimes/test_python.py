"""A class of the project's own as a model: what it gives is checked."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from modeldeploy.serving.runtimes import python
from modeldeploy.serving.runtimes.base import Settings
from modeldeploy.serving.spec import ModelSpec, SpecError, TensorSpec

CODE = """
import numpy as np


class Linear:
    parallel = True

    def load(self, path):
        self.weights = np.load(path)
        self.closed = False

    def predict(self, arrays):
        return CHANGE(arrays["x"] @ self.weights)

    def close(self):
        self.closed = True


class Empty:
    pass
"""
X = TensorSpec("x", "float64", ("batch", 4))
Y = TensorSpec("y", "float64", ("batch",))


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    np.save(tmp_path / "weights.npy", np.arange(4.0))
    monkeypatch.syspath_prepend(tmp_path)
    yield tmp_path
    sys.modules.pop("linear_model", None)


def model(
    folder: Path, change: str = 'lambda y: {"y": y}', name: str = "Linear", **options: Any
) -> python.Python:
    (folder / "linear_model.py").write_text(CODE.replace("CHANGE", f"({change})"))
    options = {"class": f"linear_model:{name}", **options}
    spec = ModelSpec("m", "python", "weights.npy", (X,), (Y,), options)
    return python.load(folder, spec, Settings(threads=1))


def run(loaded: python.Python) -> Mapping[str, Any]:
    return loaded.run({"x": np.ones((2, 4))})


def test_a_class_loads_its_file_and_predicts(project: Path) -> None:
    loaded = model(project)
    assert run(loaded)["y"].tolist() == [6.0, 6.0]
    assert loaded.parallel
    loaded.close()


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ("lambda y: y", "gave ndarray; expected a dictionary"),
        ('lambda y: {"z": y}', r"gave no 'y', only \['z'\]"),
        ('lambda y: {"y": y.astype("float32")}', "'y' as float32; expected float64"),
        ('lambda y: {"y": y[:1]}', r"'y' of the shape \[1\]; expected float64 \[batch\]"),
        ('lambda y: {"y": y[:, None]}', r"of the shape \[2, 1\]"),
        ('lambda y: {"y": ["a", "b"]}', "'y' as string"),
    ],
)
def test_what_it_gives_must_be_what_the_project_file_says(change: str, words: str, project: Path) -> None:
    with pytest.raises((ValueError, TypeError), match=words):
        run(model(project, change))


def test_a_class_that_is_not_there_or_cannot_predict_is_named(project: Path) -> None:
    with pytest.raises(SpecError, match="linear_model:Empty has no method load"):
        model(project, name="Empty")
    with pytest.raises(SpecError, match="the module linear_model has no Missing"):
        model(project, name="Missing")
    with pytest.raises(SpecError, match='expected "module:Class"'):
        model(project, **{"class": "linear_model"})
