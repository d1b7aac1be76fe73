"""Three ways to an image, each with the same questions asked of it."""

from __future__ import annotations

import shutil
import subprocess
import tempfile
import time
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Protocol

from benchmarks.client import first_200
from benchmarks.images.engine import BASE_IMAGE, DOCKER, Engine, Image
from benchmarks.images.memory import Watch
from benchmarks.images.models import Model
from benchmarks.place import SERVICE, Place
from benchmarks.run import Failed, Took, timed
from modeldeploy.bundle.store import remove

_PORT = 3000
_WITHIN = 120.0
_HERE = Path(__file__).parent


@dataclass(frozen=True, slots=True)
class Shipped:
    """One build with its push: seconds of wall time, bytes sent, bytes of memory at the peak."""

    seconds: float
    pushed: int
    peak: int


class Contender(Protocol):
    """One of the three."""

    def prepare(self, change: str) -> None:
        """Change what is to be changed, or forget everything; not measured."""

    def ship(self) -> Shipped:
        """Build and push."""

    def pulled(self) -> Image:
        """The image in the engine."""

    def first_prediction(self) -> float:
        """Seconds from ``docker run`` to the first answer."""


class _Common:
    name: str

    def __init__(self, place: Place, engine: Engine, model: Model) -> None:
        self.place, self.engine, self.model = place, engine, model
        self.folder = place.folder / f"{self.name}-{model.name}"
        self.image = f"{self.name}-{model.name}"
        self._changes = count(1)
        self.lay_out()

    def lay_out(self) -> None:
        self.folder.mkdir()
        shutil.copyfile(SERVICE / "service.py", self.folder / "service.py")
        self.model.make(self.folder / "model.onnx")

    @property
    def tag(self) -> str:
        return f"{self.engine.registry}/bench/{self.image}:1"

    def prepare(self, change: str) -> None:
        if change == "cold":
            self.engine.empty_registry()
            self.forget()
        if change == "new model":
            self.model.change(self.folder / "model.onnx", next(self._changes))
        if change == "new code":
            with (self.folder / "service.py").open("a") as file:
                file.write(f"\nCHANGE_{next(self._changes)} = True\n")

    def forget(self) -> None:
        self.engine.forget(self.tag)

    def ship(self) -> Shipped:
        self.engine.wire.sent()
        self.engine.start_watching_memory()
        with Watch() as memory:
            took = self.steps()
        wall = sum(each.wall for each in took)
        return Shipped(wall, self.engine.wire.sent(), memory.peak + self.beside())

    def steps(self) -> list[Took]:
        raise NotImplementedError

    def beside(self) -> int:
        """The memory of those who do the work outside of the command."""
        return self.engine.peak_memory()

    def pulled(self) -> Image:
        return self.engine.image(self.tag)

    def first_prediction(self) -> float:
        """From the start of the container to the first 200 of ``/predict``."""
        began = time.perf_counter()
        container = self.engine.run("run", "--detach", "--network", "host", *self.run_options, self.tag)
        try:
            return first_200(("127.0.0.1", _PORT), within=_WITHIN, body=self.model.request) - began
        except Failed as error:
            raise Failed(f"{error}\n{self._log(container)}") from error
        finally:
            self.engine.run("rm", "--force", container)

    run_options: tuple[str, ...] = ()

    def _log(self, container: str) -> str:
        done = subprocess.run([DOCKER, "logs", container], capture_output=True, text=True, check=False)
        return (done.stdout + done.stderr)[-2000:]


class Bentoml(_Common):
    """``bentoml build``, ``bentoml containerize``, ``docker push``."""

    name = "bentoml"

    def lay_out(self) -> None:
        super().lay_out()
        text = (SERVICE / "bentofile.yaml").read_text()
        text += f'docker:\n  base_image: "{BASE_IMAGE}"\n'
        (self.folder / "bentofile.yaml").write_text(text)

    def steps(self) -> list[Took]:
        program = str(self.place.digits.environment / "bin" / "bentoml")
        containerize = [
            program,
            "containerize",
            "handwritten:latest",
            "-t",
            self.tag,
            "--opt",
            "network=host",
        ]
        return [
            timed([program, "build"], cwd=self.folder),
            timed(containerize, cwd=self.folder),
            timed([DOCKER, "push", self.tag], cwd=self.folder),
        ]


class Dockerfile(_Common):
    """A Dockerfile as a careful person writes it."""

    name = "dockerfile"
    run_options = ("--read-only", "--tmpfs", "/tmp")

    def lay_out(self) -> None:
        super().lay_out()
        shutil.copyfile(_HERE / "Dockerfile", self.folder / "Dockerfile")
        shutil.copyfile(self.place.digits.bundle / "env/python/requirements.txt", self.folder / "lock.txt")

    def steps(self) -> list[Took]:
        build = [
            DOCKER,
            "build",
            "--network",
            "host",
            "--build-arg",
            f"BASE={BASE_IMAGE}",
            "-t",
            self.tag,
            ".",
        ]
        return [timed(build, cwd=self.folder), timed([DOCKER, "push", self.tag], cwd=self.folder)]


class Mdeploy(_Common):
    """``mdeploy push --image``."""

    name = "mdeploy"
    run_options = ("--read-only", "--tmpfs", "/tmp")

    def lay_out(self) -> None:
        self.project = self.place.project(self.image)
        self.folder = self.project.folder
        shutil.copyfile(SERVICE / "service.py", self.folder / "service.py")
        self.model.make(self.folder / "model.onnx")
        self.project.edit(r"^golden = .*\n", "")
        own = '[service]\nentrypoint = "service:Digits"\n\n[build]\ninclude = ["service.py"]'
        self.project.edit(r"^\[build\]$", own)
        self.home = self.place.other_home()

    def forget(self) -> None:
        super().forget()
        remove(self.home)
        self.home = self.place.other_home()
        self._packages = Path(tempfile.mkdtemp(prefix="uv-", dir=self.place.folder))

    def prepare(self, change: str) -> None:
        super().prepare(change)
        if change in ("new model", "new code"):
            self.project.raise_version()

    def steps(self) -> list[Took]:
        env = {"MDEPLOY_HOME": str(self.home), "UV_CACHE_DIR": str(self._packages)}
        url = f"http://{self.engine.registry}/bench"
        return [self.project.type("push", "--image", "--to", url, env=env)]

    def beside(self) -> int:
        return 0

    @property
    def tag(self) -> str:
        return f"{self.engine.registry}/bench/{self.image}:{self.project.version}"

    def pulled(self) -> Image:
        self.engine.run("pull", self.tag)
        return super().pulled()
