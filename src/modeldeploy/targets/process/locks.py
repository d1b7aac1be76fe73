"""Locks on files that may be removed by the one who holds them."""

from __future__ import annotations

import fcntl
import os
from pathlib import Path


def hold(path: Path, *, wait: bool = True) -> int | None:
    """Lock a file and write this process's id into it; the descriptor to close when done.

    None if the lock is taken (and ``wait`` is False), or if its folder is gone. While we waited the
    file may have been removed, and another made under its name: a lock on a nameless file is worth
    nothing, so the name is looked up again.
    """
    while True:
        try:
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except FileNotFoundError:
            return None
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
        except BlockingIOError:
            os.close(descriptor)
            return None
        if _is_named(descriptor, path):
            os.ftruncate(descriptor, os.pwrite(descriptor, f"{os.getpid()}\n".encode(), 0))
            return descriptor
        os.close(descriptor)


def pid_in(path: Path) -> int | None:
    """The process id that a lock's last holder wrote; None if there is none."""
    try:
        return int(path.read_text().split()[0])
    except (OSError, ValueError, IndexError):
        return None


def _is_named(descriptor: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(descriptor), path.stat())
    except FileNotFoundError:
        return False
