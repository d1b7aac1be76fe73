"""Real engines for images, and none: Docker on a socket of its own, podman on storage of its own, a chroot.

Each keeps everything in the folder that it is given and is gone at the end of its context. Containers share
the machine's network, because a test machine may forbid to set up others.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from modeldeploy.model import HttpRequest, HttpResponse
from modeldeploy.oci import unpack
from modeldeploy.oci.layout import Layout
from modeldeploy.oci.manifest import Index, Manifest, parse
from needs import need
from process_place import free_port

USER = 65532
READ_ONLY = ("--read-only", "--tmpfs", "/tmp", "--cap-drop", "ALL", "--security-opt", "no-new-privileges")
_PODMAN = """
[containers]
default_ulimits = ["nofile=1024:1024", "nproc=4096:4096"]
netns = "host"
[engine]
cgroup_manager = "cgroupfs"
events_logger = "file"
runtime = "runc"
tmp_dir = "{folder}/tmp"
"""
_STORAGE = '[storage]\ndriver = "{driver}"\ngraphroot = "{folder}/kept"\nrunroot = "{folder}/run"\n'


@dataclass(frozen=True)
class Engine:
    """A program that loads and runs images, and what it needs in its environment."""

    program: str
    env: Mapping[str, str] = field(default_factory=dict)

    def type(self, *words: str, stdin: Path | None = None, cwd: Path | None = None) -> str:
        """Run a command of the engine; what it printed."""
        with (stdin or Path(os.devnull)).open("rb") as given:
            done = subprocess.run(
                [self.program, *words],
                env={**os.environ, **self.env},
                cwd=cwd,
                stdin=given,
                capture_output=True,
                check=False,
                timeout=180,
            )
        assert done.returncode == 0, f"{self.program} {words}: {done.stderr.decode()[-2000:]}"
        return done.stdout.decode()

    @contextmanager
    def serving(self, image: str, *options: str) -> Iterator[str]:
        """A container of that image, as users are told to run it; its URL once it is ready."""
        port = free_port()
        started = self.type(
            *("run", "--detach", "--network", "host", *READ_ONLY, *options, image),
            *("--host", "127.0.0.1", "--port", str(port)),
        )
        container = started.split()[-1]
        try:
            url = f"http://127.0.0.1:{port}"
            until_ready(url, told=lambda: self.type("logs", container))
            yield url
            self.type("stop", "--time", "20", container)
            state = self.type("inspect", "--format", "{{.State.ExitCode}}", container).strip()
            assert state == "0", f"the container ended with {state}\n{self.type('logs', container)}"
        finally:
            self.type("rm", "--force", container)


@contextmanager
def docker(folder: Path) -> Iterator[Engine]:
    """Debian's Docker Engine. ``folder`` is new; the socket is in a short folder of its own."""
    need(shutil.which("dockerd") and os.geteuid() == 0, "dockerd and root (apt-get install docker.io)")
    folder.mkdir(parents=True)
    with tempfile.TemporaryDirectory(prefix="mdeploy-dk-") as short:
        socket = f"unix://{short}/s"
        command = [
            *("dockerd", "--host", socket, "--data-root", str(folder / "data"), "--exec-root", f"{short}/x"),
            *("--pidfile", str(folder / "pid"), "--bridge=none", "--iptables=false", "--ip6tables=false"),
            *("--ip-forward=false", "--ip-masq=false", "--userland-proxy=false", "--log-level=error"),
        ]
        with (folder / "log").open("wb") as log:
            daemon = subprocess.Popen(command, stdout=log, stderr=log, start_new_session=True)
        engine = Engine(_client(), {"DOCKER_HOST": socket, "DOCKER_CONFIG": str(folder / "config")})
        try:
            _until_up(engine, daemon, folder / "log")
            yield engine
        finally:
            daemon.send_signal(signal.SIGTERM)
            with suppress(subprocess.TimeoutExpired):
                daemon.wait(20)
            with suppress(ProcessLookupError):
                os.killpg(daemon.pid, signal.SIGKILL)
            daemon.wait()
            _unmount(folder, Path(short))


@contextmanager
def podman(folder: Path) -> Iterator[Engine]:
    """podman, which has no daemon. ``folder`` is new."""
    need(shutil.which("podman") and os.geteuid() == 0, "podman and root (apt-get install podman)")
    folder.mkdir(parents=True)
    # A run root may have 50 letters at most.
    with tempfile.TemporaryDirectory(prefix="mdeploy-pd-") as short:
        (folder / "containers.conf").write_text(_PODMAN.format(folder=short))
        storage = _STORAGE.format(driver="overlay", folder=folder).replace(f"{folder}/run", f"{short}/run")
        (folder / "storage.conf").write_text(storage)
        env = {
            "CONTAINERS_CONF": str(folder / "containers.conf"),
            "CONTAINERS_STORAGE_CONF": str(folder / "storage.conf"),
            "XDG_RUNTIME_DIR": short,
        }
        engine = Engine("podman", env)
        try:
            yield engine
        finally:
            engine.type("rm", "--all", "--force")
            _unmount(folder, Path(short))


@dataclass(frozen=True)
class Unpacked:
    """An image's files in a folder, and how it is started."""

    root: Path
    config: dict[str, Any]
    emulator: tuple[str, ...] = ()

    def command(self, words: Sequence[str]) -> list[str]:
        """Run words in the image as its user. The root is read-only; /tmp is not."""
        mounts = (
            'mount --bind "$0" "$0" && mount -o remount,ro,bind "$0" && mount -t tmpfs tmpfs "$0/tmp" && '
            'mount -t proc proc "$0/proc" && mount --bind /dev "$0/dev" && '
            f'cd / && exec chroot --userspec {self.config.get("User") or USER} "$0" "$@"'
        )
        unshared = ["unshare", "--mount", "--pid", "--fork", "--kill-child", "sh", "-c", mounts]
        return [*unshared, str(self.root), *self.emulator, *words]

    @property
    def env(self) -> dict[str, str]:
        """What the image sets, and nothing of this machine's."""
        return dict(entry.split("=", 1) for entry in self.config["Env"])

    def type(self, *words: str, env: Mapping[str, str] | None = None) -> str:
        """Run a program of the image to its end; what it printed."""
        done = subprocess.run(
            self.command(words),
            env={**self.env, **(env or {}), **_path_for_tools()},
            capture_output=True,
            check=False,
            timeout=300,
        )
        assert done.returncode == 0, f"{words}: {done.stderr.decode()[-3000:]}"
        return done.stdout.decode()

    @contextmanager
    def serving(self) -> Iterator[str]:
        """The image's entrypoint on a free port; its URL once it is ready."""
        port = free_port()
        words = [*self.config["Entrypoint"], "--host", "127.0.0.1", "--port", str(port)]
        log = self.root.with_name(f"{self.root.name}.log")
        with log.open("wb") as output:
            process = subprocess.Popen(
                self.command(words), env={**self.env, **_path_for_tools()}, stdout=output, stderr=output
            )
        try:
            url = f"http://127.0.0.1:{port}"
            until_ready(url, told=log.read_text)
            yield url
        finally:
            # unshare passes no signal on, and --kill-child ends with the change of user: so its child first.
            for child in Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split():
                os.kill(int(child), signal.SIGKILL)
            process.kill()
            process.wait()


def unpacked(layout: Path, into: Path, *, architecture: str, tag: str | None = None) -> Unpacked:
    """The image of an OCI layout, unpacked; of another architecture it runs under qemu."""
    need(os.geteuid() == 0 and sys.platform == "linux", "root on Linux, for chroot")
    source = Layout(layout)
    top = source.tag(tag or source.tags()[0])
    assert top, f"{layout} has no such tag; it has {source.tags()}"
    found = parse(source.manifest(top.digest))
    if isinstance(found, Index):
        wanted = [
            each for each in found.manifests if each.platform and each.platform.architecture == architecture
        ]
        found = parse(source.manifest(wanted[0].digest))
    assert isinstance(found, Manifest)
    into.mkdir(parents=True)
    streams = [(source.blobs.open(layer), layer) for layer in found.layers]
    try:
        unpack.rootfs(streams, into)
    finally:
        for stream, _ in streams:
            stream.close()
    config = json.loads(source.blobs.read(found.config.digest, largest=1 << 20))
    assert config["architecture"] == architecture
    return Unpacked(into, config["config"], emulator(architecture, into))


def emulator(architecture: str, root: Path) -> tuple[str, ...]:
    """What programs of the architecture are started by here; it is put into the root."""
    if {"x86_64": "amd64", "aarch64": "arm64"}.get(os.uname().machine) == architecture:
        return ()
    name = {"arm64": "qemu-aarch64-static", "amd64": "qemu-x86_64-static"}[architecture]
    program = shutil.which(name)
    need(program, f"{name} (apt-get install qemu-user-static)")
    assert program
    shutil.copy2(program, root / "usr/bin" / name)
    return (f"/usr/bin/{name}",)


def call(url: str) -> Any:
    """A function that sends one request there: what `bundle.golden.verify` asks for."""

    def send(request: HttpRequest) -> HttpResponse:
        asked = urllib.request.Request(
            url + request.path,
            data=request.body or None,
            headers=dict(request.headers),
            method=request.method,
        )
        try:
            with urllib.request.urlopen(asked, timeout=request.timeout) as answer:
                return HttpResponse(answer.status, answer.read(), _lower(answer.headers))
        except urllib.error.HTTPError as error:
            with error:
                return HttpResponse(error.code, error.read(), _lower(error.headers))

    return send


def until_ready(url: str, *, told: Any, within: float = 90) -> None:
    """Wait for the readiness probe."""
    deadline = time.monotonic() + within
    while True:
        with suppress(OSError), urllib.request.urlopen(f"{url}/readyz", timeout=5) as answer:
            if answer.status == 200:
                return
        assert time.monotonic() < deadline, f"not ready within {within:g} s\n{told()}"
        time.sleep(0.1)


def _lower(headers: Any) -> dict[str, str]:
    return {name.lower(): value for name, value in headers.items()}


def _client() -> str:
    """Debian's own client where there are several: the others may lack what it has built in."""
    return "/usr/bin/docker" if Path("/usr/bin/docker").exists() else "docker"


def _until_up(engine: Engine, daemon: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + 30
    while True:
        with suppress(AssertionError):
            engine.type("version")
            return
        assert daemon.poll() is None, f"dockerd ended\n{log.read_text()[-3000:]}"
        assert time.monotonic() < deadline, f"dockerd does not answer\n{log.read_text()[-3000:]}"
        time.sleep(0.1)


def _path_for_tools() -> dict[str, str]:
    """unshare and mount are found by this machine's PATH, which Debian's images have as well."""
    return {"PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"}


def _unmount(*folders: Path) -> None:
    """What an engine left mounted below its folders, which could not be removed otherwise."""
    places = [line.split()[1] for line in Path("/proc/self/mounts").read_text().splitlines()]
    for place in sorted(places, reverse=True):
        if any(place.startswith(f"{folder}/") for folder in folders):
            subprocess.run(["umount", "-l", place], check=False)
