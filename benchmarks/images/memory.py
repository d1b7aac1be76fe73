"""The most memory that any one program took which was started meanwhile, children included. Linux.

``wait4`` does not tell it: what it calls the peak of a program contains that of its parent before it was
started. So the kernel's own high-water mark of each process is read (proc(5), ``VmHWM``), twenty times a
second.
"""

from __future__ import annotations

import os
import threading
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Self

_TICK = 0.05


class Watch:
    """``peak``, in bytes, is there after the context."""

    def __init__(self) -> None:
        self.peak = 0
        self._over = threading.Event()

    def __enter__(self) -> Self:
        self._before = {pid for pid, _ in _processes()}
        self._thread = threading.Thread(target=self._look)
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._over.set()
        self._thread.join()

    def _look(self) -> None:
        while not self._over.wait(_TICK):
            parents = dict(_processes())
            for pid in parents:
                if pid not in self._before and _descends(pid, parents):
                    self.peak = max(self.peak, high_water(pid))


def high_water(pid: int) -> int:
    """Bytes of memory that a process had at its peak; 0 where it has ended."""
    with suppress(OSError):
        for line in Path(f"/proc/{pid}/status").read_text().splitlines():
            if line.startswith("VmHWM"):
                return int(line.split()[1]) * 1024
    return 0


def _processes() -> list[tuple[int, int]]:
    """Every process with its parent."""
    found = []
    for entry in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):
            found.append((int(entry.parent.name), int(entry.read_text().rpartition(")")[2].split()[1])))
    return found


def _descends(pid: int, parents: dict[int, int]) -> bool:
    while pid > 1:
        pid = parents.get(pid, 0)
        if pid == os.getpid():
            return True
    return False
