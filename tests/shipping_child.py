"""``push`` or ``pull`` in a process of its own, which may be killed: WHAT FOLDER REFERENCE."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from modeldeploy import ops
from modeldeploy.errors import ModelDeployError
from modeldeploy.events import Event


def start(what: str, root: Path, ref: str) -> subprocess.Popen[str]:
    """Such a process. It prints a line when it begins, and one with what came of it."""
    command = [sys.executable, __file__, what, str(root), ref]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def _ignore(event: Event) -> None:
    del event


def main() -> None:
    what, root, ref = sys.argv[1], Path(sys.argv[2]), sys.argv[3]
    print("begun", flush=True)
    try:
        if what == "push":
            print("Pushed", ops.push(root, ref, emit=_ignore).digest, flush=True)
        else:
            print("Pulled", ops.pull(root, ref, emit=_ignore).ref.digest, flush=True)
    except ModelDeployError as error:
        print(type(error).__name__, error.message, flush=True)


if __name__ == "__main__":
    main()
