"""The use cases: what the command line calls, and what a Python program calls.

Each takes the project's folder first, returns frozen values, raises `ModelDeployError`, and tells what
happens through ``emit``. Names are looked up on first use, so that asking for a status does not load
what a build needs.
"""

from __future__ import annotations

import importlib

TYPE_CHECKING = False
if TYPE_CHECKING:
    from modeldeploy.ops.benching import bench
    from modeldeploy.ops.checking import check, doctor
    from modeldeploy.ops.imaging import image
    from modeldeploy.ops.inventory import bundles, gc, inspect, why
    from modeldeploy.ops.making import build, golden, init, lock, smoke
    from modeldeploy.ops.naming import alias, aliases
    from modeldeploy.ops.optimizing import optimize
    from modeldeploy.ops.promotion import approve, promote
    from modeldeploy.ops.rollouts import abort, deploy, destroy, plan, resume, rollback
    from modeldeploy.ops.scanning import scan
    from modeldeploy.ops.shipping import pull, push
    from modeldeploy.ops.signing import keygen, sign
    from modeldeploy.ops.tracing import at, audit, audit_verify, trace
    from modeldeploy.ops.verifying import verify
    from modeldeploy.ops.watching import history, logs, predict, status, up

__all__ = [
    "abort",
    "alias",
    "aliases",
    "approve",
    "at",
    "audit",
    "audit_verify",
    "bench",
    "build",
    "bundles",
    "check",
    "deploy",
    "destroy",
    "doctor",
    "gc",
    "golden",
    "history",
    "image",
    "init",
    "inspect",
    "keygen",
    "lock",
    "logs",
    "optimize",
    "plan",
    "predict",
    "promote",
    "pull",
    "push",
    "resume",
    "rollback",
    "scan",
    "sign",
    "smoke",
    "status",
    "trace",
    "up",
    "verify",
    "why",
]

_MODULES = {
    "naming": ("alias", "aliases"),
    "benching": ("bench",),
    "checking": ("check", "doctor"),
    "imaging": ("image",),
    "inventory": ("bundles", "gc", "inspect", "why"),
    "making": ("build", "golden", "init", "lock", "smoke"),
    "optimizing": ("optimize",),
    "promotion": ("approve", "promote"),
    "rollouts": ("abort", "deploy", "destroy", "plan", "resume", "rollback"),
    "tracing": ("at", "audit", "audit_verify", "trace"),
    "shipping": ("pull", "push"),
    "scanning": ("scan",),
    "signing": ("keygen", "sign"),
    "verifying": ("verify",),
    "watching": ("history", "logs", "predict", "status", "up"),
}


def __getattr__(name: str) -> object:
    for module, names in _MODULES.items():
        if name in names:
            return getattr(importlib.import_module(f"modeldeploy.ops.{module}"), name)
    raise AttributeError(f"module 'modeldeploy.ops' has no attribute {name!r}")
