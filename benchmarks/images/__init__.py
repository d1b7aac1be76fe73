"""From a changed project to an image in a registry and a first prediction, against two other ways.

All three ship the same hand-written service (`benchmarks/service`) and the same model, to the same real
registry on this machine, over a proxy that counts bytes; then a real Docker engine runs the image.

- *bentoml*: ``bentoml build``, ``bentoml containerize``, ``docker push``.
- *Dockerfile*: a good one by hand: BuildKit, packages in a stage of their own from a hash-locked file with uv
  and a cache mount, code and model in layers of their own, byte code compiled; then ``docker push``.
- *mdeploy*: ``mdeploy push --image``, which builds bundle and image first.

Four changes each, with a model of some kilobytes and with one of 500 MB of random numbers:

- *cold*: nothing is cached but the base image of the first two: no packages, no layers, an empty registry.
  mdeploy has to make its base, too.
- *unchanged*, *new model*, *new code* after that.

Needs root, Debian's docker.io, docker-registry and debootstrap, and the package indexes.
"""

from __future__ import annotations

from benchmarks.board import Board
from benchmarks.images.contenders import Bentoml, Contender, Dockerfile, Mdeploy
from benchmarks.images.engine import Engine
from benchmarks.images.models import MODELS, Model
from benchmarks.place import Place

BASE = "bentoml"
_CHANGES = ("cold", "unchanged", "new model", "new code")


def run(place: Place, rounds: int) -> list[Board]:
    """Seconds, bytes pushed, size, memory and time to a first prediction, by what changed."""
    with Engine(place.folder / "engine") as engine:
        boards = [board for model in MODELS for board in _boards(place, engine, model, rounds)]
    boards[0].notes.append(
        "Peak memory: of the command and its children, and for the first two of the Docker engine, too, "
        "where their work is done. On disk: what the engine says of the image, its base included."
    )
    return boards


def _boards(place: Place, engine: Engine, model: Model, rounds: int) -> list[Board]:
    boards = {
        change: Board(f"images {model.name} {change}", f"Image, {model.title}: {change}", base=BASE)
        for change in _CHANGES
    }
    contenders = {
        BASE: Bentoml(place, engine, model),
        "Dockerfile": Dockerfile(place, engine, model),
        "mdeploy": Mdeploy(place, engine, model),
    }
    for _ in range(rounds):
        for name, contender in contenders.items():
            for change in _CHANGES:  # all of one after the other: who begins cold empties the caches of all
                boards[change].add(name, _measured(contender, change))
    return list(boards.values())


def _measured(contender: Contender, change: str) -> dict[str, float]:
    contender.prepare(change)
    shipped = contender.ship()
    values = {"seconds": shipped.seconds, "MB pushed": shipped.pushed / 1e6, "peak MB": shipped.peak / 1e6}
    if change == "cold":
        image = contender.pulled()
        values |= {"on disk MB": image.size / 1e6, "to first prediction s": contender.first_prediction()}
    return values
