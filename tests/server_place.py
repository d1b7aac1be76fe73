"""A server of the fast lane in a thread of the test, and raw connections to it."""

from __future__ import annotations

import asyncio
import re
import socket
import threading
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import uvloop

from modeldeploy.serving.exchange import Exchange, Response, Route, Routes
from modeldeploy.serving.lane import Lane, Receive, Scope, Send
from modeldeploy.serving.server.context import Report
from modeldeploy.serving.server.serve import Server


async def nothing() -> None:
    """Starts and stops nothing."""


async def app(scope: Scope, receive: Receive, send: Send) -> None:
    """The app behind a lane: tells what it was asked."""
    if scope["type"] == "lifespan":
        while (message := await receive())["type"] != "lifespan.shutdown":
            await send({"type": f"{message['type']}.complete"})
        await send({"type": "lifespan.shutdown.complete"})
        return
    body, more = b"", True
    while more:
        message = await receive()
        body += message.get("body", b"")
        more = message.get("more_body", False)
    told = f"app {scope['method']} {scope['path']} {len(body)}".encode()
    headers = [(b"content-type", b"text/plain"), (b"content-length", b"%d" % len(told))]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": told})


@dataclass
class TestRoutes:
    """Handlers that a test needs. ``held`` are the exchanges that wait for `release`."""

    __test__ = False
    held: list[Exchange] = field(default_factory=list)
    seen: list[Exchange] = field(default_factory=list)

    def routes(self) -> Routes:
        found = Routes()
        for method, path, handler in (
            ("POST", "/echo", self.echo),
            ("GET", "/hello", self.hello),
            ("POST", "/hold", self.held.append),
            ("POST", "/fail", self.fail),
            ("POST", "/twice", self.twice),
            ("POST", "/large", self.large),
            ("POST", "/broken", self.broken),
        ):
            found.add(Route(method, path, handler, path, 100_000))
        return found

    def echo(self, exchange: Exchange) -> None:
        self.seen.append(exchange)
        exchange.reply(Response(200, bytes(exchange.request.body), "application/octet-stream"))

    def hello(self, exchange: Exchange) -> None:
        self.seen.append(exchange)
        exchange.reply(Response(200, b'"hello"', headers=(("x-more", exchange.request.query),)))

    def fail(self, exchange: Exchange) -> None:
        raise RuntimeError(f"secret of {exchange.request.path}")

    def twice(self, exchange: Exchange) -> None:
        exchange.reply(Response(200, b"1"))
        exchange.reply(Response(200, b"2"))

    def large(self, exchange: Exchange) -> None:
        exchange.reply(Response(200, b"x" * int(bytes(exchange.request.body))))

    def broken(self, exchange: Exchange) -> None:
        exchange.reply(Response(200, b"", headers=(("x-bad", "a\r\nset-cookie: b"),)))


@dataclass
class Running:
    """A server that serves in a thread."""

    path: Path
    server: Server
    loop: asyncio.AbstractEventLoop
    handlers: TestRoutes
    ready: list[bool]
    drained: threading.Event

    def connect(self) -> socket.socket:
        connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        connection.settimeout(10)
        connection.connect(str(self.path))
        return connection

    def ask(self, data: bytes) -> tuple[int, dict[str, str], bytes]:
        """The answer to a request on a connection of its own."""
        with self.connect() as connection:
            connection.sendall(data)
            return read_answer(connection)

    def call(self, function: Callable[[], Any]) -> Any:
        """Run something on the server's thread."""

        async def called() -> Any:
            return function()

        return asyncio.run_coroutine_threadsafe(called(), self.loop).result(10)

    def run(self, awaitable: Callable[[], Awaitable[Any]]) -> Any:
        async def called() -> Any:
            return await awaitable()

        return asyncio.run_coroutine_threadsafe(called(), self.loop)


@contextmanager
def running(
    folder: Path,
    *,
    report: Report | None = None,
    behind: Any = app,
    refuses_methods: bool = True,
    loop: Callable[[], asyncio.AbstractEventLoop] = uvloop.new_event_loop,
) -> Iterator[Running]:
    """A server of `TestRoutes` on a unix socket in ``folder``."""
    handlers, ready = TestRoutes(), [True]
    lane = Lane(
        handlers.routes(), behind, lambda: ready[0], nothing, nothing, refuses_methods=refuses_methods
    )
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    path = folder / "s.sock"
    listener.bind(str(path))
    begun: list[Running] = []
    is_up, over, drained = threading.Event(), threading.Event(), threading.Event()

    async def main() -> None:
        server = Server(lane, listener, report=report)
        await server.start()
        server.listen()
        begun.append(Running(path, server, asyncio.get_running_loop(), handlers, ready, drained))
        is_up.set()
        await asyncio.to_thread(over.wait)
        if not drained.is_set():
            await server.drain(0.05)
        await server.stop()

    def serve() -> None:
        with asyncio.Runner(loop_factory=loop) as runner:
            runner.run(main())

    thread = threading.Thread(target=serve)
    thread.start()
    try:
        assert is_up.wait(10)
        yield begun[0]
    finally:
        over.set()
        thread.join(20)
        listener.close()
    assert not thread.is_alive()


def request(
    path: str = "/echo", body: bytes = b"", *, method: str = "POST", headers: tuple[str, ...] = ()
) -> bytes:
    """A request as clients write it."""
    lines = [f"{method} {path} HTTP/1.1", "Host: here", f"Content-Length: {len(body)}", *headers]
    return "\r\n".join([*lines, "", ""]).encode("latin-1") + body


def read_answer(connection: socket.socket, *, bodiless: bool = False) -> tuple[int, dict[str, str], bytes]:
    """One answer, by its length or to the end, and no byte more."""
    head = b""
    while not head.endswith(b"\r\n\r\n"):
        byte = connection.recv(1)
        assert byte, f"the connection ended after {head!r}"
        head += byte
    status, *lines = head.decode("latin-1").split("\r\n")[:-2]
    headers = {name.lower(): value for name, value in (line.split(": ", 1) for line in lines)}
    assert re.fullmatch(r"HTTP/1\.1 \d{3} .*", status), status
    body, length = b"", 0 if bodiless else int(headers["content-length"])
    while len(body) < length:
        part = connection.recv(length - len(body))
        assert part, "the connection ended in the body"
        body += part
    return int(status.split()[1]), headers, body


def is_closed(connection: socket.socket) -> bool:
    """Whether the other side ends the connection, within the socket's time limit."""
    try:
        return connection.recv(1) == b""
    except ConnectionResetError:
        return True
