"""Requests per second of one model behind each server, on one core with one worker, side by side.

Everybody serves the same three ONNX models, on processor 0 alone, with one worker and one thread for an
inference; ``wrk`` asks from the other processors, over TCP, with connections that stay open. In each round
every server is started anew for each model, its time to ready is taken, and it is asked at concurrency 1,
16 and 64. Each has the services of its documentation (`services/`), written so that nobody is held up by
what he need not do: no access log, no GPU check, JSON by the fastest library that the server itself uses.

- *small*: 4 floats in, JSON. *wide*: 1,000 floats in, JSON. *image*: 3 x 224 x 224 floats, as raw bytes
  where the server can take them (MLflow cannot: JSON).
- *onnxruntime, no server* is the model alone in a loop, inputs made before: what no server can beat at
  concurrency 1. *bare socket* is the same behind a loop that reads a socket and knows no HTTP: what of
  that is lost to TCP and to the client, for one connection.

Memory is the proportional set size of all processes of a server, after it was asked. Needs ``wrk`` (Debian
package of that name) and the package indexes: each server has an environment of its own, kept in
``~/.cache/mdeploy-bench``.
"""

from __future__ import annotations

from benchmarks.board import Board
from benchmarks.place import Place
from benchmarks.run import Failed
from benchmarks.serving.contenders import ALONE, CONTENDERS, Alone, Server
from benchmarks.serving.models import MODELS, Model
from benchmarks.serving.wrk import Wrk

BASE = "bentoml serve"
CONCURRENCY = (1, 16, 64)


def run(place: Place, rounds: int) -> list[Board]:
    """Requests per second and latencies by model and concurrency; memory and time to ready."""
    wrk = Wrk.found()
    contenders = [kind(place) for kind in CONTENDERS]
    boards = {
        (model.name, users): Board(
            f"serving {model.name} {users}", f"{model.title}, concurrency {users}", base=BASE
        )
        for model in MODELS
        for users in CONCURRENCY
    }
    cost = Board("serving cost", "Memory and time to ready, small model", base=BASE)
    for number in range(rounds):
        for model in MODELS:
            turn = number % len(contenders)
            for contender in (*contenders[turn:], *contenders[:turn]):
                _measure(contender, model, wrk, boards, cost)
    return [*boards.values(), cost]


def _measure(
    contender: Alone | Server, model: Model, wrk: Wrk, boards: dict[tuple[str, int], Board], cost: Board
) -> None:
    if isinstance(contender, Alone):
        boards[model.name, 1].add(ALONE, contender.measured(model))
        return
    with contender.serving(model) as running:
        for users in CONCURRENCY:
            if contender.most is not None and users > contender.most:
                break
            board = boards[model.name, users]
            try:
                board.add(contender.name, wrk.measured(running, users))
            except Failed as failed:
                board.notes.append(f"{contender.name}: no figure, since {' '.join(str(failed).split())}")
        if model.name == "small" and contender.most is None:
            cost.add(contender.name, {"memory MB": running.memory(), "ready s": running.ready})
