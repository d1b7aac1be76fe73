"""Where and with what a bundle was built: told beside its content, never part of it."""

from __future__ import annotations

import contextlib
import json
import platform
import time
from collections.abc import Mapping
from pathlib import Path

import modeldeploy
from modeldeploy import shell

_PATIENCE = 10.0


def gather(root: Path) -> dict[str, object]:
    """Git commit and state of the project, the tools' versions, the time. Never a user's name or path."""
    return {
        "built": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "git": _git(root),
        "tools": {
            "mdeploy": modeldeploy.__version__,
            "python": platform.python_version(),
            "platform": f"{platform.system()}-{platform.machine()}".lower(),
        },
    }


def to_bytes(facts: Mapping[str, object]) -> bytes:
    """The form in which the facts lie in the bundle."""
    return json.dumps(facts, indent=1, sort_keys=True).encode() + b"\n"


def _git(root: Path) -> dict[str, object] | None:
    """Commit and whether tracked files differ from it; None outside of a repository or without git."""
    with contextlib.suppress(shell.ToolFailed):
        commit = _ask(root, "rev-parse", "HEAD")
        dirty = bool(_ask(root, "status", "--porcelain", "--untracked-files=no"))
        return {"commit": commit, "dirty": dirty}
    return None


def _ask(root: Path, *arguments: str) -> str:
    env = {"GIT_OPTIONAL_LOCKS": "0", "LC_ALL": "C"}
    return shell.run(["git", "-C", root, *arguments], env=env, timeout=_PATIENCE).output.strip()
