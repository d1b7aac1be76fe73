"""Numbers that several processes keep together: each writes its row of shared memory, anyone adds them up.

The memory is anonymous and made before the worker processes are, so that they inherit it. A row names its
numbers itself, in the order in which its worker asked for them, so workers need not agree on one. A worker
that takes over the row of one that died finds the numbers where that one left them, and goes on from there.

A row is::

    8 bytes     how many bytes of names are valid; written after them, so that a reader never sees half a name
    8 bytes     process id of the worker, 0: none yet
    8 bytes     when it took the row, in Unix seconds
    192 KiB     names, one a line, in UTF-8; the n-th line names the n-th number
    64 KiB      numbers, as doubles

Memory that nobody writes to is not taken from the system: a row is 8 KiB or so until there are many routes.
"""

from __future__ import annotations

import mmap
import os
import time
from collections.abc import Iterator
from dataclasses import dataclass

_HEAD = 3
"""Doubles before the names."""
_NAMES = 192 * 1024
_NUMBERS = 8 * 1024
_SPARE = _NUMBERS - 64
"""From here on, places are nobody's; as many as are ever asked for at once."""
_ROW = 8 * _HEAD + _NAMES + 8 * _NUMBERS


class Board:
    """Shared memory with a row for each of so many workers."""

    def __init__(self, workers: int = 1) -> None:
        self.workers = workers
        self._memory = memoryview(mmap.mmap(-1, workers * _ROW))

    def row(self, worker: int) -> Row:
        """The row of one worker, from 0. Only that worker may write to it."""
        return Row(self._memory[worker * _ROW : (worker + 1) * _ROW])

    def __iter__(self) -> Iterator[Row]:
        return (self.row(worker) for worker in range(self.workers))


@dataclass(frozen=True, slots=True)
class Worker:
    """Who has a row."""

    process: int
    since: float
    """Unix seconds."""


class Row:
    """One worker's numbers."""

    def __init__(self, memory: memoryview) -> None:
        self._head = memory[: 8 * _HEAD].cast("d")
        self._names = memory[8 * _HEAD : 8 * _HEAD + _NAMES]
        self.numbers: memoryview[float] = memory[8 * _HEAD + _NAMES :].cast("d")
        """Doubles by place: ``numbers[place] += 1`` is how to count."""
        self._places = {name: place for place, name in enumerate(self._written())}

    @property
    def worker(self) -> Worker | None:
        """Who has this row, or had it last; None if nobody did."""
        return Worker(int(self._head[1]), self._head[2]) if self._head[1] else None

    def take(self) -> bool:
        """Make the row ours. True if another worker had it before."""
        taken = self._head[1] != 0
        self._head[1], self._head[2] = os.getpid(), time.time()
        return taken

    def place(self, *names: str) -> int:
        """Where the number of this name is; a new one is 0. Of several names: the first of places in a row.

        A row that is full gives places that are nobody's: what is counted there is lost.
        """
        found = self._places.get(names[0])
        if found is not None:
            return found
        lines = "".join(f"{name}\n" for name in names).encode(errors="replace")
        used, first = int(self._head[0]), len(self._places)
        if used + len(lines) > _NAMES or first + len(names) > _SPARE:
            return _SPARE
        self._names[used : used + len(lines)] = lines
        self._head[0] = used + len(lines)
        self._places |= {name: first + index for index, name in enumerate(names)}
        return first

    def read(self) -> dict[str, float]:
        """Every number by its name, as of now."""
        return {name: self.numbers[place] for place, name in enumerate(self._written())}

    def _written(self) -> list[str]:
        return bytes(self._names[: int(self._head[0])]).decode().split("\n")[:-1]
