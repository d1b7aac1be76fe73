"""A real Envoy in front of small real HTTP workers on unix sockets."""

from __future__ import annotations

import http.client
import shutil
import socket
import socketserver
import subprocess
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler
from itertools import cycle
from pathlib import Path
from typing import Any

from modeldeploy.errors import PreflightError
from modeldeploy.model import RevisionId, Traffic
from modeldeploy.router import envoy
from modeldeploy.router.control import Router
from modeldeploy.router.ingress import Ingress
from modeldeploy.router.render import Upstream
from needs import lack

ONE = RevisionId("1.0.0-3f2a9c1b")
TWO = RevisionId("2.0.0-rc.1-00ff00ff")


class Worker(socketserver.ThreadingMixIn, socketserver.UnixStreamServer):
    """Answers everything with a status, after a delay; `/readyz` says whether it is ready."""

    daemon_threads = True
    request_queue_size = 128

    def __init__(self, path: Path) -> None:
        self.path = path
        self.delay: Callable[[], float] = lambda: 0.0
        self.status: Callable[[], int] = lambda: 200
        self.ready = True
        self.breaks_off = False
        self.hangs_up = False
        self.seen = 0
        self._open: set[socket.socket] = set()
        super().__init__(str(path), Handler)
        self._thread = threading.Thread(target=self.serve_forever, kwargs={"poll_interval": 0.02})
        self._thread.start()

    def get_request(self) -> tuple[socket.socket, Any]:
        request, address = super().get_request()
        self._open.add(request)
        return request, address

    def handle_error(self, request: object, client_address: object) -> None:
        """A client that leaves early is part of some tests."""

    def kill(self) -> None:
        """End as a killed process does: no more connections, and the open ones are cut."""
        if self._thread.is_alive():
            self.shutdown()
            self._thread.join()
            self.server_close()
            self.path.unlink(missing_ok=True)
        for connection in self._open:
            try:
                connection.shutdown(socket.SHUT_RDWR)
            except OSError:
                continue


class Handler(BaseHTTPRequestHandler):
    server: Worker
    protocol_version = "HTTP/1.1"
    wbufsize = -1

    def address_string(self) -> str:
        return "unix"

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002  the name of the base class
        """Silent."""

    def do_GET(self) -> None:
        worker = self.server
        if self.path == "/readyz":
            self._answer(200 if worker.ready else 503, b"")
            return
        worker.seen += 1
        time.sleep(worker.delay())
        if worker.hangs_up:
            self.close_connection = True
            return
        if worker.breaks_off:
            self.send_response(200)
            self.send_header("content-length", "1000")
            self.end_headers()
            self.wfile.write(b"half")
            self.close_connection = True
            return
        self._answer(worker.status(), b"ok")

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["content-length"]))
        self.do_GET()

    def _answer(self, status: int, body: bytes) -> None:
        self.send_response(status)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
        self.wfile.flush()


class Place:
    """A router with its Envoy, and workers by revision."""

    def __init__(self, folder: Path, program: Path) -> None:
        self.folder = folder
        self.program = program
        self.port = free_port()
        self.router = Router(folder / "router", folder / "admin.sock")
        self.workers: dict[RevisionId, list[Worker]] = {}
        self.generation = 0
        self.process: subprocess.Popen[bytes] | None = None
        self.log = folder / "envoy.log"
        self.ingress = Ingress(port=self.port)

    def start(self, *, patience: float = 10) -> None:
        self.router.write_static(self.ingress)
        command = envoy.argv(self.program, self.router.layout.bootstrap, concurrency=2, drain=2)
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(command, stderr=log)
        until(self.router.live, seconds=patience)

    def stop(self) -> None:
        if self.process:
            self.process.kill()
            self.process.wait()

    def close(self) -> None:
        self.stop()
        for workers in self.workers.values():
            for worker in workers:
                worker.kill()

    def start_both(self) -> Place:
        """Two revisions, the first one stable and standing in for the second; all traffic on the first."""
        self.work(ONE)
        self.work(TWO)
        self.know(ONE)
        self.weigh(stable_and(0))
        self.start()
        return self

    def work(self, revision: RevisionId, *, replicas: int = 1) -> list[Worker]:
        self.workers[revision] = [
            Worker(self.folder / f"{len(self.workers)}{number}.sock") for number in range(replicas)
        ]
        return self.workers[revision]

    def know(self, *fallback: RevisionId) -> None:
        """Write all revisions' clusters; where Envoy runs, wait until it has taken them."""
        upstreams = [
            Upstream(name, tuple(worker.path for worker in workers)) for name, workers in self.workers.items()
        ]
        version = self.router.write_clusters(upstreams, fallback=fallback)
        if self.process:
            until(lambda: self.router.warm(version))

    def weigh(self, traffic: Traffic, *, idempotent: bool = True) -> None:
        """Write the weights; where Envoy runs, wait until it has taken them."""
        self.generation += 1
        self.router.write_routes(traffic, self.generation, idempotent=idempotent)
        if self.process:
            until(lambda: self.router.applied() == (self.generation, traffic))

    def client(self, timeout: float = 10) -> http.client.HTTPConnection:
        return http.client.HTTPConnection("127.0.0.1", self.port, timeout=timeout)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def until(condition: Callable[[], bool], *, seconds: float = 10) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not come true in time"
        time.sleep(0.01)


def program_or_skip() -> Path:
    try:
        return envoy.locate()
    except PreflightError as error:
        lack(f"Envoy: {error.message}")


@contextmanager
def opened() -> Iterator[Place]:
    """A place in a folder whose name has a space and a letter outside ASCII; all ends with it."""
    program = program_or_skip()
    folder = Path(tempfile.mkdtemp(prefix="mdeploy é", dir="/tmp"))  # short: a socket's path has few bytes
    place = Place(folder, program)
    try:
        yield place
    finally:
        place.close()
        shutil.rmtree(folder)


def stable_and(percent: int) -> Traffic:
    return Traffic({ONE: 100 - percent, TWO: percent}, stable=ONE, fallback=(ONE,))


def ask(
    client: http.client.HTTPConnection, *, method: str = "GET", body: bytes | None = None
) -> tuple[int, str]:
    """Status and who answered."""
    client.request(method, "/predict", body=body)
    answer = client.getresponse()
    answer.read()
    return answer.status, answer.headers.get("x-model-version", "")


def ask_often(place: Place, times: int, *, connections: int = 4) -> Counter[tuple[int, str]]:
    clients = [place.client() for _ in range(connections)]
    answers = Counter(ask(client) for _, client in zip(range(times), cycle(clients), strict=False))
    for client in clients:
        client.close()
    return answers


def load_until(place: Place, done: threading.Event, answers: Counter[tuple[int, str]]) -> None:
    while not done.is_set():
        answers.update(ask_often(place, 20, connections=2))
