"""Runs uv, the packager that comes as a dependency of mdeploy, and turns its failures into sentences."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from modeldeploy import shell
from modeldeploy.errors import BundleError, ModelDeployError

SECONDS = 1800.0
"""Longest that one run may take: a first download of gigabytes over a slow line."""

CREDENTIALS = re.compile(r"://[^/@\s]+@")
_LEAD = re.compile(r"^\s*(error:|cause:|hint:|[\u00d7\u251c\u2570\u2500\u25b6\u2502]+)?\s*")
_UNREACHABLE = ("error sending request", "failed to fetch", "dns error", "timed out", "connect error")


def run(
    arguments: Sequence[str],
    *,
    doing: str,
    cwd: Path | None = None,
    stdin: bytes | None = None,
    keep: Sequence[int] = (),
) -> shell.Completed:
    """Run ``uv ARGUMENTS``; ``doing`` names the job in errors: "locking the requirements".

    ``keep`` are descriptors of locks that must be held for as long as uv lives.
    Raises `BundleError` with uv's own explanation, without credentials of package indexes.
    """
    env = {"UV_NO_PROGRESS": "1", "NO_COLOR": "1", "UV_PYTHON_DOWNLOADS": "never"}
    try:
        command = [binary(), *arguments]
        return shell.run(command, cwd=cwd, env=env, stdin=stdin, timeout=SECONDS, keep=keep)
    except shell.ToolFailed as error:
        raise _explained(doing, error) from None


def version() -> str:
    """The uv that builds use and where it is. Raises `BundleError` without one."""
    told = run(["--version"], doing="asking uv for its version").output.strip()
    return f"{told}, {binary()}"


def binary() -> str:
    """Path of the uv program that belongs to this installation. Raises `BundleError` without one."""
    try:
        import uv  # only builds need it

        return uv.find_uv_bin()
    except (ImportError, FileNotFoundError) as error:
        raise BundleError(
            "uv is missing from mdeploy's own installation",
            hint="install mdeploy again, or: python -m pip install uv",
        ) from error


def _explained(doing: str, error: shell.ToolFailed) -> ModelDeployError:
    text = CREDENTIALS.sub("://***@", error.completed.errors if error.completed else error.message)
    low = text.lower()
    if "no space left" in low or "quota exceeded" in low:
        return ModelDeployError(f"no space left while {doing}", hint="free some space, then run it again")
    if any(sign in low for sign in _UNREACHABLE):
        return BundleError(
            f"the package index did not answer while {doing}",
            hint="check the network, the proxy and uv's settings (UV_INDEX, uv.toml), then run it again",
            details={"output": text.strip().splitlines()[-12:]},
        )
    return BundleError(
        f"{doing} failed: {_reason(text)}", details={"output": text.strip().splitlines()[-12:]}
    )


def _reason(text: str) -> str:
    """uv's explanation without its decoration, in one line."""
    lines = [_LEAD.sub("", line).strip() for line in text.splitlines() if line.strip()]
    told = [line for line in lines if "No solution found" not in line]
    return " ".join(told or lines)[:600] or "uv gave no reason"
