"""How long until a first release serves, against ``bentoml serve`` of the same Bento.

From the start of the command to the first 200 of ``/readyz``. For ``mdeploy deploy`` that is at the target's
endpoint: it looks at the project, starts two supervisors, Envoy and a worker, and replays the golden samples
before the endpoint answers. The worker alone is what a revision runs. The environment is there.
"""

from __future__ import annotations

import subprocess
import time
from pathlib import Path

from benchmarks.board import Board, Task, take_turns
from benchmarks.client import first_200
from benchmarks.place import MDEPLOY, Place, Project, free_port
from benchmarks.run import Failed, running
from modeldeploy.bundle.launch import command

BENTOML = "bentoml serve"
_WITHIN = 90.0


def run(place: Place, rounds: int) -> list[Board]:
    """Seconds until ready."""
    board = Board("ready", "Until a first release serves", base=BENTOML)
    project = place.digits
    tasks: dict[str, Task] = {
        BENTOML: _bentoml(project),
        "mdeploy's worker alone": _worker(project, place.folder / "worker.sock"),
        "mdeploy deploy": _deploy(project),
    }
    take_turns(board, tasks, rounds)
    board.notes.append("The last columns: until the command ends.")
    return [board]


def serve(project: Project, port: int) -> list[str | Path]:
    """The command that serves a project's bundle with BentoML alone."""
    return [
        project.environment / "bin" / "bentoml",
        *("serve", str(project.bundle), "--host", "127.0.0.1", "--port", str(port)),
    ]


def _bentoml(project: Project) -> Task:
    def task() -> dict[str, float]:
        port = free_port()
        with running(serve(project, port), cwd=project.folder) as bentoml:
            return {"ready s": first_200(("127.0.0.1", port), within=_WITHIN) - bentoml.began}

    return task


def _worker(project: Project, socket: Path) -> Task:
    def task() -> dict[str, float]:
        argv, env = command(project.bundle, socket=socket)
        with running(argv, cwd=project.folder, env=env, exact=True) as worker:
            return {"ready s": first_200(socket, within=_WITHIN) - worker.began}

    return task


def _deploy(project: Project) -> Task:
    def task() -> dict[str, float]:
        began = time.perf_counter()
        child = subprocess.Popen(
            [MDEPLOY, "deploy", "local"],
            cwd=project.folder,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        try:
            serves = first_200(("127.0.0.1", project.port), within=_WITHIN) - began
            if child.wait(_WITHIN):
                raise Failed(f"mdeploy deploy ended with {child.returncode}")
            return {"ready s": serves, "command s": time.perf_counter() - began}
        finally:
            child.kill()
            child.wait()
            project.destroy()

    return task
