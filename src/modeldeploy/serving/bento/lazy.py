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


class LazyApp:
    """An app for what the fast lane does not answer. ``otherwise`` has the lifespan, and all other paths."""

    def __init__(self, bundle: Path, otherwise: App) -> None:
        self._bundle = bundle
        self._otherwise = otherwise
        self._loading: asyncio.Task[App] | None = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and (scope["path"] in _PATHS or scope["path"].startswith(_BELOW)):
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
