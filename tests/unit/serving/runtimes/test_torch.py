"""PyTorch models answer as they did where they were exported.

PyTorch's packages take gigabytes (they bring CUDA along), so this runs only where MDEPLOY_TEST_TORCH is set.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from framework_place import TORCH, asked, environment, trained
from modeldeploy.bundle import formats
from modeldeploy.errors import BundleError

pytestmark = pytest.mark.skipif(
    not os.environ.get("MDEPLOY_TEST_TORCH"), reason="MDEPLOY_TEST_TORCH is not set: PyTorch takes gigabytes"
)
SCRIPT = {"format": "torchscript"}


def tensor(name: str, size: int) -> dict[str, Any]:
    return {"name": name, "dtype": "float32", "shape": ["batch", size]}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    python = environment("torch", TORCH)
    return trained(python, Path(__file__).with_name("train_torch.py"), tmp_path_factory.mktemp("torch"))


@pytest.fixture(scope="module")
def answers(folder: Path) -> Any:
    expected = json.loads((folder / "expected.json").read_text())
    given = {"inputs": {"x": expected["rows"]}, "framework": "torch"}
    declared = {"inputs": [tensor("x", 4)], "outputs": [tensor("y", 3)]}
    questions = [
        {**given, "path": "named.pt2"},
        {**given, "path": "renamed.bin"},
        {**given, "path": "script.pt", "options": SCRIPT, "declared": declared},
        {**given, "path": "named.pt2", "inputs": {"x": expected["rows"][1:]}},
        {**given, "path": "weights.pt"},
        {**given, "path": "weights.pt", "options": SCRIPT},
    ]
    return expected, *asked(environment("torch", TORCH), folder, questions)


def test_an_exported_program_names_its_inputs_and_outputs_and_its_free_size(answers: Any) -> None:
    described = answers[1]["described"]
    assert described["inputs"] == [tensor("x", 4)]
    assert described["outputs"] == [
        tensor("logits", 3),
        {"name": "best", "dtype": "int64", "shape": ["batch"]},
    ]


def test_each_form_answers_as_the_model_did(answers: Any) -> None:
    expected, named, renamed, script, alone = answers[:5]
    for answer, wanted in (
        (named["answer"]["logits"], expected["named"]),
        (renamed["answer"]["output"], expected["plain"]),
        (script["answer"]["y"], expected["plain"]),
        (alone["answer"]["logits"], expected["named"][1:]),
    ):
        np.testing.assert_allclose(answer, wanted, rtol=1e-5, atol=1e-6)
    assert script["parallel"] and not named["parallel"]


def test_weights_alone_are_never_loaded(answers: Any, folder: Path) -> None:
    assert all("error" in answer for answer in answers[5:])
    with pytest.raises(BundleError, match=r"what torch\.save writes") as caught:
        formats.recognise(folder / "weights.pt")
    assert "torch.export.save" in (caught.value.hint or "")
    assert formats.recognise(folder / "script.pt").options == SCRIPT
    assert formats.recognise(folder / "renamed.bin").options == {"format": "exported"}
