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


def memory_of(process: int) -> float:
    """Megabytes of a process and all below it, by proportional set size: what they share counts once."""
    told = Path(f"/proc/{process}/smaps_rollup").read_text()
    own = next(int(line.split()[1]) for line in told.splitlines() if line.startswith("Pss:"))
    below = Path("/proc").glob(f"{process}/task/*/children")
    children = [int(child) for path in below for child in path.read_text().split()]
    return own / 1024 + sum(memory_of(child) for child in children)
