"""Liveness and readiness, apart from each other: a process that lives may have nothing to answer with yet."""

from __future__ import annotations

from collections.abc import Callable

from ..exchange import Exchange, Response, Route, Routes

LIVE = ("/livez", "/healthz")
READY = "/readyz"
_TEXT = "text/plain; charset=utf-8"
_MOST = 64 * 1024
"""Bytes of a body that a probe may send, which nobody reads."""


def with_health(routes: Routes, ready: Callable[[], bool]) -> Routes:
    """The routes, and those of health checks where they have none of these names.

    Live is who answers. Ready is who would answer a prediction, too: the others answer 503.
    """
    together = Routes()
    for route in routes:
        together.add(route)

    def live(exchange: Exchange) -> None:
        exchange.reply(Response(200, b"\n", _TEXT))

    def readiness(exchange: Exchange) -> None:
        if ready():
            exchange.reply(Response(200, b"\n", _TEXT))
        else:
            exchange.reply(Response(503, b"not ready\n", _TEXT, (("retry-after", "1"),)))

    for path, handler in (*((path, live) for path in LIVE), (READY, readiness)):
        if not together.methods(path):
            together.add(Route("GET", path, handler, path, _MOST, counted=False))
    return together
