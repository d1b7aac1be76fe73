"""How to start one worker of a bundle: the command and its environment, and nothing else."""

from __future__ import annotations

import os
from pathlib import Path

from modeldeploy.bundle.environment import Environment
from modeldeploy.bundle.manifest import SOURCE

_KEPT = ("HOME", "LANG", "LC_ALL", "PATH", "TMPDIR", "TZ", "USER")


def command(bundle_path: Path, *, socket: Path) -> tuple[list[str], dict[str, str]]:
    """Command and whole environment of a process that serves a bundle on a unix socket.

    It answers ``GET /livez`` and ``/readyz``, drains on SIGTERM and exits with 0. The bundle's environment
    must have been made (`Environment.create`). Of the caller's variables only a few plain ones are passed
    on, so that a revision does not depend on the terminal it was started from, nor sees its secrets.
    """
    bundle = bundle_path.absolute()
    environment = Environment.of(bundle)
    argv = [
        *(str(environment.python), "-m", "mdeploy_serving.worker"),
        *("--socket", str(socket.absolute()), "--bundle", str(bundle)),
    ]
    env = {name: os.environ[name] for name in _KEPT if name in os.environ}
    env["PATH"] = os.pathsep.join([str(environment.python.parent), env.get("PATH", os.defpath)])
    env |= {
        "PYTHONPATH": str(bundle / SOURCE),
        "PYTHONDONTWRITEBYTECODE": "1",  # bundles do not change
        "PYTHONSAFEPATH": "1",  # the folder it happens to be started in holds no code of its
        "PYTHONUNBUFFERED": "1",
        "PYTHONUTF8": "1",
        "BENTOML_DO_NOT_TRACK": "True",
        "ORT_DISABLE_TELEMETRY": "1",
        "DO_NOT_TRACK": "1",
    }
    return argv, env
