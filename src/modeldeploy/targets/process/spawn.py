"""Starting a supervisor that outlives the command that starts it."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from modeldeploy import files
from modeldeploy.errors import TargetUnavailable
from modeldeploy.targets.process import logs
from modeldeploy.targets.process.layout import Layout
from modeldeploy.targets.process.provisioning import supervisor_environment

SUPERVISOR = ("-P", "-m", "modeldeploy.targets.process.supervisor")
"""Arguments for Python; the target's folder and ``--detach`` follow."""

_STARTS_WITHIN = 20.0


def spawn(layout: Layout, program: Sequence[str] = SUPERVISOR) -> None:
    """Start a supervisor as an orphan in a session of its own, its output in a file.

    Returns as soon as it stands on its own feet; it goes to work by itself, unless another one is at
    work. Raises `TargetUnavailable` if it does not start.
    """
    import subprocess  # takes 12 ms, and `status` loads this module

    command = [sys.executable, *program, str(layout.root), "--detach"]
    try:
        with files.appending(layout.supervisor_log) as log:
            subprocess.run(
                command,
                env={**supervisor_environment(), "MDEPLOY_HOME": str(layout.home)},
                cwd="/",
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
                check=True,
                timeout=_STARTS_WITHIN,
            )
    except (subprocess.SubprocessError, OSError) as error:
        last = " | ".join(logs.tail(layout.supervisor_log, 3))
        raise TargetUnavailable(f"the supervisor does not start: {error}: {last}") from error
