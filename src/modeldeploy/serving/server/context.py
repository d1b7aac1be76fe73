"""What all connections of a server have in common, and the limits that it sets its clients."""

from __future__ import annotations

import asyncio
import itertools
import logging
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from ..exchange import Exchange, Route, Routes
from ..observe.base import Meter, Watcher
from .answers import Answers
from .head import Heads

log = logging.getLogger("mdeploy_serving")

KEEP_ALIVE = 75.0
"""Seconds that an idle connection stays open: longer than a proxy's, so that the proxy closes first."""
HEAD_TIME = 10.0
"""Seconds from a head's first byte to its last."""
BODY_TIME = 10.0
"""Seconds that a body may take however small it is; beyond them it has to come at `BODY_RATE`."""
BODY_RATE = 1024
"""Bytes a second of a body, at least: less is a client that only means to hold the connection."""
LINGER = 5.0
"""Seconds that what a refused client still sends is read and dropped, so that it sees the answer."""
STALLED = 60.0
"""Seconds without a byte taken after which a client does not read its answer."""
HIGH_WATER = 64 * 1024
"""Bytes that are kept of a client's next requests while it waits for an answer, or does not read it."""

_SHARE = 4
"""Of the memory that the machine or the container has, large bodies get one part in so many."""
_LEAST_BODIES = 2
"""Of the largest allowed, there is room for so many in any case."""

Report = Callable[[Route, Exchange, int, float], None]
"""Called with every answer of a route that is counted: its status and its seconds."""
HandOver = Callable[[asyncio.Transport, bytes], None]
"""Gives a transport to the other protocol, and what it has received."""


@dataclass(slots=True)
class Room:
    """Memory for the bodies of all connections, from their first bytes until they are answered.

    Each of them is bounded, but there may be thousands of connections. Those that came whole, with their
    heads, are small and not counted.
    """

    most: int
    """Bytes."""
    held: int = 0

    def take(self, size: int) -> bool:
        """Whether there is room for so many more bytes; then they are taken."""
        fits = self.held + size <= self.most
        if fits:
            self.held += size
        return fits

    def give(self, size: int) -> None:
        """Give back what was taken."""
        self.held -= size


def room_for(routes: Routes, *, memory: int) -> Room:
    """A share of the memory, in bytes, that one process may use; never too little for one large body."""
    largest = max((route.max_body for route in routes), default=0)
    return Room(max(memory // _SHARE, _LEAST_BODIES * largest))


class Timed(Protocol):
    """A connection that the server looks at once a second."""

    def expire(self, now: float) -> None:
        """Close, if the client is past a limit. ``now`` by ``time.monotonic()``."""


@dataclass(slots=True)
class Context:
    """Shared by the connections of one server."""

    routes: Routes
    hand_over: HandOver
    report: Report | None = None
    refuses_methods: bool = True
    """Other methods of a path in ``routes`` are answered with 405, rather than handed to the app."""
    room: Room = field(default_factory=lambda: Room(2**62))
    heads: Heads = field(default_factory=Heads)
    answers: Answers = field(default_factory=Answers)
    connections: set[Timed] = field(default_factory=set)
    """Those of the fast lane; the others are uvicorn's."""
    draining: bool = False
    _ids: itertools.count[int] = field(default_factory=itertools.count)
    _own: bytes = field(default_factory=lambda: os.urandom(8).hex().encode())

    def new_id(self) -> bytes:
        """An id for a request: no other process has it, and nobody can guess the next process's."""
        return b"%b-%x" % (self._own, next(self._ids))

    def find(self, method: str, path: str) -> Route | None:
        """The route of a request. HEAD is a GET whose answer has no body."""
        route = self.routes.find(method, path)
        if route is None and method == "HEAD":
            return self.routes.find("GET", path)
        return route

    def tell(self, route: Route, exchange: Exchange, status: int, seconds: float) -> None:
        """Report an answer. Whoever counts must not keep clients from their answers."""
        if self.report is None or not route.counted:
            return
        try:
            self.report(route, exchange, status, seconds)
        except Exception:
            log.exception("an answer was not counted")


def reporting(meter: Meter | None, watchers: Sequence[Watcher]) -> Report | None:
    """One call for all who want to hear of answers; None if nobody does."""
    if meter is None and not watchers:
        return None

    def report(route: Route, exchange: Exchange, status: int, seconds: float) -> None:
        if meter is not None:
            meter.answered(route, status, seconds)
        for watcher in watchers:
            watcher.watched(route, exchange, status, seconds)

    return report
