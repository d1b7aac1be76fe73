"""The lines that export models, as "Serve your framework" has them, make files that mdeploy recognises."""

from __future__ import annotations

import os
import platform
import re
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from framework_place import TABLES, TENSORFLOW, TORCH, environment
from modeldeploy import shell
from modeldeploy.bundle import formats

PAGE = Path(__file__).parents[2] / "docs" / "how-to" / "serve-your-framework.md"
BLOCKS = re.findall(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
BIG = not os.environ.get("MDEPLOY_TEST_TORCH")
ELSEWHERE = sys.platform != "linux" or platform.machine() != "x86_64"


@pytest.mark.parametrize(
    ("name", "packages", "mark", "wanted"),
    [
        ("tables", TABLES, "skops.io.dump", {"model.skops": "sklearn"}),
        ("tables", TABLES, "xgboost.", {"model.ubj": "xgboost"}),
        ("tables", TABLES, "lightgbm.", {"model.txt": "lightgbm"}),
        pytest.param(
            *("tensorflow", TENSORFLOW, "keras.", {"model": "tensorflow"}),
            marks=pytest.mark.skipif(ELSEWHERE, reason="there is no small TensorFlow for this machine"),
        ),
        pytest.param(
            *("torch", TORCH, "torch.", {"model.pt2": "torch"}),
            marks=pytest.mark.skipif(BIG, reason="MDEPLOY_TEST_TORCH is not set: PyTorch takes gigabytes"),
        ),
    ],
)
def test_a_block_of_the_page_makes_the_file_that_it_says(
    name: str, packages: Sequence[str], mark: str, wanted: dict[str, str], tmp_path: Path
) -> None:
    (code,) = (block for block in BLOCKS if mark in block)
    python = environment(name, packages)
    env = {"TF_CPP_MIN_LOG_LEVEL": "3"}
    shell.run([python, "-W", "ignore", "-c", code], cwd=tmp_path, env=env, timeout=120)
    assert {path.name: formats.recognise(path).framework for path in tmp_path.glob("model*")} == wanted
