"""How long a rollback takes, under a light load, and what its users notice.

A user asks over and over; counted from the start of ``mdeploy rollback`` are the first answer of the version
to return to, the last one of the version to leave, and the end of the command. Then forward again
(``mdeploy rollback --to``), and so on. Other users send requests meanwhile; their failures are counted.

The aim: all requests on the former version within 1 second.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence

from benchmarks.board import Board, Task, take_turns
from benchmarks.client import Client, insist_on_200, post, version_of
from benchmarks.place import Place, Project
from modeldeploy.testing.load import Load

_EACH = 4
"""Rollbacks in a round."""
_SETTLE = 0.3
"""Seconds to go on looking after the command has ended."""


def run(place: Place, rounds: int) -> list[Board]:
    """Milliseconds of each rollback, and the failures of all of them together."""
    board = Board("rollback", "Rollback under load")
    project = place.digits
    with project.deployed():
        older = project.version
        project.raise_version()
        project.type("deploy", "local", "--strategy", "rolling")
        tasks: dict[str, Task] = {
            "mdeploy rollback": _back(project, [], older),
            "mdeploy rollback --to": _back(project, ["--to", project.version], project.version),
        }
        with Load(project.endpoint, project.request, keep_alive=2, fresh=1, pause=0.01) as load:
            for _ in range(_EACH * rounds):  # back, then forward: always in this order
                take_turns(board, tasks, 1)
        report = load.stop()
    told = f"{report.sent:,} requests of other users meanwhile; failed: {report.failed}"
    seen = "; ".join(f"{what}: {times}" for what, times in report.failures.items())
    board.notes.append(f"{told}{f' ({seen})' if seen else ''}.")
    return [board]


class _User(threading.Thread):
    """Asks over one connection, and remembers when who answered."""

    def __init__(self, project: Project) -> None:
        super().__init__()
        self._address = ("127.0.0.1", project.port)
        self._request = post(project.request)
        self._over = threading.Event()
        self._began = time.perf_counter()
        self.answers: list[tuple[float, str]] = []
        """Seconds since the start, and the revision."""

    def run(self) -> None:
        with Client(self._address) as client:
            while not self._over.wait(0.001):
                answer = client.ask(self._request)
                insist_on_200(answer)
                self.answers.append((time.perf_counter() - self._began, version_of(answer)))

    def stop(self) -> None:
        self._over.set()
        self.join()


def _back(project: Project, words: Sequence[str], version: str) -> Task:
    def task() -> dict[str, float]:
        user = _User(project)
        user.start()
        try:
            took = project.type("rollback", "local", *words)
            time.sleep(_SETTLE)
        finally:
            user.stop()
        wanted = [at for at, who in user.answers if who.startswith(f"{version}-")]
        others = [at for at, who in user.answers if not who.startswith(f"{version}-")]
        return {
            "first answer of the wanted version ms": 1000 * min(wanted),
            "last of the other ms": 1000 * max(others),
            "command ms": 1000 * took.wall,
        }

    return task
