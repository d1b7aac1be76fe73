"""A reverse proxy before a real registry that does to its traffic what networks and servers do.

It reads whole messages, so that a test can say of each which fault it meets, and counts bytes of content.
"""

from __future__ import annotations

import http.client
import re
import socket
import ssl
import struct
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

_PIECE = 1 << 16
_OWN = {"transfer-encoding", "connection", "keep-alive", "content-length"}


@dataclass(frozen=True)
class Fault:
    """What happens to one request. Nothing set: it goes through."""

    status: int = 0
    """Answered by the proxy itself, the registry hears nothing of it."""
    headers: Mapping[str, str] = field(default_factory=dict)
    """Set in the answer, whoever gives it; an empty value takes a header away."""
    body: bytes | None = None
    """Instead of the answer's own."""
    cut_request: int | None = None
    """The connection is reset once so many bytes of the request's body came."""
    lose_answer: bool = False
    """The registry does what was asked, and nobody hears of it."""
    cut_answer: int | None = None
    """The connection is reset after so many bytes of the answer's body."""
    corrupt_request: int | None = None
    corrupt_answer: int | None = None
    """The byte at that place is another one."""
    drip: float = 0.0
    """Seconds before each piece of the answer."""
    endless: bool = False
    """The answer's body does not end."""


THROUGH = Fault()
Plan = Callable[[str, str, int], Fault]
"""What happens to a request: its method, path and the size of its body."""


@dataclass(frozen=True)
class Secured:
    """The registry speaks TLS, and so does the proxy, with the same certificate."""

    authority: Path
    certificate: Path
    key: Path

    def server(self) -> ssl.SSLContext:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(self.certificate, self.key)
        return context

    def client(self) -> ssl.SSLContext:
        return ssl.create_default_context(cafile=self.authority)


@dataclass
class Proxy:
    """The proxy; a test may change its plan while it runs."""

    port: int
    host: str = ""
    plan: Plan = lambda *_: THROUGH
    whole: bool = False
    """Bodies go to the registry when they are complete, as nginx does it."""
    narrow: bool = False
    """Bodies of requests come one after the other."""
    secured: Secured | None = None
    interrupt: Callable[[int], bool] = lambda _: False
    """Asked after each part, with all bytes so far in both directions: True resets that connection."""
    sent: int = 0
    """Bytes of content that clients sent, whatever became of them."""
    lost: int = 0
    """Those of them whose request did not come to its end."""
    received: int = 0
    """Bytes of content that went back to clients."""
    requests: list[str] = field(default_factory=list)
    faults: int = 0
    authorized: list[str] = field(default_factory=list)
    """Paths of requests that carried credentials."""
    line: threading.Lock = field(default_factory=threading.Lock)

    def url(self, prefix: str = "team") -> str:
        """To give to a registry's client."""
        return f"{'https' if self.secured else 'http'}://{self.host}/{prefix}"

    def upstream(self) -> http.client.HTTPConnection:
        """A connection to the registry."""
        if self.secured:
            context = self.secured.client()
            return http.client.HTTPSConnection("127.0.0.1", self.port, timeout=30, context=context)
        return http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)

    def count(self, pattern: str) -> int:
        """How many requests there were like that."""
        return sum(1 for request in self.requests if re.search(pattern, request))


@contextmanager
def faulty(
    host: str,
    plan: Plan | None = None,
    *,
    whole: bool = False,
    narrow: bool = False,
    secured: Secured | None = None,
) -> Iterator[Proxy]:
    """A proxy before the registry at that host and port."""
    port = int(host.rpartition(":")[2])
    proxy = Proxy(port, plan=plan or (lambda *_: THROUGH), whole=whole, narrow=narrow, secured=secured)
    handler = type("Handler", (_Handler,), {"proxy": proxy, "context": secured and secured.server()})
    server = _Server(("127.0.0.1", 0), handler)
    proxy.host = f"127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    try:
        yield proxy
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 64

    def handle_error(self, *_: Any) -> None:
        """Connections break here on purpose."""


class _Cut(Exception):
    """The client's connection is to be reset."""


class _Handler(BaseHTTPRequestHandler):
    proxy: Proxy
    context: ssl.SSLContext | None
    protocol_version = "HTTP/1.1"
    timeout = 30

    def setup(self) -> None:
        if self.context:  # here and not where connections are accepted: others need not wait for this one
            self.request = self.context.wrap_socket(self.request, server_side=True)
        self.request.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _PIECE)  # what is counted has come
        super().setup()

    def finish(self) -> None:
        try:
            super().finish()
        finally:
            self.request.close()  # what TLS is spoken on is not what the server will close

    def handle_one_request(self) -> None:
        self.raw_requestline = self.rfile.readline(65537)
        if not self.raw_requestline or not self.parse_request():
            self.close_connection = True
            return
        length = int(self.headers.get("Content-Length") or 0)
        self.proxy.requests.append(f"{self.command} {self.path}")
        if self.headers.get("Authorization"):
            self.proxy.authorized.append(self.path)
        fault = self.proxy.plan(self.command, self.path, length)
        self.proxy.faults += fault != THROUGH
        try:
            self.pass_on(fault, length)
        except (_Cut, OSError, http.client.HTTPException):
            self.reset()

    def pass_on(self, fault: Fault, length: int) -> None:
        if fault.status:
            self.own_answer(fault, length)
            return
        upstream = self.proxy.upstream()
        try:
            self.send_up(upstream, fault, length)
            answer = upstream.getresponse()
            if fault.lose_answer:
                answer.read()
                raise _Cut
            self.send_down(answer, fault)
        finally:
            upstream.close()

    def own_answer(self, fault: Fault, length: int) -> None:
        """Half of the time servers that refuse do not read the body; a piece of it is enough here."""
        self.proxy.sent += len(self.rfile.read(length))
        body = fault.body or b""
        self.send_response_only(fault.status)
        for name, value in {"Content-Length": str(len(body)), **fault.headers}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)
        while fault.endless:
            self.wfile.write(b"x" * _PIECE)
            self.proxy.received += _PIECE

    def send_up(self, upstream: http.client.HTTPConnection, fault: Fault, length: int) -> None:
        body = self.body(fault, length)
        if self.proxy.whole:
            with self.proxy.line if self.proxy.narrow else nullcontext():
                content = b"".join(body)
            body = iter((content,))
        upstream.putrequest(self.command, self.path, skip_host=True, skip_accept_encoding=True)
        for name, value in self.headers.items():
            if name.lower() != "connection":
                upstream.putheader(name, value)
        upstream.endheaders()
        for part in body:
            upstream.send(part)

    def body(self, fault: Fault, length: int) -> Iterator[bytes]:
        position = 0
        try:
            for part in self.parts(fault, length):
                position += len(part)
                yield part
        except BaseException:
            self.proxy.lost += position
            raise

    def parts(self, fault: Fault, length: int) -> Iterator[bytes]:
        position = 0
        while position < length:
            most = min(_PIECE, length - position)
            if fault.cut_request is not None:
                most = min(most, fault.cut_request - position)
                if most <= 0:
                    raise _Cut
            part = self.rfile.read1(most)
            if not part:
                raise _Cut
            self.proxy.sent += len(part)
            yield _changed(part, fault.corrupt_request, position)
            position += len(part)
            self.look_up()

    def send_down(self, answer: http.client.HTTPResponse, fault: Fault) -> None:
        content = b"" if self.command == "HEAD" else None
        headers = {k: v for k, v in answer.getheaders() if k.lower() not in _OWN}
        length = answer.getheader("Content-Length")
        if length is None and content is None:
            content = answer.read()
        if fault.body is not None:
            content = fault.body
        if content is not None and self.command != "HEAD":
            length = str(len(content))
        headers["Content-Length"] = length or "0"
        headers = {k: v for k, v in headers.items() if k.lower() not in {n.lower() for n in fault.headers}}
        self.send_response_only(answer.status)
        for name, value in {**headers, **{k: v for k, v in fault.headers.items() if v}}.items():
            self.send_header(name, value)
        self.end_headers()
        position = 0
        parts = iter((content,)) if content is not None else iter(lambda: answer.read(_PIECE), b"")
        for part in parts:
            if fault.drip:
                time.sleep(fault.drip)
            self.give(part, position, fault)
            position += len(part)

    def give(self, part: bytes, position: int, fault: Fault) -> None:
        part = _changed(part, fault.corrupt_answer, position)
        cut = None if fault.cut_answer is None else max(0, fault.cut_answer - position)
        self.wfile.write(part[:cut])
        self.proxy.received += len(part[:cut])
        self.look_up()
        if cut is not None and cut < len(part):
            self.wfile.flush()
            raise _Cut

    def look_up(self) -> None:
        """Whether the user, or the network, does something to this connection now."""
        if self.proxy.interrupt(self.proxy.sent + self.proxy.received):
            raise _Cut

    def reset(self) -> None:
        self.close_connection = True
        with suppress(OSError):
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            self.connection.close()

    def log_message(self, *_: Any) -> None:
        """Nothing is logged."""


def _changed(part: bytes, place: int | None, position: int) -> bytes:
    if place is None or not position <= place < position + len(part):
        return part
    at = place - position
    return part[:at] + bytes([part[at] ^ 1]) + part[at + 1 :]
