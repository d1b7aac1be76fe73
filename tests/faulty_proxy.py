"""A proxy in front of an HTTP server that answers for it with errors, loses answers and damages bodies."""

from __future__ import annotations

import http.client
import random
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import urlsplit

SLOW_DOWN = b"<?xml version='1.0'?><Error><Code>SlowDown</Code><Message>Reduce your rate.</Message></Error>"
FAULTS = ("500", "503", "lost answer", "cut answer", "damaged request", "no answer")


@dataclass
class Faults:
    """What goes wrong, by chance. ``done`` counts it."""

    share: float
    kinds: tuple[str, ...] = FAULTS
    seed: int = 0
    done: Counter[str] = field(default_factory=Counter)
    most_in_a_row: int = 2

    def __post_init__(self) -> None:
        self.chance, self.lock, self.row = random.Random(self.seed), threading.Lock(), 0

    def next(self) -> str | None:
        """The fault for this request; not too many after each other, as bounded retries have a bound."""
        with self.lock:
            if self.chance.random() >= self.share or self.row >= self.most_in_a_row:
                self.row = 0
                return None
            self.row += 1
            kind = self.chance.choice(self.kinds)
            self.done[kind] += 1
            return kind


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Proxy

    def pass_on(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        fault = self.server.next_fault()
        if fault == "no answer":
            self.close_connection = True
        elif fault in ("500", "503"):
            self.answer(int(fault), [], SLOW_DOWN if fault == "503" else b"")
        else:
            if fault == "damaged request" and len(body) > 1 << 20:
                body = bytes([body[0] ^ 1]) + body[1:]
            self.relay(body, fault)

    def relay(self, body: bytes, fault: str | None) -> None:
        asked = {name: value for name, value in self.headers.items() if name.lower() not in self.server.drop}
        for _ in range(2 if self.command in self.server.twice else 1):
            upward = http.client.HTTPConnection(self.server.upstream, timeout=30)
            try:
                upward.request(self.command, self.path, body, asked)
                answered = upward.getresponse()
                content, headers = answered.read(), answered.getheaders()
            finally:
                upward.close()
        if fault == "lost answer":
            self.close_connection = True
        else:
            self.answer(answered.status, headers, content, cut=fault == "cut answer" and bool(content))

    def answer(
        self, status: int, headers: list[tuple[str, str]], content: bytes, *, cut: bool = False
    ) -> None:
        self.send_response(status)
        length = str(len(content))
        for name, value in headers:
            if name.lower() == "content-length":
                length = value
            elif name.lower() not in ("connection", "transfer-encoding", "date", "server"):
                self.send_header(name, value)
        self.send_header("Content-Length", length)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content[: len(content) // 2 if cut else None])
        self.close_connection = self.close_connection or cut

    def log_message(self, *args: object) -> None:
        pass


for _method in ("GET", "PUT", "POST", "HEAD", "DELETE"):
    setattr(Handler, f"do_{_method}", Handler.pass_on)


class Proxy(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(
        self,
        upstream: str,
        next_fault: Callable[[], str | None],
        drop: tuple[str, ...],
        twice: tuple[str, ...],
    ) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.upstream, self.next_fault = urlsplit(upstream).netloc, next_fault
        self.drop, self.twice = drop, twice


@contextmanager
def proxy(
    upstream: str,
    next_fault: Callable[[], str | None],
    *,
    drop: tuple[str, ...] = (),
    twice: tuple[str, ...] = (),
) -> Iterator[str]:
    """Runs on a free port; yields its address.

    ``drop`` are headers that the server does not get, in lower case; ``twice`` methods that it gets twice.
    """
    server = Proxy(upstream, next_fault, drop, twice)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
