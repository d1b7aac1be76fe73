"""A real Docker engine and a real registry of our own, and a base image that needs no pull."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import threading
import time
import urllib.request
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

from benchmarks.images.memory import high_water
from benchmarks.images.wire import CountingProxy
from benchmarks.place import free_port
from benchmarks.run import Failed, running

DOCKER = "/usr/bin/docker"
"""Debian's client, which has BuildKit in it."""
BASE_IMAGE = "bench/python:3.11"
_AUTHORITIES = Path("/etc/ssl/certs/ca-certificates.crt")
_UNTIL = 60.0


@dataclass(frozen=True, slots=True)
class Image:
    """An image in the engine. ``size`` in bytes, unpacked, with its base."""

    size: int


class Engine:
    """dockerd and docker-registry with folders of their own; all of it goes at the end."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._stack = ExitStack()

    def __enter__(self) -> Self:
        self.folder.mkdir(parents=True)
        self.host = f"unix://{self.folder}/docker.sock"
        os.environ |= {"DOCKER_HOST": self.host, "DOCKER_BUILDKIT": "1"}
        os.environ["PATH"] = f"{Path(DOCKER).parent}{os.pathsep}{os.environ['PATH']}"
        self._stack.enter_context(running(self._dockerd(), cwd=self.folder))
        self._start_registry()
        _wait(lambda: not subprocess.run([DOCKER, "info"], capture_output=True, check=False).returncode)
        self.run("import", "-c", f"ENV SSL_CERT_FILE={_AUTHORITIES}", str(self._base()), BASE_IMAGE)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.close()
        mounts = [line.split()[1] for line in Path("/proc/mounts").read_text().splitlines()]
        for mount in reversed(mounts):
            if Path(mount).is_relative_to(self.folder):
                subprocess.run(["umount", "--lazy", mount], capture_output=True, check=False)

    def run(self, *words: str) -> str:
        """``docker WORDS``. Raises `Failed` with its output."""
        done = subprocess.run([DOCKER, *words], capture_output=True, text=True, check=False)
        if done.returncode:
            raise Failed(f"docker {' '.join(words)}: {done.stderr[-2000:]}")
        return done.stdout.strip()

    def forget(self, *images: str) -> None:
        """Remove these images and everything that builds have cached; the base image stays."""
        for image in images:
            subprocess.run([DOCKER, "rmi", "--force", image], capture_output=True, check=False)
        self.run("builder", "prune", "--all", "--force")

    def image(self, name: str) -> Image:
        """What the engine says of an image."""
        return Image(json.loads(self.run("image", "inspect", name))[0]["Size"])

    def empty_registry(self) -> None:
        """Forget all that was pushed."""
        self._registry.close()
        shutil.rmtree(self.folder / "registry", ignore_errors=True)
        self._start_registry()

    def start_watching_memory(self) -> None:
        """Let the peak of the daemons begin anew (Linux: proc(5), clear_refs)."""
        for pid in self._pids():
            Path(f"/proc/{pid}/clear_refs").write_text("5")

    def peak_memory(self) -> int:
        """Bytes: the peaks of dockerd and containerd since then, added up."""
        return sum(high_water(pid) for pid in self._pids())

    def _dockerd(self) -> Sequence[str]:
        return [
            "dockerd",
            *("--host", self.host, "--data-root", str(self.folder / "data")),
            *("--exec-root", str(self.folder / "exec"), "--pidfile", str(self.folder / "pid")),
        ]

    def _pids(self) -> list[int]:
        dockerd = int((self.folder / "pid").read_text())
        found = subprocess.run(["pgrep", "-P", str(dockerd)], capture_output=True, text=True, check=False)
        return [dockerd, *map(int, found.stdout.split())]

    def _start_registry(self) -> None:
        self._registry = ExitStack()
        self._stack.push(lambda *_: self._registry.close())
        port = free_port()
        settings = self.folder / "registry.yml"
        settings.write_text(
            "version: 0.1\nlog: {accesslog: {disabled: true}, level: error}\n"
            f"storage: {{filesystem: {{rootdirectory: {self.folder / 'registry'}}}}}\n"
            f"http: {{addr: '127.0.0.1:{port}'}}\n"
        )
        self._registry.enter_context(running(["docker-registry", "serve", str(settings)], cwd=self.folder))
        self.wire = self._registry.enter_context(CountingProxy(port))
        _wait(lambda: _answers(f"http://127.0.0.1:{port}/v2/"))

    @property
    def registry(self) -> str:
        """Host and port by which all push, so that what they send is counted."""
        return f"127.0.0.1:{self.wire.port}"

    def _base(self) -> Path:
        """Debian with Python and uv, as a tar. Not measured."""
        root, tar = self.folder / "root", self.folder / "base.tar"
        packages = "python3,python3-venv,ca-certificates"
        command = ["debootstrap", "--variant=minbase", f"--include={packages}", "bookworm", str(root)]
        if mirror := _mirror():
            command.append(mirror)
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            raise Failed(f"debootstrap: {done.stdout[-2000:]}")
        shutil.copyfile(_AUTHORITIES, root / str(_AUTHORITIES).lstrip("/"))
        uv = shutil.which("uv")
        shutil.copy(uv or "uv", root / "usr/local/bin/uv")
        subprocess.run(["tar", "-C", str(root), "-cf", str(tar), "."], check=True)
        shutil.rmtree(root)
        return tar


def _mirror() -> str | None:
    """The mirror that this machine's apt uses, if it is not Debian's own."""
    for file in Path("/etc/apt/sources.list.d").glob("*.sources"):
        for line in file.read_text().splitlines():
            if line.startswith("URIs:"):
                return line.split()[1]
    return None


def _answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=1) as answer:
            return bool(answer.status == 200)
    except OSError:
        return False


def _wait(holds: object) -> None:
    deadline = time.monotonic() + _UNTIL
    while not (callable(holds) and holds()):
        if time.monotonic() > deadline:
            raise Failed("the engine or the registry did not start")
        threading.Event().wait(0.1)
