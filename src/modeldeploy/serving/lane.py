"""A service as the server sees it: the paths of the fast lane, and the app for everything else."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, MutableMapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from .exchange import Routes

if TYPE_CHECKING:
    from .server.context import Room

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]
"""An ASGI application."""


class Companion(Protocol):
    """What serves beside HTTP, on the same event loop: gRPC."""

    async def start(self, address: str, room: Room) -> None:
        """Listen on ``host:port`` or ``unix:PATH``, after the lane has started. Raises OSError if taken.

        ``room`` is what all bodies together may take.
        """

    async def stop(self, grace: float) -> None:
        """Take no new calls, and let those in flight end, ``grace`` seconds at most."""


@dataclass(frozen=True, slots=True)
class Lane:
    """One service. Made before the server listens; `start` and `stop` run on its event loop.

    The server starts in this order: the app's lifespan, `start`, the companion; and stops in the reverse.
    It answers ``/livez``, ``/healthz`` and ``/readyz`` from `ready`, unless `routes` has such paths.
    """

    routes: Routes
    app: App
    """Answers every path that `routes` does not have, and has the lifespan. BentoML's own; for a generated
    service it is imported when it is first asked, for most of those never are."""
    ready: Callable[[], bool]
    start: Callable[[], Awaitable[None]]
    """Loads and warms; raises what keeps the service from starting."""
    stop: Callable[[], Awaitable[None]]
    """After the last request was answered."""
    grpc: Companion | None = None
    """Serves gRPC where the worker is told an address for it (``--grpc-port``, ``--grpc-socket``)."""
    rescue: Callable[[], bool] | None = None
    """Asks runs of the model that are past their deadline to end; true while there are any in threads. Called
    from a thread once a second. Without it nobody judges whether the process is of use still."""
    refuses_methods: bool = True
    """Other methods of a path in `routes` are answered with 405; false leaves them to the app."""
