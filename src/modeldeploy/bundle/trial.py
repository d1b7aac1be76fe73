"""Runs one worker of a bundle on this machine for as long as a test of it lasts."""

from __future__ import annotations

import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from modeldeploy.bundle.asking import ask
from modeldeploy.bundle.environment import Environment
from modeldeploy.bundle.golden import Call
from modeldeploy.bundle.launch import command
from modeldeploy.errors import BundleError
from modeldeploy.events import Emit
from modeldeploy.model import HttpRequest

READY_SECONDS = 120.0
_STOP_SECONDS = 10.0
_PAUSE = 0.02
_LINES = 20


@dataclass(frozen=True, slots=True)
class Started:
    """A worker that is ready."""

    place: Path
    """Its unix socket."""
    pid: int
    seconds: float
    """From the start of its process until it was ready."""


@contextmanager
def running(bundle: Path, *, emit: Emit, env: Mapping[str, str] | None = None) -> Iterator[Call]:
    """A ready worker of a bundle: yields what sends it requests, and stops it at the end.

    Makes the bundle's environment first if there is none. ``env`` is added to the worker's variables.
    Raises `BundleError` with the worker's last lines where it does not become ready.
    """
    with started(bundle, emit=emit, env=env) as worker:
        yield lambda request: ask(worker.place, request)


@contextmanager
def started(bundle: Path, *, emit: Emit, env: Mapping[str, str] | None = None) -> Iterator[Started]:
    """The same worker, for who needs to know its process and its socket."""
    Environment.of(bundle).create(emit)
    # Short, because a unix socket's path may have about 100 characters.
    with tempfile.TemporaryDirectory(prefix="mdeploy-", dir="/tmp") as folder:  # made with mode 0700
        place = Path(folder) / "s"
        argv, variables = command(bundle, socket=place)
        with (Path(folder) / "log").open("w+b") as log:
            began = time.monotonic()
            worker = subprocess.Popen(
                argv,
                env={**variables, **(env or {})},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                cwd=folder,
            )
            try:
                with _ended_with_us(worker.pid, folder):
                    _await_ready(worker, place, log)
                    yield Started(place, worker.pid, time.monotonic() - began)
            finally:
                _stop(worker)


@contextmanager
def _ended_with_us(pid: int, folder: str) -> Iterator[None]:
    """Should we be killed, a process ends without us, and its folder goes.

    A shell waits for the end of a pipe whose other end nobody has but us.
    """
    script = 'read -r _; kill -9 "$1"; rm -rf -- "$2"'
    with subprocess.Popen(
        ["/bin/sh", "-c", script, "sh", str(pid), folder],
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,  # Ctrl-C is ours to answer
    ) as waiting:
        try:
            yield
        finally:
            waiting.kill()  # before the pipe's end tells it anything


def _await_ready(worker: subprocess.Popen[bytes], place: Path, log: IO[bytes]) -> None:
    deadline = time.monotonic() + READY_SECONDS
    last = "it did not listen"
    while time.monotonic() < deadline:
        if worker.poll() is not None:
            raise _not_ready(f"its worker ended with code {worker.returncode}", log)
        try:
            answer = ask(place, HttpRequest("GET", "/readyz", timeout=5.0))
        except OSError:
            time.sleep(_PAUSE)
            continue
        if answer.status == 200:
            return
        last = f"GET /readyz answered {answer.status}"
        time.sleep(_PAUSE)
    raise _not_ready(f"after {READY_SECONDS:g} s, {last}", log)


def _not_ready(reason: str, log: IO[bytes]) -> BundleError:
    log.seek(0)
    lines = log.read().decode(errors="replace").splitlines()[-_LINES:]
    return BundleError(
        f"the bundle did not become ready: {reason}",
        hint="its last lines are above; put the service right and build it again",
        details={"output": lines},
    )


def _stop(worker: subprocess.Popen[bytes]) -> None:
    worker.terminate()
    try:
        worker.wait(_STOP_SECONDS)
    except subprocess.TimeoutExpired:
        worker.kill()
        worker.wait()
