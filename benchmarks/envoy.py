"""What the router adds to a request, and what BentoML's own server takes for the same one.

A client over raw sockets sends the template's sample to one worker: straight to its unix socket; through
Envoy, as users do; and to ``bentoml serve`` of the same Bento over TCP. One request after the other over one
connection (c1), then eight connections side by side (c8). The client shares the cores with what it measures,
so on few cores c8 says what the machine does and not what the server could.
"""

from __future__ import annotations

import statistics
from pathlib import Path

from benchmarks.board import Board, Task, take_turns
from benchmarks.client import Address, first_200, one_by_one, post, side_by_side
from benchmarks.place import Place, Project, free_port
from benchmarks.ready import serve
from benchmarks.run import running
from modeldeploy.model import RevisionId
from modeldeploy.targets.process.layout import Layout

DIRECT = "worker, unix socket"
THROUGH = "worker through Envoy"
SECONDS = 1.0
CONNECTIONS = 8


def run(place: Place, rounds: int) -> list[Board]:
    """Latencies and rates by path."""
    board = Board("envoy", "What the router adds to a request", base=DIRECT)
    project, port = place.digits, free_port()
    with project.deployed(), running(serve(project, port), cwd=project.folder):
        bentoml = ("127.0.0.1", port)
        first_200(bentoml, within=90.0)
        request = post(project.request)
        tasks: dict[str, Task] = {
            DIRECT: _task(_worker(project), request),
            THROUGH: _task(("127.0.0.1", project.port), request),
            "bentoml serve, TCP": _task(bentoml, request),
        }
        take_turns(board, tasks, rounds, warm_up=True)
    board.notes.append(_added(board))
    return [board]


def _worker(project: Project) -> Path:
    """The socket of the only worker of the only revision."""
    layout = Layout.of(project.name, "local")
    revision = next(layout.revisions.iterdir()).name
    return layout.revision(RevisionId(revision)).worker_socket(0)


def _task(address: Address, request: bytes) -> Task:
    def task() -> dict[str, float]:
        alone = sorted(one_by_one(address, request, SECONDS))
        together = side_by_side(address, request, SECONDS, connections=CONNECTIONS)
        return {
            "c1 p50 µs": 1e6 * statistics.median(alone),
            "c1 p95 µs": 1e6 * alone[int(0.95 * len(alone))],
            "c1 per s": len(alone) / sum(alone),
            f"c{CONNECTIONS} per s": len(together) / SECONDS,
        }

    return task


def _added(board: Board) -> str:
    pairs = zip(board.rows[THROUGH]["c1 p50 µs"], board.rows[DIRECT]["c1 p50 µs"], strict=True)
    added = [through - direct for through, direct in pairs]
    return f"Envoy adds {statistics.median(added):.0f} µs to the median request (c1)."
