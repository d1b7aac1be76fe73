"""SavedModels answer as TensorFlow does, and those that reach for files are refused."""

from __future__ import annotations

import json
import platform
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from framework_place import TENSORFLOW, asked, environment, trained

pytestmark = pytest.mark.skipif(
    sys.platform != "linux" or platform.machine() != "x86_64",
    reason="there is no small TensorFlow for this machine",
)


@pytest.fixture(scope="module")
def answers(tmp_path_factory: pytest.TempPathFactory) -> Any:
    python = environment("tensorflow", TENSORFLOW)
    folder = tmp_path_factory.mktemp("tensorflow")
    trained(python, Path(__file__).with_name("train_tensorflow.py"), folder)
    expected = json.loads((folder / "expected.json").read_text())
    rows = expected["rows"]
    questions: list[dict[str, Any]] = [
        {"framework": "tensorflow", "path": "dense"},
        {"framework": "tensorflow", "path": "dense", "inputs": {"keras_tensor": rows}},
        {"framework": "tensorflow", "path": "dense", "inputs": {"keras_tensor": rows[1:]}},
        {"framework": "tensorflow", "path": "text", "inputs": {"x": rows, "word": ["ja", "grüß"]}},
        {"framework": "tensorflow", "path": "reaching"},
        {"framework": "tensorflow", "path": "reaching", "options": {"trust": True}},
    ]
    return expected, *asked(python, folder, questions)


def test_a_keras_model_exported_as_a_saved_model_answers_as_it_did(answers: Any) -> None:
    expected, described, whole, alone, *_ = answers
    (made,) = described["described"]["inputs"]
    assert made == {"name": "keras_tensor", "dtype": "float32", "shape": ["batch", 4]}
    np.testing.assert_allclose(whole["answer"]["output_0"], expected["dense"], rtol=1e-5)
    np.testing.assert_allclose(alone["answer"]["output_0"], expected["dense"][1:], rtol=1e-5)


def test_texts_go_in_and_come_out(answers: Any) -> None:
    text = answers[4]
    assert text["answer"] == {"marked": ["ja!", "grüß!"], "sum": [6.0, 22.0]}
    assert [each["dtype"] for each in text["described"]["inputs"]] == ["string", "float32"]


def test_a_graph_that_reads_files_is_refused_unless_it_is_trusted(answers: Any) -> None:
    refused, trusted = answers[5:]
    assert "operations that read or write files, or run Python: ReadFile" in refused["error"]
    assert [each["name"] for each in trusted["described"]["outputs"]] == ["secret", "x"]
