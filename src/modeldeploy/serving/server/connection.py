"""One connection of the fast lane.

It reads one request after the other, gives each to its route's handler, and writes the answer when the
handler has it: no task, no future, no queue in between. A connection holds one request at a time, so
answers come in the order of the requests, and the next ones wait in a buffer that is bounded.

A request that is not of the strict form (`head`), or whose path is not of the lane, is handed to uvicorn
with the connection, from its first byte on, when the ones before it are answered. The connection stays
there: what uvicorn serves has the same routes (`asgi`).
"""

from __future__ import annotations

import asyncio
import logging
import re
import time
from typing import cast

from ..exchange import Exchange, Request, Response, Route
from .answers import failure, no_room, refusal, refused_method, too_large
from .context import (
    BODY_RATE,
    BODY_TIME,
    HEAD_TIME,
    HIGH_WATER,
    KEEP_ALIVE,
    LINGER,
    STALLED,
    Context,
)
from .head import END, MAX_HEAD, Head

log = logging.getLogger("mdeploy_serving")

IDLE, HEAD, BODY, BUSY, CLOSING = range(5)
"""What a connection waits for: a request, the rest of its head, of its body, its answer, the end."""
_LARGE = 64 * 1024
_BARE = re.compile(rb"[^\r]\n|\A[^A-Z]")
"""Never part of a strict head, so there is no use in waiting for its end."""


class LaneExchange(Exchange):
    """A request of a connection of the fast lane."""

    __slots__ = ("_connection", "id", "route")

    def __init__(
        self, request: Request, began: float, connection: Connection, route: Route, request_id: bytes
    ) -> None:
        self.request = request  # not by super(): this runs for every request
        self.began = began
        self.gone = False
        self.on_gone = None
        self.id = request_id
        self.route = route
        self._connection = connection

    @property
    def request_id(self) -> str:
        return self.id.decode()

    def reply(self, response: Response) -> None:
        self._connection.answer(self, response)


class Connection(asyncio.Protocol):
    """The protocol of a transport, until it is handed over."""

    __slots__ = (
        *("_began", "_body", "_buffer", "_context", "_exchange", "_head", "_held", "_in_loop", "_paused"),
        *("_route", "_since", "_stalled", "_transport", "_unsent", "phase"),
    )

    def __init__(self, context: Context) -> None:
        self._context = context
        self._transport: asyncio.Transport = cast("asyncio.Transport", None)
        self.phase = IDLE
        self._since = 0.0  # when it began to wait for what it waits for
        self._began = 0.0  # when the request's first byte came
        self._buffer = b""
        self._body: bytearray | None = None
        self._head: Head | None = None
        self._route: Route | None = None
        self._exchange: LaneExchange | None = None
        self._in_loop = False  # `_read` goes on with the next request by itself
        self._paused = False  # no reading
        self._stalled = False  # the client does not read
        self._unsent = 0
        self._held = 0  # of the room for bodies

    # what the transport tells

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        self._since = time.monotonic()
        self._context.connections.add(self)

    def data_received(self, data: bytes) -> None:
        phase = self.phase
        if phase == IDLE:
            self._began = time.monotonic()
            self._read(data)
        elif phase == BODY:
            self._read_body(data)
        elif phase == BUSY:
            self._keep(data)
        elif phase == HEAD:
            data, self._buffer = self._buffer + data, b""
            self._read(data)

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002  # asyncio's signature
        self._context.connections.discard(self)
        self._release()
        exchange, self._exchange = self._exchange, None
        self.phase = CLOSING
        if exchange is not None:
            exchange.gone = True
            self._context.tell(exchange.route, exchange, 499, time.monotonic() - exchange.began)
            if exchange.on_gone is not None:
                try:
                    exchange.on_gone()
                except Exception:
                    log.exception("request %s was not called off", exchange.request_id)

    def pause_writing(self) -> None:
        self._stalled = True
        self._since = time.monotonic()
        self._unsent = self._transport.get_write_buffer_size()

    def resume_writing(self) -> None:
        self._stalled = False
        if self._exchange is None and self.phase == BUSY and not self._in_loop:
            self._next()

    # reading

    def _read(self, data: bytes) -> None:
        """Serve the requests in ``data``, each before the next is looked at."""
        self._in_loop = True
        while data:
            end = data.find(END, 0, MAX_HEAD)
            if end < 0:
                self._read_head(data)
                break
            end += 4
            head = self._context.heads.read(data[:end])
            route = None if head is None else self._context.find(head.method, head.path)
            if head is None or route is None:
                self._pass_on(head, data)
                break
            if len(data) - end < head.length:
                self._begin_body(head, route, data[end:])
                break
            rest = end + head.length
            self._buffer = data[rest:]
            self._serve(head, route, data[end:rest])
            if self.phase != IDLE:
                break
            data, self._buffer = self._buffer, b""
            self._began = self._since
        self._in_loop = False

    def _read_head(self, data: bytes) -> None:
        """Wait for the rest of a head, unless it is too long or not a strict one anyhow."""
        if len(data) >= MAX_HEAD:
            self._refuse(refusal(431, f"the request's head is larger than {MAX_HEAD} bytes"))
        elif _BARE.search(data):
            self._leave(data)
        else:
            self.phase = HEAD
            self._buffer = data

    def _begin_body(self, head: Head, route: Route, part: bytes) -> None:
        """Wait for the rest of a body, unless it is more than the route takes."""
        if head.length > route.max_body:
            self._refuse_body(head, route)
            return
        self.phase = BODY
        self._head, self._route, self._body = head, route, bytearray()
        self._read_body(part)

    def _read_body(self, data: bytes) -> None:
        head, route, body = self._head, self._route, self._body
        if head is None or route is None or body is None:  # only to tell the types: BODY has all three
            return
        if not self._context.room.take(len(data)):
            self._refuse(no_room())
            return
        self._held += len(data)
        missing = head.length - len(body)
        if len(data) < missing:
            body += data
            return
        self._head = self._route = self._body = None
        if len(data) == missing:
            body += data
        else:
            body += data[:missing]
            self._buffer = data[missing:]
        self._in_loop = True
        self._serve(head, route, body)
        self._in_loop = False
        if self.phase == IDLE:
            self._next()

    def _release(self) -> None:
        """Give back the room that the body took."""
        self._context.room.give(self._held)
        self._held = 0

    def _keep(self, data: bytes) -> None:
        """Hold what comes before its turn; not much of it."""
        self._buffer += data
        if len(self._buffer) > HIGH_WATER and not self._paused:
            self._paused = True
            self._transport.pause_reading()

    def _next(self) -> None:
        """The answer is written: go on with what came meanwhile."""
        self.phase = IDLE
        if self._paused:
            self._paused = False
            self._transport.resume_reading()
        if self._buffer:
            data, self._buffer = self._buffer, b""
            self._began = time.monotonic()
            self._read(data)

    # serving

    def _serve(self, head: Head, route: Route, body: bytes | bytearray) -> None:
        context = self._context
        if len(body) > route.max_body:
            self._refuse_body(head, route)
            return
        request = Request(head.method, head.path, head.headers, body, head.query)
        exchange = LaneExchange(request, self._began, self, route, head.request_id or context.new_id())
        self._exchange = exchange
        self._head = head
        self.phase = BUSY
        try:
            route.handler(exchange)
        except Exception:
            log.exception("%s %s failed; request %s", head.method, head.path, exchange.request_id)
            exchange.reply(failure(exchange.request_id))

    def answer(self, exchange: LaneExchange, response: Response) -> None:
        """Write the answer, unless there was one or nobody waits for it."""
        if self._exchange is not exchange:
            return
        head, context = self._head, self._context
        close = (head is not None and head.close) or (context.draining and not self._buffer)
        try:
            start = context.answers.head(response, exchange.id, close=close)
        except ValueError:
            log.exception("no answer for request %s", exchange.request_id)
            response = failure(exchange.request_id)
            start = context.answers.head(response, exchange.id, close=close)
        self._exchange = self._head = None
        if self._held:
            self._release()
        self._write(start, response, bodiless=exchange.request.method == "HEAD")
        self._since = now = time.monotonic()
        context.tell(exchange.route, exchange, response.status, now - exchange.began)
        if close:
            self.phase = CLOSING
            self._transport.close()
        elif not self._stalled:
            if self._in_loop:
                self.phase = IDLE
            else:
                self._next()

    def _write(self, start: bytes, response: Response, *, bodiless: bool) -> None:
        body = response.body
        if bodiless or response.status in {204, 304}:
            self._transport.write(start)
        elif len(body) < _LARGE:
            self._transport.write(start + body)
        else:
            self._transport.writelines((start, body))

    # what is not served here

    def _pass_on(self, head: Head | None, data: bytes) -> None:
        """A request that the lane does not answer."""
        allowed = () if head is None else self._context.routes.methods(head.path)
        if head is None or not allowed or head.method == "OPTIONS" or not self._context.refuses_methods:
            self._leave(data)
            return
        self._head = head
        self._refuse(refused_method(head.method, head.path, allowed))

    def _leave(self, data: bytes) -> None:
        """Hand the connection over."""
        self._context.connections.discard(self)
        self.phase = CLOSING
        self._context.hand_over(self._transport, data)

    def _refuse_body(self, head: Head, route: Route) -> None:
        self._head, self._route = head, route
        self._refuse(too_large(route.max_body))

    def _refuse(self, response: Response) -> None:
        """Answer what is not read to its end, and close: where the next request begins, nobody knows.

        What the client still sends is dropped for a while: closed at once, with bytes unread, the
        connection would be reset, and the answer lost.
        """
        head, route = self._head, self._route
        request_id = (head and head.request_id) or self._context.new_id()
        bodiless = head is not None and head.method == "HEAD"
        self._write(self._context.answers.head(response, request_id, close=True), response, bodiless=bodiless)
        self._since = time.monotonic()
        if head is not None and route is not None:
            request = Request(head.method, head.path, head.headers, b"", head.query)
            exchange = LaneExchange(request, self._began, self, route, request_id)
            self._context.tell(route, exchange, response.status, self._since - self._began)
        self.phase = CLOSING
        self._buffer, self._body = b"", None
        self._release()
        if self._transport.can_write_eof():
            self._transport.write_eof()

    # time

    def expire(self, now: float) -> None:
        """Close, if the client is past a limit."""
        if self._stalled or self.phase == CLOSING:
            self._expire_unsent(now)
        elif self.phase == IDLE and now - self._since > KEEP_ALIVE:
            self._transport.close()
        elif self.phase == HEAD and now - self._began > HEAD_TIME:
            self._refuse(refusal(408, f"the request's head did not come in {HEAD_TIME:g} s"))
        elif self.phase == BODY and now - self._began > BODY_TIME + len(self._body or b"") / BODY_RATE:
            self._refuse(refusal(408, f"the body came slower than {BODY_RATE} bytes a second"))

    def _expire_unsent(self, now: float) -> None:
        unsent = self._transport.get_write_buffer_size()
        if unsent < self._unsent:
            self._since = now
        self._unsent = unsent
        if now - self._since > (STALLED if unsent else LINGER):
            self._transport.abort()

    def idle_since(self) -> float | None:
        """Since when it has nothing to do; None while it has."""
        return self._since if self.phase == IDLE else None

    def close(self) -> None:
        """Close when what is written is sent."""
        self._transport.close()

    def abort(self) -> None:
        """Close at once."""
        self._transport.abort()
