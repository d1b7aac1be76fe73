"""Where and with what a bundle was built: told beside its content, never part of it."""

from __future__ import annotations

import contextlib
import json
import os
import platform
import re
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import modeldeploy
from modeldeploy import files, shell
from modeldeploy.bundle import uvtool
from modeldeploy.bundle.lock import Lock
from modeldeploy.bundle.manifest import BUILD_FACTS

_PATIENCE = 10.0
_GITHUB = "{}/{}/actions/runs/{}"
_RUNS = {
    "github": "GITHUB_SERVER_URL|GITHUB_REPOSITORY|GITHUB_RUN_ID",
    "gitlab": "CI_JOB_URL",
    "buildkite": "BUILDKITE_BUILD_URL",
    "circleci": "CIRCLE_BUILD_URL",
    "jenkins": "BUILD_URL",
}
"""Each CI's own variables that tell where its run can be looked at."""
_ADDRESS = re.compile(r"https?://[A-Za-z0-9.:\[\]-]+(/[A-Za-z0-9._~%+,:=-]*)*")
"""An address without a user, a password, a query or anything that a terminal would obey."""


def gather(root: Path, lock: Lock) -> dict[str, object]:
    """Git commit and state of the project, the tools' versions, the time, the run of the CI.

    Never a user's name or path.
    """
    return {
        "built": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "ci": ci_run(os.environ),
        "git": _git(root),
        "tools": {
            "mdeploy": modeldeploy.__version__,
            "python": platform.python_version(),
            "platform": f"{platform.system()}-{platform.machine()}".lower(),
            "uv": uvtool.version().split()[1],
            "bentoml": lock.version("bentoml"),
        },
    }


def read(bundle: Path) -> dict[str, Any]:
    """The facts of an unpacked bundle; none where there are none, or no sensible ones."""
    try:
        found = files.read_json(bundle / BUILD_FACTS)
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def ci_run(environment: Mapping[str, str]) -> dict[str, str] | None:
    """Which CI this is, and the address of its run; None outside of one. Without passwords and queries."""
    for name, variables in _RUNS.items():
        parts = [environment.get(variable, "") for variable in variables.split("|")]
        if all(parts):
            url = _GITHUB.format(*parts) if name == "github" else parts[0]
            if _ADDRESS.fullmatch(url):
                return {"name": name, "run": url}
    return None


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
