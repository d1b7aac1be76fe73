"""The one place that runs other programs and waits for them."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from modeldeploy.errors import ModelDeployError


@dataclass(frozen=True, slots=True)
class Completed:
    """A program that has ended."""

    code: int
    output: str
    errors: str


class ToolFailed(ModelDeployError):
    """A program ended with another code than 0, took too long, or is not there.

    ``completed`` is what it left, None if it never ran to its end.
    """

    def __init__(self, message: str, *, completed: Completed | None = None) -> None:
        lines = (completed.errors or completed.output).strip().splitlines() if completed else []
        super().__init__(message, details={"output": lines[-20:]})
        self.completed = completed


def run(
    command: Sequence[str | os.PathLike[str]],
    *,
    cwd: Path | None = None,
    env: Mapping[str, str] | None = None,
    timeout: float | None = None,
    stdin: bytes | None = None,
    keep: Sequence[int] = (),
) -> Completed:
    """Run a program to its end, its output captured. ``env`` is added to this process's own.

    ``keep`` are descriptors that the program inherits: a lock among them is held until it has ended too,
    also when this process is killed before.
    Raises `ToolFailed`, with the last lines of its output in ``details``.
    """
    argv = [os.fspath(part) for part in command]
    try:
        done = subprocess.run(
            argv,
            cwd=cwd,
            env={**os.environ, **env} if env else None,
            timeout=timeout,
            input=stdin if stdin is not None else b"",
            capture_output=True,
            check=False,
            pass_fds=keep,
        )
    except FileNotFoundError as error:
        raise ToolFailed(f"cannot find the program '{argv[0]}'") from error
    except subprocess.TimeoutExpired as error:
        raise ToolFailed(f"'{argv[0]}' did not end within {timeout:g} s") from error
    completed = Completed(
        done.returncode,
        done.stdout.decode(errors="replace"),
        done.stderr.decode(errors="replace"),
    )
    if completed.code:
        raise ToolFailed(f"'{argv[0]}' ended with code {completed.code}", completed=completed)
    return completed
