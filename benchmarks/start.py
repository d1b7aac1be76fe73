"""How long commands take that do next to nothing, against ``python -c pass`` with the same interpreter.

The aim: ``--help`` and ``status`` within 4 times bare Python, an unchanged build within 0.3 s.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

from benchmarks.board import Board, Task, take_turns
from benchmarks.place import MDEPLOY, Place
from benchmarks.run import timed

BARE = "python -c pass"
_EACH = 6
"""These are quick: so many turns in a round."""


def run(place: Place, rounds: int) -> list[Board]:
    """Wall and CPU time of each command."""
    board = Board("start", "Start-up of commands", base=BARE)
    built, empty = place.digits, place.project("empty")
    with built.deployed():
        tasks = {
            BARE: _task([sys.executable, "-c", "pass"], built.folder),
            "mdeploy --help": _task([MDEPLOY, "--help"], built.folder),
            "mdeploy --version": _task([MDEPLOY, "--version"], built.folder),
            "mdeploy status, nothing deployed": _task([MDEPLOY, "status"], empty.folder),
            "mdeploy status, serving": _task([MDEPLOY, "status"], built.folder),
            "mdeploy build, unchanged": _task([MDEPLOY, "build"], built.folder),
        }
        take_turns(board, tasks, _EACH * rounds, warm_up=True)  # byte code is there afterwards
    return [board]


def _task(command: Sequence[str | Path], folder: Path) -> Task:
    def task() -> dict[str, float]:
        took = timed(command, cwd=folder)
        return {"wall ms": 1000 * took.wall, "CPU ms": 1000 * took.cpu}

    return task
