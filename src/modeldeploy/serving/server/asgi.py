"""The fast lane's routes as an ASGI application, with the same answers, for any server of such.

It serves what was handed to uvicorn, and the same bundle under ``bentoml serve``.
"""

from __future__ import annotations

import asyncio
import itertools
import logging
import os
import time
from collections.abc import Mapping
from typing import Any

from ..exchange import Exchange, Request, Response, Route, Routes
from ..lane import App, Receive, Scope, Send
from .answers import checked, failure, no_room, refused_method, too_large
from .context import Report, Room
from .head import accepted_id

log = logging.getLogger("mdeploy_serving")

_IDS = itertools.count()
_OWN = os.urandom(8).hex()


def as_app(
    routes: Routes,
    app: App,
    *,
    report: Report | None = None,
    refuses_methods: bool = True,
    room: Room | None = None,
) -> App:
    """``app`` with these routes in front of it.

    ``report`` hears of each answer; other methods of a route's path are answered with 405, or left to the
    app if ``refuses_methods`` is false. ``room`` bounds the bodies that are read at once.
    """

    async def serve(scope: Scope, receive: Receive, send: Send) -> None:
        route = _route(routes, scope) if scope["type"] == "http" else None
        if route is not None:
            await _answer(AsgiExchange(scope, route, receive, send, room), report)
            return
        allowed = routes.methods(_path(scope)) if scope["type"] == "http" and refuses_methods else ()
        if not allowed or scope["method"] == "OPTIONS":
            await app(scope, receive, send)
            return
        await send_response(send, refused_method(scope["method"], _path(scope), allowed), new_id())

    return serve


def new_id() -> str:
    """An id for a request, as the lane's connections make them."""
    return f"{_OWN}-{next(_IDS):x}"


class AsgiExchange(Exchange):
    """A request of an ASGI server."""

    __slots__ = ("_answer", "_held", "_id", "_receive", "_room", "route", "send")

    def __init__(
        self, scope: Scope, route: Route, receive: Receive, send: Send, room: Room | None = None
    ) -> None:
        headers = _headers(scope)
        query = scope.get("query_string", b"").decode("latin-1")
        super().__init__(Request(scope["method"], _path(scope), headers, b"", query), time.monotonic())
        given = accepted_id(headers.get("x-request-id", ""))
        self._id = given.decode() if given else new_id()
        self._answer: asyncio.Future[Response] = asyncio.get_running_loop().create_future()
        self._receive = receive
        self._room, self._held = room, 0
        self.route = route
        self.send = send

    @property
    def request_id(self) -> str:
        return self._id

    def reply(self, response: Response) -> None:
        if not self._answer.done():
            self._answer.set_result(response)

    async def read(self) -> Response | None:
        """The body; a refusal as soon as it is known to be too large. A client that hangs up is `gone`."""
        most = self.route.max_body
        if int(self.request.headers.get("content-length") or 0) > most:
            return too_large(most)
        body = bytearray()
        more = True
        while more and not self.gone:
            message = await self._receive()
            part = message.get("body", b"")
            more = message.get("more_body", False)
            self.gone = message["type"] == "http.disconnect"
            if len(body) + len(part) > most:
                return too_large(most)
            if not self._take(len(part)):
                return no_room()
            body += part
        self.request.body = body
        return None

    def _take(self, size: int) -> bool:
        if self._room is None:
            return True
        fits = self._room.take(size)
        self._held += size if fits else 0
        return fits

    def release(self) -> None:
        """Give back the room that the body took."""
        if self._room is not None:
            self._room.give(self._held)
            self._held = 0

    async def answer(self) -> Response | None:
        """The handler's; None if the client hung up before."""
        try:
            self.route.handler(self)
        except Exception:
            log.exception("%s failed; request %s", self.request.path, self.request_id)
            self.reply(failure(self.request_id))
        if not self._answer.done():
            left: asyncio.Future[None] = asyncio.ensure_future(self._until_gone())
            either: set[asyncio.Future[Any]] = {self._answer, left}
            try:
                await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
            finally:
                self.gone = not self._answer.done()
                left.cancel()
            if self.gone and self.on_gone is not None:
                self.on_gone()
        return None if self.gone else self._answer.result()

    async def _until_gone(self) -> None:
        while (await self._receive())["type"] != "http.disconnect":
            pass


async def _answer(exchange: AsgiExchange, report: Report | None) -> None:
    try:
        response = await exchange.read()
        if response is not None and "expect" in exchange.request.headers:
            # the client may send the body now or not: only the connection's end makes it clear
            response.headers += (("connection", "close"),)
        elif response is None and not exchange.gone:
            response = await exchange.answer()
    finally:
        exchange.release()
    if response is not None:
        await _send_safely(exchange, response)
    if report is not None and exchange.route.counted:
        status = 499 if response is None else response.status
        report(exchange.route, exchange, status, time.monotonic() - exchange.began)


async def _send_safely(exchange: AsgiExchange, response: Response) -> None:
    try:
        await send_response(exchange.send, response, exchange.request_id)
    except ValueError:
        log.exception("no answer for request %s", exchange.request_id)
        await send_response(exchange.send, failure(exchange.request_id), exchange.request_id)


async def send_response(send: Send, response: Response, request_id: str) -> None:
    """Raises ValueError, before anything is sent, for headers that are none."""
    body = b"" if response.status in {204, 304} else bytes(response.body)
    headers = [*response.headers, ("x-request-id", request_id)]
    if response.media_type:
        headers.append(("content-type", response.media_type))
    if response.status not in {204, 304}:
        headers.append(("content-length", str(len(body))))
    for header in headers:
        checked(*header)
    raw = [(name.encode("latin-1"), value.encode("latin-1")) for name, value in headers]
    await send({"type": "http.response.start", "status": response.status, "headers": raw})
    await send({"type": "http.response.body", "body": body})


def _path(scope: Scope) -> str:
    """Of the app, where a server mounts it on a path."""
    path: str = scope["path"]
    return path.removeprefix(scope.get("root_path") or "")


def _route(routes: Routes, scope: Scope) -> Route | None:
    method: str = scope["method"]
    route = routes.find(method, _path(scope))
    if route is None and method == "HEAD":
        return routes.find("GET", _path(scope))
    return route


def _headers(scope: Scope) -> Mapping[str, str]:
    headers: dict[str, str] = {}
    for raw_name, raw_value in scope["headers"]:
        name, value = raw_name.decode("latin-1").lower(), raw_value.decode("latin-1").strip(" \t")
        headers[name] = f"{headers[name]}, {value}" if name in headers else value
    return headers
