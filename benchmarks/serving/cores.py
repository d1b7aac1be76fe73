"""Who runs on which processor: servers on the first, the client on the others."""

from __future__ import annotations

import os
import shutil
from collections.abc import Sequence
from pathlib import Path

SERVER = "0"
CLIENT = f"1-{(os.cpu_count() or 2) - 1}"


def pinned(command: Sequence[str | Path], cores: str) -> list[str | Path]:
    """The command, kept on some processors where the system can do that (Linux)."""
    taskset = shutil.which("taskset")
    return [taskset, "-c", cores, *command] if taskset and (os.cpu_count() or 1) > 1 else list(command)
