"""BentoML's own pages of a generated service, imported when somebody first asks for one.

Clients of BentoML ask for ``/schema.json`` once; most services never see one. Until then a worker does
without BentoML, pydantic and Starlette: less memory, and ready sooner. The models are the worker's own:
nothing is loaded a second time.
"""

from __future__ import annotations

import asyncio
import logging
from pathlib import Path

from ..lane import App, Receive, Scope, Send

log = logging.getLogger("mdeploy_serving")

_PATHS = frozenset({"/", "/schema.json", "/docs.json"})
_BELOW = "/static_content/"


def lazy_app(bundle: Path, *, otherwise: App | None = None) -> App:
    """An app for what the fast lane does not answer. ``otherwise`` answers the paths that BentoML lacks."""
    return _Late(bundle, otherwise or not_found)


class _Late:
    def __init__(self, bundle: Path, otherwise: App) -> None:
        self._bundle = bundle
        self._otherwise = otherwise
        self._loading: asyncio.Task[App] | None = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await _live(receive, send)
        elif scope["type"] == "http" and (scope["path"] in _PATHS or scope["path"].startswith(_BELOW)):
            await (await self._app())(scope, receive, send)
        else:
            await self._otherwise(scope, receive, send)

    async def _app(self) -> App:
        """BentoML's, made in a thread: the event loop goes on meanwhile."""
        if self._loading is None:
            self._loading = asyncio.ensure_future(asyncio.to_thread(_load, self._bundle))
        try:
            return await asyncio.shield(self._loading)  # whoever asked first may hang up
        except Exception:
            log.exception("BentoML's own pages cannot be shown")
            return self._otherwise


def _load(bundle: Path) -> App:
    """Never started: schemas and pages need neither the service's object nor its models."""
    from .application import Built, load_service

    def nothing(*_: object) -> None:
        """What would start does not."""

    return Built(load_service(bundle), started=nothing, stopped=nothing).app


async def _live(receive: Receive, send: Send) -> None:
    while True:
        message = await receive()
        await send({"type": f"{message['type']}.complete"})
        if message["type"] == "lifespan.shutdown":
            return


async def not_found(scope: Scope, receive: Receive, send: Send) -> None:  # noqa: ARG001  # an app's signature
    """404 as BentoML says it; a websocket is refused."""
    if scope["type"] == "websocket":
        await send({"type": "websocket.close", "code": 1000})
        return
    headers = [(b"content-type", b"text/plain; charset=utf-8"), (b"content-length", b"9")]
    await send({"type": "http.response.start", "status": 404, "headers": headers})
    await send({"type": "http.response.body", "body": b"Not Found"})
