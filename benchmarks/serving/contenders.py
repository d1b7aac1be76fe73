"""The servers: how each is given the model, started, and asked."""

from __future__ import annotations

import io
import json
import os
import shutil
import subprocess
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from benchmarks.client import first_200
from benchmarks.place import Place, free_port
from benchmarks.run import Failed, running
from benchmarks.serving.cores import SERVER, pinned
from benchmarks.serving.environments import environment
from benchmarks.serving.models import Model
from modeldeploy.bundle.launch import command as worker_of
from modeldeploy.measure import processes

ALONE = "onnxruntime, no server"
SOCKET = "onnxruntime, bare socket"
_SERVICES = Path(__file__).with_name("services")
_WITHIN = 120.0
_LOOP_SECONDS = 4


@dataclass(slots=True)
class Running:
    """A server that answers, and the request to send to it."""

    url: str
    body: Path
    headers: dict[str, str]
    ready: float
    """Seconds from the start of its command to its first answer that it is ready."""
    group: int

    def memory(self) -> float:
        """Megabytes of all its processes."""
        return megabytes(self.group)


@dataclass(frozen=True, slots=True)
class Form:
    """A request: its path, its content type and headers, and its body."""

    path: str
    body: bytes
    headers: dict[str, str] = field(default_factory=lambda: {"content-type": "application/json"})


class Contender(ABC):
    """Something that runs a model."""

    name: str

    def __init__(self, place: Place) -> None:
        self.place = place

    def folder(self, model: Model) -> Path:
        """Where this contender keeps one model, with the services' code beside it."""
        folder = self.place.folder / "serving" / type(self).__name__ / model.name
        if not folder.exists():
            shutil.copytree(_SERVICES, folder)
            model.write(folder / "model.onnx")
            np.save(folder / "sample.npy", model.sample())
            self.prepare(folder, model)
        return folder

    def prepare(self, folder: Path, model: Model) -> None:  # noqa: B027  # most have nothing to prepare
        """What has to be done once, before anything is measured."""


class Alone(Contender):
    """No server at all."""

    name = ALONE

    def measured(self, model: Model) -> dict[str, float]:
        """Runs a second, and how long one took in ms."""
        python = environment("starlette") / "python"
        argv = pinned([python, "loop.py", "sample.npy", str(_LOOP_SECONDS)], SERVER)
        done = subprocess.run(argv, cwd=self.folder(model), capture_output=True, text=True, check=True)
        told: dict[str, float] = json.loads(done.stdout)
        return told


class Server(Contender):
    """A server that can be asked."""

    health: str
    most: int | None = None
    """Connections that it can serve at once; None: any number."""

    @abstractmethod
    def command(self, folder: Path, model: Model, port: int) -> Sequence[str | Path]:
        """What starts it."""

    def form(self, model: Model) -> Form:
        """The request that it understands, in the quickest form that it has."""
        if model.name == "image":
            return self.image(model)
        return Form("/predict", _json(model, '{"x": VALUES}'))

    def image(self, model: Model) -> Form:
        """The same for an image: raw bytes."""
        return Form("/image", model.sample().tobytes(), {"content-type": "application/octet-stream"})

    def environ(self, folder: Path) -> dict[str, str]:
        """Variables that its command needs."""
        return {}

    @contextmanager
    def serving(self, model: Model) -> Iterator[Running]:
        """Started, and ready; stopped at the end."""
        folder, port = self.folder(model), free_port()
        form = self.form(model)
        body = folder / "body"
        body.write_bytes(form.body)
        argv = pinned(self.command(folder, model, port), SERVER)
        env = {"PYTHONPATH": str(folder), "OMP_NUM_THREADS": "1", **self.environ(folder)}
        with running(argv, cwd=folder, env=env) as started:
            serves = first_200(("127.0.0.1", port), within=_WITHIN, path=self.health)
            url = f"http://127.0.0.1:{port}{form.path}"
            yield Running(url, body, form.headers, serves - started.began, started.group)


def megabytes(process: int) -> float:
    """What a process and all below it hold, by proportional set size: what they share counts once."""
    used = processes.memory(processes.tree(process))
    if used is None or used.pss is None:
        raise Failed("this system does not tell the proportional set size of processes")
    return used.pss / 2**20


def _json(model: Model, text: str) -> bytes:
    value = model.nested_image() if model.name == "image" else model.nested()
    return text.replace("VALUES", value).encode()


class Mdeploy(Server):
    """The bundle's own worker."""

    name = "mdeploy"
    health = "/readyz"

    def prepare(self, folder: Path, model: Model) -> None:
        """Build the bundle."""
        self._project = self.place.project(f"bench-{model.name}")
        shutil.copyfile(folder / "model.onnx", self._project.folder / "model.onnx")
        self._project.edit(r"^golden = .*\n", "")
        self._project.type("build")
        (folder / "bundle").symlink_to(self._project.bundle)

    def command(self, folder: Path, model: Model, port: int) -> Sequence[str | Path]:
        argv, _ = worker_of((folder / "bundle").resolve(), socket=folder / "unused")
        return [argv[0], "-m", "mdeploy_serving.worker", "--port", str(port), *argv[-2:]]

    def environ(self, folder: Path) -> dict[str, str]:
        _, env = worker_of((folder / "bundle").resolve(), socket=folder / "unused")
        return {**env, "MDEPLOY_INTRA_OP_THREADS": "1"}

    def image(self, model: Model) -> Form:
        return Form("/predict", npy(model), {"content-type": "application/x-npy"})


class BentomlSame(Mdeploy):
    """Stock BentoML on mdeploy's bundle."""

    name = "bentoml serve, mdeploy's bundle"

    def prepare(self, folder: Path, model: Model) -> None:
        other = Mdeploy(self.place).folder(model)
        (folder / "bundle").symlink_to((other / "bundle").resolve())

    def command(self, folder: Path, model: Model, port: int) -> Sequence[str | Path]:
        bundle = (folder / "bundle").resolve()
        argv, _ = worker_of(bundle, socket=folder / "unused")
        bentoml = Path(argv[0]).with_name("bentoml")
        return [bentoml, "serve", str(bundle), "--host", "127.0.0.1", "--port", str(port)]


class Bentoml(Server):
    """A service written by hand, served by BentoML."""

    name = "bentoml serve"
    health = "/readyz"

    def command(self, folder: Path, model: Model, port: int) -> Sequence[str | Path]:
        where = ("--host", "127.0.0.1", "--port", str(port))
        return [environment("bentoml") / "bentoml", "serve", "bentoml_service:Bench", *where]

    def environ(self, folder: Path) -> dict[str, str]:
        return {"BENTOML_HOME": str(folder / "home"), "BENTOML_DO_NOT_TRACK": "True"}


class Starlette(Server):
    """Starlette and the session, on uvicorn with uvloop and httptools."""

    name = "bare Starlette"
    health = "/ready"

    def command(self, folder: Path, model: Model, port: int) -> Sequence[str | Path]:
        options = ("--port", str(port), "--no-access-log", "--log-level", "warning")
        app = "starlette_service:app"
        return [
            environment("starlette") / "uvicorn",
            app,
            *options,
            "--loop",
            "uvloop",
            "--http",
            "httptools",
        ]


class BareSocket(Server):
    """A loop over a socket, for one connection: the least that TCP costs."""

    name = SOCKET
    health = "/"
    most = 1

    def command(self, folder: Path, model: Model, port: int) -> Sequence[str | Path]:
        return [environment("starlette") / "python", "socket_service.py", str(port)]


class LitServe(Server):
    """LitServe, one worker and one API server."""

    name = "LitServe"
    health = "/health"

    def command(self, folder: Path, model: Model, port: int) -> Sequence[str | Path]:
        return [environment("litserve") / "python", "litserve_service.py", str(port), model.name]

    def image(self, model: Model) -> Form:
        return _upload(model)


class MLServer(Server):
    """MLServer with a runtime of its own, in one process."""

    name = "MLServer"
    health = "/v2/health/ready"

    def prepare(self, folder: Path, model: Model) -> None:
        told = {"name": "bench", "implementation": "mlserver_runtime.Bench"}
        (folder / "model-settings.json").write_text(json.dumps(told))

    def command(self, folder: Path, model: Model, port: int) -> Sequence[str | Path]:
        ports = {"http_port": port, "grpc_port": free_port(), "metrics_port": free_port()}
        settings = {"host": "127.0.0.1", "parallel_workers": 0, "debug": False, **ports}
        (folder / "settings.json").write_text(json.dumps(settings))
        return [environment("mlserver") / "mlserver", "start", "."]

    def form(self, model: Model) -> Form:
        shape = json.dumps([1, *model.shape])
        flat = json.dumps([round(float(value), 3) for value in model.sample().ravel()])
        tensor = f'{{"name": "x", "datatype": "FP32", "shape": {shape}, "data": {flat}}}'
        return Form("/v2/models/bench/infer", f'{{"inputs": [{tensor}]}}'.encode())


class MLflow(Server):
    """``mlflow models serve``, one worker."""

    name = "MLflow"
    health = "/ping"

    def prepare(self, folder: Path, model: Model) -> None:
        python = environment("mlflow") / "python"
        subprocess.run([python, "mlflow_model.py", "model.onnx", "saved"], cwd=folder, check=True)

    def command(self, folder: Path, model: Model, port: int) -> Sequence[str | Path]:
        options = ("--port", str(port), "--env-manager", "local", "--workers", "1")
        return [environment("mlflow") / "mlflow", "models", "serve", "--model-uri", "saved", *options]

    def environ(self, folder: Path) -> dict[str, str]:
        path = os.pathsep.join([str(environment("mlflow")), os.environ["PATH"]])
        return {"PATH": path, "MLFLOW_DISABLE_TELEMETRY": "true"}

    def form(self, model: Model) -> Form:
        return Form("/invocations", _json(model, '{"inputs": {"x": VALUES}}'))


def _upload(model: Model) -> Form:
    """The only way for bytes into LitServe."""
    head = '--cut\r\nContent-Disposition: form-data; name="pixels"; filename="pixels"\r\n\r\n'
    body = head.encode() + model.sample().tobytes() + b"\r\n--cut--\r\n"
    return Form("/predict", body, {"content-type": "multipart/form-data; boundary=cut"})


def npy(model: Model) -> bytes:
    """The sample as the file that NumPy would write."""
    stream = io.BytesIO()
    np.save(stream, model.sample())
    return stream.getvalue()


CONTENDERS: tuple[type[Alone | Server], ...] = (
    Bentoml,
    Mdeploy,
    BentomlSame,
    MLServer,
    LitServe,
    MLflow,
    Starlette,
    BareSocket,
    Alone,
)
