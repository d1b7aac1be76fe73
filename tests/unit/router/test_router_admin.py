from __future__ import annotations

import socket
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from modeldeploy.errors import TargetUnavailable
from modeldeploy.router import admin


class Canned:
    """Answers each connection with fixed bytes, then ends it."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.answer = b""
        self.asked = b""
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(str(path))
        self._listener.listen()
        threading.Thread(target=self._serve, daemon=True).start()

    def close(self) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()

    def _serve(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            with connection:
                self.asked = connection.recv(4096)
                connection.sendall(self.answer)


@pytest.fixture
def server() -> Iterator[Canned]:
    with tempfile.TemporaryDirectory(prefix="mdeploy-", dir="/tmp") as folder:
        canned = Canned(Path(folder) / "admin.sock")
        yield canned
        canned.close()


def ask(server: Canned, answer: bytes) -> str:
    server.answer = answer
    with admin.session(server.path, timeout=0.5) as session:
        return session.ask("/ready")


def test_a_chunked_answer_is_put_together(server: Canned) -> None:
    answer = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3\r\nLI\r\r\nA\r\nVE 4567890\r\n0\r\n\r\n"
    assert ask(server, answer) == "LI\rVE 4567890"
    assert server.asked.startswith(b"GET /ready HTTP/1.1\r\nhost: envoy\r\n")


def test_an_answer_with_a_length_is_read_to_it(server: Canned) -> None:
    assert ask(server, b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nLIVE!") == "LIVE"


@pytest.mark.parametrize(
    "answer",
    [
        b"",
        b"SSH-2.0-OpenSSH",
        b"\r\n\r\n",
        b"HTTP/1.1 200 OK\r\n",
        b"HTTP/1.1 200 OK\r\n\r\n",
        b"HTTP/1.1 200 OK\r\ncontent-length: many\r\n\r\n",
        b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nLIVE",
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nxyz\r\n",
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n9\r\nLIVE",
        b"HTTP/1.1 200 OK\r\ncontent-length: 1\r\n\r\n\xff",
    ],
)
def test_an_answer_that_is_not_whole_means_unavailable(server: Canned, answer: bytes) -> None:
    with pytest.raises(TargetUnavailable, match=r"admin\.sock"):
        ask(server, answer)


def test_another_status_is_told_with_what_the_answer_said(server: Canned) -> None:
    with pytest.raises(TargetUnavailable, match="no such page"):
        ask(server, b"HTTP/1.1 404 Not Found\r\ncontent-length: 12\r\n\r\nno such page")


def test_a_page_of_another_shape_means_unavailable(server: Canned) -> None:
    server.answer = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}"
    with pytest.raises(TargetUnavailable), admin.session(server.path) as session:
        session.ask_json("/stats")["stats"]


def test_nobody_there_and_a_path_too_long_mean_unavailable(tmp_path: Path) -> None:
    for path in (Path("/tmp/mdeploy-nobody.sock"), tmp_path / ("x" * 120)):
        with pytest.raises(TargetUnavailable), admin.session(path):
            pass


def test_reading_the_router_loads_no_http_client() -> None:
    code = "import sys, modeldeploy.router.control; print(*sys.modules)"
    loaded = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    ).stdout.split()
    assert not {"http.client", "ssl", "email", "asyncio", "subprocess", "envoy", "hashlib"} & set(loaded)
