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
        look = ("status", "--porcelain", "--untracked-files=no", "--ignore-submodules")
        dirty = bool(_ask(root, *_without_programs(root), *look))
        return {"commit": commit, "dirty": dirty}
    return None


def _without_programs(root: Path) -> list[str]:
    """Options that keep git from running what its settings name.

    A project may come from a stranger, with its ``.git``: looking at it must run nothing of it. Filters
    of the user's own (git-lfs) are left out with the others: at worst a clean file is told as changed.
    """
    options = ["-c", "core.fsmonitor=false"]
    with contextlib.suppress(shell.ToolFailed):  # ends with code 1 where there are none
        keys = _ask(root, "config", "--name-only", "--get-regexp", r"^filter\.")
        for key in keys.splitlines():
            options += ["-c", f"{key}={'false' if key.endswith('.required') else ''}"]
    return options


def _ask(root: Path, *arguments: str) -> str:
    env = {"GIT_OPTIONAL_LOCKS": "0", "LC_ALL": "C"}
    return shell.run(["git", "-C", root, *arguments], env=env, timeout=_PATIENCE).output.strip()
