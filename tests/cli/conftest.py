"""A command line, the project that it is typed in, and a fake target behind it."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from cli import scenes
from modeldeploy.cli.main import main
from modeldeploy.ops import rollouts, watching
from modeldeploy.testing import FakeTarget, FakeWorld

PROJECT = """\
[project]
name = "digits"
version = "1.1.0"

[model]
path = "model.onnx"

[targets.local]
driver = "process"
port = 18080
"""


@dataclass(frozen=True)
class Typed:
    """What a command line printed, and its exit code."""

    code: int
    out: str
    err: str


Type = Callable[..., Typed]


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a project file, which is the current one."""
    folder = tmp_path / "Pröjekt eins"
    folder.mkdir()
    (folder / "modeldeploy.toml").write_text(PROJECT, encoding="utf-8")
    monkeypatch.chdir(folder)
    monkeypatch.setenv("TZ", "UTC")
    return folder


@pytest.fixture
def mdeploy(capsys: pytest.CaptureFixture[str]) -> Type:
    """Types a command line, in this process."""

    def type_it(*words: str) -> Typed:
        code = main(words)
        printed = capsys.readouterr()
        return Typed(code, printed.out, printed.err)

    return type_it


@pytest.fixture
def world(tmp_path: Path, project: Path, monkeypatch: pytest.MonkeyPatch) -> FakeWorld:
    """A fake target under the name ``local``, with 1.0.0 stable: the real use cases work on it."""
    made = scenes.world(tmp_path / "store")
    for module in (watching, rollouts):
        monkeypatch.setattr(module, "open_target", lambda *_: FakeTarget(made))
    monkeypatch.setattr(rollouts, "SystemClock", lambda: made.clock)
    return made


@pytest.fixture
def shell(tmp_path: Path, project: Path) -> Callable[..., subprocess.CompletedProcess[str]]:
    """Runs a line of bash in the project's folder, with mdeploy on the PATH."""

    def run(line: str, **environ: str) -> subprocess.CompletedProcess[str]:
        path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
        return subprocess.run(
            ["bash", "-c", line],
            cwd=project,
            env={**os.environ, "PATH": path, **environ},
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )

    return run
