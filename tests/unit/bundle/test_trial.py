"""A worker that runs for a test or a measurement only, and whoever started it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

PROGRAM = """
import subprocess, sys, time
from modeldeploy.bundle import trial

worker = subprocess.Popen(["sleep", "600"], stdout=subprocess.DEVNULL)
with trial._ended_with_us(worker.pid, sys.argv[1]):
    print(worker.pid, flush=True)
    if sys.argv[2] == "stays":
        time.sleep(600)
print(worker.poll(), flush=True)
worker.kill()
worker.wait()
"""


def _begun(folder: Path, how: str) -> subprocess.Popen[str]:
    folder.mkdir()
    argv: list[str | Path] = [sys.executable, "-c", PROGRAM, folder, how]
    return subprocess.Popen(argv, stdout=subprocess.PIPE, text=True)


def _lives(pid: int) -> bool:
    asked = subprocess.run(["ps", "-o", "stat=", "-p", str(pid)], capture_output=True, check=False, text=True)
    return asked.stdout.strip()[:1] not in {"", "Z"}


def test_a_worker_ends_with_the_command_that_is_killed(tmp_path: Path) -> None:
    folder = tmp_path / "ein Ordner"
    with _begun(folder, "stays") as begun:
        assert begun.stdout is not None
        worker = int(begun.stdout.readline())
        assert _lives(worker)
        os.kill(begun.pid, signal.SIGKILL)
    deadline = time.monotonic() + 20
    while (_lives(worker) or folder.exists()) and time.monotonic() < deadline:
        time.sleep(0.02)
    left = _lives(worker)
    if left:
        os.kill(worker, signal.SIGKILL)
    assert not left and not folder.exists()


def test_a_worker_is_left_to_the_command_that_goes_on(tmp_path: Path) -> None:
    with _begun(tmp_path / "folder", "goes on") as begun:
        said = begun.communicate(timeout=20)[0].split()
    assert said[1:] == ["None"], "nobody else has ended it"
    assert (tmp_path / "folder").is_dir()
