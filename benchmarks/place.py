"""A temporary home for mdeploy, projects in it, and the commands that users type there."""

from __future__ import annotations

import os
import re
import shutil
import socket
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from types import TracebackType
from typing import Self

from benchmarks.run import Failed, Took, timed
from modeldeploy.bundle.environment import Environment
from modeldeploy.bundle.store import BundleStore, remove

MDEPLOY = Path(sys.executable).with_name("mdeploy")
"""The console script as installed, under the interpreter that runs this."""
SERVICE = Path(__file__).with_name("service")
"""A service for the same model, as one writes it by hand for BentoML."""
_SETTINGS = {
    "BENTOML_DO_NOT_TRACK": "True",
    "DO_NOT_TRACK": "1",
    "PATH": os.pathsep.join([str(MDEPLOY.parent), os.environ.get("PATH", os.defpath)]),  # uv, for BentoML
}


class Project:
    """A folder with a modeldeploy.toml."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def type(self, *words: str, env: Mapping[str, str] | None = None) -> Took:
        """Type ``mdeploy WORDS`` in the project's folder."""
        return timed([MDEPLOY, *words], cwd=self.folder, env=env)

    def edit(self, pattern: str, replacement: str) -> None:
        """Edit modeldeploy.toml. Raises `Failed` where it has no such line."""
        file = self.folder / "modeldeploy.toml"
        text, found = re.subn(pattern, replacement, file.read_text(), flags=re.MULTILINE)
        if not found:
            raise Failed(f"modeldeploy.toml has no {pattern}")
        file.write_text(text)

    @property
    def version(self) -> str:
        """The version in modeldeploy.toml."""
        found = re.search(r'^version = "(.+?)"', (self.folder / "modeldeploy.toml").read_text(), re.MULTILINE)
        return found[1] if found else ""

    @property
    def name(self) -> str:
        """The project's name, which is its folder's."""
        return self.folder.name

    @property
    def port(self) -> int:
        """Where its target listens."""
        found = re.search(r"^port = (\d+)", (self.folder / "modeldeploy.toml").read_text(), re.MULTILINE)
        return int(found[1]) if found else 0

    @property
    def endpoint(self) -> str:
        """Where its users send requests."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def request(self) -> bytes:
        """The body of one request."""
        return (self.folder / "samples.json").read_bytes()

    @property
    def bundle(self) -> Path:
        """The folder of the bundle that was built last."""
        return BundleStore().find(self.name, self.version).path

    @property
    def environment(self) -> Path:
        """The folder of the environment that its bundle runs in."""
        return Environment.of(self.bundle).path

    @contextmanager
    def deployed(self) -> Iterator[None]:
        """Its first release serves while the context lasts."""
        try:
            self.type("deploy", "local")
            yield
        finally:
            self.destroy()

    def destroy(self) -> None:
        """Stop what its target runs."""
        self.type("destroy", "local", "--yes")

    def raise_version(self) -> None:
        """The next version: one that exists never gets other content. Not by --bump: that takes time, too."""
        major, _, patch = self.version.rpartition(".")
        self.edit(r'^version = ".+?"', f'version = "{major}.{int(patch) + 1}"')


class Place:
    """A temporary folder with mdeploy's home and projects. Nothing of it is left at the end."""

    def __enter__(self) -> Self:
        self.folder = Path(tempfile.mkdtemp(prefix="mdeploy-bench-"))
        self._before = dict(os.environ)
        for name in [name for name in os.environ if name.startswith("PYTHON")]:
            del os.environ[name]  # such as PYTHONDONTWRITEBYTECODE, with which every command compiles mdeploy
        os.environ.update(_SETTINGS)
        os.environ["MDEPLOY_HOME"] = str(self.folder / "home")
        os.environ["BENTOML_HOME"] = str(self.folder / "bentoml")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            for target in self.folder.glob("home/targets/*/*/desired.json"):  # something went wrong
                Project(self.folder / target.parts[-3]).destroy()
        finally:
            os.environ.clear()
            os.environ.update(self._before)
            remove(self.folder)

    def project(self, name: str) -> Project:
        """A new project from the template: the digits model, and a target on a free port."""
        timed([MDEPLOY, "init", name, "--name", name], cwd=self.folder)
        project = Project(self.folder / name)
        project.edit(r"^port = \d+", f"port = {free_port()}")
        if self._lock.exists():
            shutil.copyfile(self._lock, project.folder / "modeldeploy.lock")
        return project

    @cached_property
    def digits(self) -> Project:
        """A project that is built: its lock is resolved, its packages are in uv's cache and installed."""
        project = self.project("digits")
        project.type("build")
        shutil.copyfile(project.folder / "modeldeploy.lock", self._lock)
        return project

    def other_home(self) -> Path:
        """An empty home, as on a machine where nothing was built yet."""
        return Path(tempfile.mkdtemp(prefix="home-", dir=self.folder))

    def packages(self) -> dict[str, str]:
        """The packages in the bundle's environment, with their versions."""
        installed = self.digits.environment.glob("lib/python*/site-packages/*.dist-info")
        pairs = (path.name.removesuffix(".dist-info").split("-", 1) for path in installed)
        return dict(pairs)

    @property
    def _lock(self) -> Path:
        return self.folder / "modeldeploy.lock"


def free_port() -> int:
    """A port that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
