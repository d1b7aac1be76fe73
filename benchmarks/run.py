"""Programs: how long one takes, and ones that run meanwhile and are stopped for certain."""

from __future__ import annotations

import os
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path


class Failed(Exception):
    """A program that was to be measured did not do its work."""


@dataclass(frozen=True, slots=True)
class Took:
    """What one run took, in seconds. ``cpu`` is of the program and of the children that it waited for."""

    wall: float
    cpu: float


def timed(
    command: Sequence[str | Path], *, cwd: Path, env: Mapping[str, str] | None = None, code: int = 0
) -> Took:
    """Run a program to its end. Raises `Failed`, with its output, if it ends with another code."""
    with tempfile.TemporaryFile() as output:
        began = time.perf_counter()
        child = subprocess.Popen(
            command, cwd=cwd, env=_env(env), stdin=subprocess.DEVNULL, stdout=output, stderr=output
        )
        _, status, used = os.wait4(child.pid, 0)
        wall = time.perf_counter() - began
        child.returncode = os.waitstatus_to_exitcode(status)
        if child.returncode != code:
            output.seek(0)
            told = output.read().decode(errors="replace")[-3000:]
            raise Failed(f"{Path(command[0]).name} {command[1:]} ended with {child.returncode}:\n{told}")
    return Took(wall, used.ru_utime + used.ru_stime)


@dataclass(frozen=True, slots=True)
class Started:
    """A program that runs: when it was started, by ``time.perf_counter()``, and its process group."""

    began: float
    group: int


@contextmanager
def running(
    command: Sequence[str | Path], *, cwd: Path, env: Mapping[str, str] | None = None, exact: bool = False
) -> Iterator[Started]:
    """A program that runs while the context lasts, with all its children. Yields what is known of it.

    ``exact``: ``env`` is its whole environment, not an addition to this process's.
    """
    began = time.perf_counter()
    child = subprocess.Popen(
        command,
        cwd=cwd,
        env=dict(env or {}) if exact else _env(env),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        yield Started(began, child.pid)
    finally:
        with suppress(ProcessLookupError):
            os.killpg(child.pid, signal.SIGTERM)
        with suppress(subprocess.TimeoutExpired):
            child.wait(10)
        with suppress(ProcessLookupError):
            os.killpg(child.pid, signal.SIGKILL)  # what it has left of its group
        child.wait()


def _env(more: Mapping[str, str] | None) -> dict[str, str]:
    return {**os.environ, **(more or {})}
