"""Environments with the frameworks whose models bundles serve, made once and kept between runs."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from cached_environment import cached_environment
from modeldeploy import serving

TABLES = (
    "scikit-learn>=1.6,<2",
    "skops>=0.11,<1",
    "xgboost-cpu>=2.1,<4",
    "lightgbm>=4.5,<5",
    "pandas>=2.2,<4",
)
TENSORFLOW = ("tensorflow-cpu>=2.18,<3",)
TORCH = ("torch>=2.6,<3",)
_ALWAYS = ("numpy>=1.26,<3", "orjson>=3.10,<4")
SERVING = Path(serving.__file__).parent


def environment(name: str, requirements: Sequence[str]) -> Path:
    """The interpreter of an environment with these packages, beside what every bundle computes with."""
    return cached_environment(name, (*_ALWAYS, *requirements))


def trained(python: Path, script: Path, folder: Path) -> Path:
    """A folder of models that a script has trained in an environment."""
    _run(python, script, folder)
    return folder


def asked(python: Path, folder: Path, questions: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """What the runtimes answer, in one process. See `ask_runtime.py` for what a question holds."""
    (folder / "questions.json").write_text(json.dumps(questions))
    script = Path(__file__).parent / "unit" / "serving" / "runtimes" / "ask_runtime.py"
    _run(python, script, folder)
    answers: list[dict[str, Any]] = json.loads((folder / "answers.json").read_text())
    return answers


def _run(python: Path, script: Path, folder: Path) -> None:
    env = {"PATH": os.environ["PATH"], "HOME": str(folder), "TF_CPP_MIN_LOG_LEVEL": "3"}
    done = subprocess.run(
        [python, script, folder, SERVING], env=env, check=False, capture_output=True, timeout=300
    )
    assert done.returncode == 0, done.stderr.decode()[-4000:]
