"""A small HTTP client over raw sockets, so that what is measured is the server and not the client."""

from __future__ import annotations

import re
import selectors
import socket
import time
from pathlib import Path
from typing import Self

from benchmarks.run import Failed

Address = Path | tuple[str, int]
"""Where a server listens: a unix socket, or host and port."""

_LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)
_VERSION = re.compile(rb"\r\nx-model-version: *([^\r]*)", re.IGNORECASE)


class Client:
    """One connection that stays open."""

    def __init__(self, address: Address, *, timeout: float = 10.0) -> None:
        family = socket.AF_UNIX if isinstance(address, Path) else socket.AF_INET
        self.socket = socket.socket(family, socket.SOCK_STREAM)
        self.socket.settimeout(timeout)
        if family == socket.AF_INET:
            self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.socket.connect(str(address) if isinstance(address, Path) else address)
        self._got = b""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.socket.close()

    def ask(self, request: bytes) -> bytes:
        """Send a request and wait for the whole answer, head and body."""
        self.socket.sendall(request)
        while True:
            if answer := self.receive():
                return answer

    def receive(self) -> bytes:
        """Take what has come. The answer once it is whole, empty before. Raises `Failed` if there is none."""
        part = self.socket.recv(65536)
        if not part:
            raise Failed("the server closed the connection")
        self._got += part
        head = self._got.find(b"\r\n\r\n")
        if head < 0:
            return b""
        length = _LENGTH.search(self._got, 0, head + 2)
        if length is None:
            raise Failed(f"an answer without a length: {self._got[:head]!r}")
        if len(self._got) < head + 4 + int(length[1]):
            return b""
        answer, self._got = self._got, b""
        return answer


def post(body: bytes, path: str = "/predict", content: str = "application/json") -> bytes:
    """The bytes of a request with a body, JSON unless its content type is another."""
    head = f"POST {path} HTTP/1.1\r\nhost: benchmark\r\ncontent-type: {content}\r\n"
    return f"{head}content-length: {len(body)}\r\n\r\n".encode() + body


def version_of(answer: bytes) -> str:
    """Who gave an answer: its ``x-model-version``, empty where it has none."""
    found = _VERSION.search(answer)
    return found[1].decode() if found else ""


def insist_on_200(answer: bytes) -> None:
    """Raises `Failed` for any other status."""
    if not answer.startswith(b"HTTP/1.1 200"):
        raise Failed(f"instead of a 200: {answer[:300]!r}")


def one_by_one(address: Address, request: bytes, seconds: float) -> list[float]:
    """Ask over one connection, each time when the answer is there. Returns the latencies in seconds."""
    latencies = []
    with Client(address) as client:
        over = time.perf_counter() + seconds
        now = time.perf_counter()
        while now < over:
            answer = client.ask(request)
            after = time.perf_counter()
            latencies.append(after - now)
            insist_on_200(answer)
            now = time.perf_counter()
    return latencies


def side_by_side(address: Address, request: bytes, seconds: float, *, connections: int) -> list[float]:
    """Ask over several connections, on each when its answer is there. Returns the latencies in seconds."""
    clients = [Client(address) for _ in range(connections)]
    latencies: list[float] = []
    try:
        with selectors.DefaultSelector() as selector:
            sent = {}
            for client in clients:
                selector.register(client.socket, selectors.EVENT_READ, client)
                sent[client] = time.perf_counter()
                client.socket.sendall(request)
            over = time.perf_counter() + seconds
            while time.perf_counter() < over:
                for key, _ in selector.select(timeout=10):
                    client = key.data
                    if answer := client.receive():
                        latencies.append(time.perf_counter() - sent[client])
                        insist_on_200(answer)
                        sent[client] = time.perf_counter()
                        client.socket.sendall(request)
    finally:
        for client in clients:
            client.socket.close()
    return latencies


def first_200(address: Address, *, within: float, body: bytes | None = None, path: str = "/readyz") -> float:
    """Ask ``GET`` of a path (or, with a body, ``POST /predict``) until it answers 200. Returns when that was.

    Raises `Failed` if it was not within so many seconds.
    """
    request = _health(path) if body is None else _prediction(body)
    over = time.perf_counter() + within
    while time.perf_counter() < over:
        try:
            with Client(address, timeout=1.0 if body is None else within) as client:
                client.socket.sendall(request)
                status = client.socket.recv(64)
        except OSError:
            status = b""
        if status.startswith(b"HTTP/1.1 200"):
            return time.perf_counter()
        time.sleep(0.005)
    raise Failed(f"{address} was not ready within {within:g} s")


def _health(path: str) -> bytes:
    return f"GET {path} HTTP/1.1\r\nhost: benchmark\r\nconnection: close\r\n\r\n".encode()


def _prediction(body: bytes) -> bytes:
    head = (
        "POST /predict HTTP/1.1\r\nhost: benchmark\r\nconnection: close\r\n"
        f"content-type: application/json\r\ncontent-length: {len(body)}\r\n\r\n"
    )
    return head.encode() + body
