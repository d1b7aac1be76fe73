"""The connections that uvicorn serves: those whose requests the fast lane leaves.

Imported when there is one, for most services never see one, and uvicorn costs time and memory.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from typing import Any

import uvicorn
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
from uvicorn.server import ServerState

from ..lane import App
from .context import BODY_RATE, BODY_TIME, HEAD_TIME, KEEP_ALIVE, Context, log
from .head import MAX_HEAD

IDLE, HEAD, BODY = range(3)


class Handed(HttpToolsProtocol):  # type: ignore[misc]  # uvicorn is not there where types are checked
    """uvicorn's protocol, with the limits of the fast lane: it has none for heads and slow bodies itself."""

    def __init__(self, fallback: Fallback) -> None:
        super().__init__(fallback.config, fallback.state, dict(fallback.app_state))
        self._context = fallback.context
        self._phase = HEAD  # it is handed over because something came
        self._began = time.monotonic()
        self._received = 0
        self._fresh = True  # the bytes at hand may hold more than this message

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        if not self._fresh:
            self._received += len(data)
        self._fresh = False
        if self._phase == HEAD and self._received > MAX_HEAD:
            self._refuse(b"431 Request Header Fields Too Large")

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self._phase = HEAD
        self._began = time.monotonic()
        self._received = 0
        self._fresh = True

    def on_headers_complete(self) -> None:
        super().on_headers_complete()
        self._phase = BODY
        self._received = 0
        if self._context.draining and self.cycle is not None:
            self.cycle.keep_alive = False

    def on_message_complete(self) -> None:
        super().on_message_complete()
        self._phase = IDLE

    def expire(self, now: float) -> None:
        """Close, if the client is past a limit. The idle ones are uvicorn's own to close."""
        if self.flow.read_paused or (self.cycle is not None and self.cycle.waiting_for_100_continue):
            self._began = now  # it is we who let the client wait
        elif self._phase != IDLE:
            limit = HEAD_TIME if self._phase == HEAD else BODY_TIME + self._received / BODY_RATE
            if now - self._began > limit:
                self._refuse(b"408 Request Timeout")

    def _refuse(self, status: bytes) -> None:
        """Close, with an answer unless that would fall into the midst of another."""
        self._phase = IDLE
        if self.transport.is_closing():
            return
        if self.cycle is None or self.cycle.response_complete or not self.cycle.response_started:
            date = self._context.answers.date
            head = b"HTTP/1.1 %b\r\ndate: %b\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"
            self.transport.write(head % (status, date))
        self.transport.close()

    def shutdown(self) -> None:
        """The server stops: the request in flight is the last one; an idle connection has its time."""
        if self.cycle is not None:
            self.cycle.keep_alive = False

    def close_idle(self) -> None:
        """Close, if there is no request: the client had its time."""
        if self._phase == IDLE and (self.cycle is None or self.cycle.response_complete):
            self.transport.close()

    def abort(self) -> None:
        """Close at once."""
        self.transport.abort()


class Fallback:
    """What uvicorn needs to serve connections, without its server."""

    def __init__(self, app: App, app_state: Mapping[str, Any], context: Context) -> None:
        self.context = context
        self.app_state = app_state
        self.state = ServerState()
        self.config = uvicorn.Config(
            app,
            http=HttpToolsProtocol,
            interface="asgi3",
            lifespan="off",
            log_config=None,
            access_log=False,
            server_header=False,
            timeout_keep_alive=int(KEEP_ALIVE),
        )
        self.config.load()
        self.tick()

    def take(self, transport: asyncio.Transport, data: bytes) -> None:
        """Serve this connection, which has sent ``data``."""
        protocol = Handed(self)
        transport.set_protocol(protocol)
        protocol.connection_made(transport)
        protocol.data_received(data)

    def tick(self) -> None:
        """Once a second: the date in answers, and the clients that are past a limit."""
        self.state.default_headers = [(b"date", self.context.answers.date)]
        now = time.monotonic()
        for connection in list(self.state.connections):
            if isinstance(connection, Handed):  # websockets have no such limits
                connection.expire(now)

    def shutdown(self) -> None:
        """The server stops."""
        for connection in list(self.state.connections):
            connection.shutdown()

    def close_idle(self) -> None:
        """Close the connections that nothing happens on."""
        for connection in list(self.state.connections):
            if isinstance(connection, Handed):
                connection.close_idle()

    def abort(self) -> None:
        """Close all connections at once, and end their requests."""
        for task in list(self.state.tasks):
            task.cancel()
        for connection in list(self.state.connections):
            connection.transport.abort()
        if self.state.tasks:
            log.error("requests that did not end in time: %d", len(self.state.tasks))

    @property
    def in_flight(self) -> int:
        """Requests that are not answered yet."""
        return len(self.state.tasks)

    @property
    def connections(self) -> int:
        """Those that are open."""
        return len(self.state.connections)
