"""How long a build takes, by what changed since the last one, against ``bentoml build``.

Both build the same hand-written service with the same model (`benchmarks/service`), in the same environment:
BentoML runs as the program of the environment that mdeploy made for the bundle. uv's cache is warm for both.

- *cold*: mdeploy's home is empty and there is no lock, as on a new machine. Resolves, installs, builds.
- *new code*: a line of the service changed. The environment is there.
- *new model*: other weights with the same signature, and a new version.
- *unchanged*: nothing changed.

``bentoml build`` locks the packages anew each time, unless told ``lock_packages: false``. It knows no golden
samples, makes no environment, and makes a new Bento each time.
"""

from __future__ import annotations

import shutil
from itertools import count
from pathlib import Path

import onnx

from benchmarks.board import Board, Task, take_turns
from benchmarks.place import SERVICE, Place, Project
from benchmarks.run import timed
from modeldeploy.bundle.store import remove

BENTOML = "bentoml build"
_BENTOFILES = {BENTOML: "bentofile.yaml", "bentoml build, lock_packages: false": "bentofile-unlocked.yaml"}


def run(place: Place, rounds: int) -> list[Board]:
    """Seconds of each kind of build."""
    board = Board("build", "Build", base=BENTOML)
    shutil.copyfile(place.digits.folder / "model.onnx", place.folder / "original.onnx")
    project = _with_own_service(place)
    project.type("build")
    program = project.environment / "bin" / "bentoml"
    tasks: dict[str, Task] = {
        "mdeploy build, cold": _cold(place, project),
        "mdeploy build, new code": _new_code(project),
        "mdeploy build, new model": _new_model(place, project),
        "mdeploy build, unchanged": lambda: {"seconds": project.type("build").wall},
        **{name: _bentoml(program, project, file) for name, file in _BENTOFILES.items()},
    }
    take_turns(board, tasks, rounds)
    board.notes.append(
        "Cold includes resolving the lock and making the environment, which `bentoml build` does not do."
    )
    return [board]


def _with_own_service(place: Place) -> Project:
    project = place.project("handwritten")
    for file in SERVICE.iterdir():
        if file.is_file():
            shutil.copyfile(file, project.folder / file.name)
    include = '[service]\nentrypoint = "service:Digits"\n\n[build]\ninclude = ["service.py"]'
    project.edit(r"^\[build\]$", include)
    return project


def _cold(place: Place, project: Project) -> Task:
    def task() -> dict[str, float]:
        home, copy = place.other_home(), project.folder.with_name("handwritten-cold")
        shutil.copytree(project.folder, copy)
        (copy / "modeldeploy.lock").unlink()
        try:
            return {"seconds": Project(copy).type("build", env={"MDEPLOY_HOME": str(home)}).wall}
        finally:
            remove(home)
            remove(copy)

    return task


def _new_code(project: Project) -> Task:
    lines = count()

    def task() -> dict[str, float]:
        with (project.folder / "service.py").open("a") as file:
            file.write(f"\nCHANGE_{next(lines)} = True\n")
        project.raise_version()
        return {"seconds": project.type("build").wall}

    return task


def _new_model(place: Place, project: Project) -> Task:
    seeds = count(1)

    def task() -> dict[str, float]:
        _other_weights(place.folder / "original.onnx", project.folder / "model.onnx", seed=next(seeds))
        project.raise_version()
        return {"seconds": project.type("build").wall}

    return task


def _bentoml(program: Path, project: Project, bentofile: str) -> Task:
    def task() -> dict[str, float]:
        return {"seconds": timed([program, "build", "-f", bentofile], cwd=project.folder).wall}

    return task


def _other_weights(original: Path, path: Path, *, seed: int) -> None:
    model = onnx.load(original)
    attributes = (attribute for node in model.graph.node for attribute in node.attribute)
    weights = next(attribute for attribute in attributes if attribute.name == "coefficients")
    weights.floats[0] += 1e-4 * seed
    onnx.save(model, path)
