"""Start-up is part of the product: quick answers load nothing heavy. (Timings: `make bench`.)"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

HEAVY = {
    "pydantic", "rich", "numpy", "onnxruntime", "bentoml", "boto3", "kubernetes", "docker", "tomlkit",
    "argcomplete", "asyncio", "importlib.metadata",
}  # fmt: skip

LOADED = """
import contextlib, io, json, sys
from modeldeploy.cli.main import main
with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()) as said:
    code = main(json.loads(sys.argv[1]))
json.dump({"code": code, "modules": sorted(sys.modules), "said": said.getvalue()}, sys.stdout)
"""


def loaded_by(*words: str) -> tuple[int, set[str]]:
    """The exit code of a command line, and the modules that it loaded."""
    done = subprocess.run(
        [sys.executable, "-c", LOADED, json.dumps(words)], capture_output=True, text=True, check=True
    )
    told = json.loads(done.stdout)
    assert "bug in mdeploy" not in told["said"]
    return told["code"], set(told["modules"])


@pytest.mark.parametrize(
    "words",
    [("--help",), ("--version",), ("deploy", "--help"), ("version",), ("deplyo",), ("status", "--tial")],
    ids=" ".join,
)
def test_help_and_usage_load_nothing_heavy(words: tuple[str, ...]) -> None:
    _, modules = loaded_by(*words)

    assert not modules & HEAVY


@pytest.mark.parametrize("command", ["status", "history", "logs"])
def test_the_commands_of_a_bad_night_load_nothing_heavy(command: str, project: Path) -> None:
    _, modules = loaded_by(command, "local", "--project", str(project))

    assert not modules & HEAVY
    assert "modeldeploy.config.schema" not in modules


def test_the_overview_loads_four_modules_of_mdeploy_and_no_parser() -> None:
    code, modules = loaded_by("--help")

    own = {name for name in modules if name.startswith("modeldeploy")}
    assert code == 0
    assert own == {
        "modeldeploy",
        "modeldeploy.cli",
        "modeldeploy.cli.catalog",
        "modeldeploy.cli.main",
        "modeldeploy.cli.terminal",
    }
    assert "argparse" not in modules
