"""What Prometheus wants to know of processes, added up over the workers."""

from __future__ import annotations

import os
from pathlib import Path

from .board import Board, Worker

_PROC = Path("/proc")


def process_samples(board: Board) -> dict[str, float]:
    """Memory, files and start of the workers that live. Memory and files only where there is a /proc."""
    workers = [row.worker for row in board]
    alive = [worker for worker in workers if worker is not None and _lives(worker.process)]
    samples = {"mdeploy_workers": float(len(alive))}
    memory, files = [_memory(worker) for worker in alive], [_files(worker) for worker in alive]
    if any(memory):
        samples["process_resident_memory_bytes"] = float(sum(memory))
        samples["process_open_fds"] = float(sum(files))
    if alive:
        samples["process_start_time_seconds"] = min(worker.since for worker in alive)
    return samples


def _lives(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def _memory(worker: Worker) -> int:
    """Resident bytes; 0 where nobody can tell."""
    try:
        pages = (_PROC / str(worker.process) / "statm").read_text().split()[1]
    except (OSError, IndexError):
        return 0
    return int(pages) * os.sysconf("SC_PAGE_SIZE")


def _files(worker: Worker) -> int:
    try:
        return sum(1 for _ in (_PROC / str(worker.process) / "fd").iterdir())
    except OSError:
        return 0
