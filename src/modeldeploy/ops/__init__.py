"""The use cases: what the command line calls, and what a Python program calls.

Each takes the project's folder first, returns frozen values, raises `ModelDeployError`, and tells what
happens through ``emit``. Names are looked up on first use, so that asking for a status does not load
what a build needs.
"""

from __future__ import annotations

import importlib

TYPE_CHECKING = False
if TYPE_CHECKING:
    from modeldeploy.ops.checking import check, doctor
    from modeldeploy.ops.making import build, golden, init, lock, smoke
    from modeldeploy.ops.rollouts import abort, deploy, destroy, plan, resume, rollback
    from modeldeploy.ops.watching import history, logs, predict, status, up

__all__ = [
    "abort",
    "build",
    "check",
    "deploy",
    "destroy",
    "doctor",
    "golden",
    "history",
    "init",
    "lock",
    "logs",
    "plan",
    "predict",
    "resume",
    "rollback",
    "smoke",
    "status",
    "up",
]

_MODULES = {
    "checking": ("check", "doctor"),
    "making": ("build", "golden", "init", "lock", "smoke"),
    "rollouts": ("abort", "deploy", "destroy", "plan", "resume", "rollback"),
    "watching": ("history", "logs", "predict", "status", "up"),
}


def __getattr__(name: str) -> object:
    for module, names in _MODULES.items():
        if name in names:
            return getattr(importlib.import_module(f"modeldeploy.ops.{module}"), name)
    raise AttributeError(f"module 'modeldeploy.ops' has no attribute {name!r}")
