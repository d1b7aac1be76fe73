"""A request of the fast lane, given to an ASGI application: for what only BentoML itself can answer."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, MutableMapping
from typing import Any
from urllib.parse import quote

from ..exchange import Exchange, Handler, Request, Response
from ..lane import App, Receive, Scope


def through(app: App, change: Callable[[Response], Response] | None = None) -> Handler:
    """A handler that lets an app answer, and may change the answer. It is put together before it is sent."""
    tasks: set[asyncio.Task[None]] = set()

    def handle(exchange: Exchange) -> None:
        task = asyncio.get_running_loop().create_task(_answer(app, exchange, change))
        tasks.add(task)  # the loop itself holds its tasks only weakly
        task.add_done_callback(tasks.discard)

    return handle


async def _answer(app: App, exchange: Exchange, change: Callable[[Response], Response] | None) -> None:
    try:
        response = await asked(app, scope_of(exchange.request), bytes(exchange.request.body))
    except Exception:  # noqa: BLE001  # Starlette has logged it, and raises it once more for the server
        response = Response(500, b"Internal Server Error", "text/plain; charset=utf-8")
    exchange.reply(change(response) if change else response)


async def asked(app: App, scope: Scope, body: bytes = b"") -> Response:
    """What an app answers."""
    coming = iter([{"type": "http.request", "body": body, "more_body": False}])
    never = asyncio.Event()

    async def receive() -> MutableMapping[str, Any]:
        for message in coming:
            return message
        await never.wait()
        return {"type": "http.disconnect"}

    return await collected(app, scope, receive)


async def collected(app: App, scope: Scope, receive: Receive) -> Response:
    """What an app answers, put together. Raises what it raises."""
    answer = _Answer()
    await app(scope, receive, answer.take)
    return answer.response()


def scope_of(request: Request) -> dict[str, Any]:
    """A request as ASGI describes it."""
    return {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.3"},
        "http_version": "1.1",
        "method": request.method,
        "scheme": "http",
        "path": request.path,
        "raw_path": quote(request.path).encode(),
        "query_string": request.query.encode("latin-1"),
        "root_path": "",
        "headers": [
            (name.encode("latin-1"), value.encode("latin-1")) for name, value in request.headers.items()
        ],
        "client": None,
        "server": None,
        "state": {},
    }


class _Answer:
    """Puts an ASGI answer together."""

    def __init__(self) -> None:
        self._status = 500
        self._headers: list[tuple[str, str]] = []
        self._parts: list[bytes] = []

    async def take(self, message: MutableMapping[str, Any]) -> None:
        if message["type"] == "http.response.start":
            self._status = message["status"]
            self._headers = [
                (name.decode("latin-1").lower(), value.decode("latin-1"))
                for name, value in message.get("headers", ())
            ]
        elif message["type"] == "http.response.body":
            self._parts.append(bytes(message.get("body", b"")))

    def response(self) -> Response:
        media_type = next((value for name, value in self._headers if name == "content-type"), "")
        others = tuple(
            header for header in self._headers if header[0] not in {"content-type", "content-length"}
        )
        return Response(self._status, b"".join(self._parts), media_type, others)
