"""What the parts of a service report to whoever counts."""

from __future__ import annotations

from typing import Protocol

from ..exchange import Exchange, Route


class Meter(Protocol):
    """Counts. Called on the event loop's thread for every request, so each call takes well below 1 us."""

    def answered(self, route: Route, status: int, seconds: float) -> None:
        """A request of the fast lane was answered, ``seconds`` after its first byte. 499: the client left."""

    def ran(self, rows: int, jobs: int, seconds: float) -> None:
        """The model ran once, for so many rows of so many requests."""

    def failed(self, jobs: int) -> None:
        """The model raised, for so many requests."""

    def queue(self, jobs: int) -> None:
        """So many requests wait for the model now."""

    def loaded(self, model: str, seconds: float) -> None:
        """A model was loaded and warmed."""


class Watcher(Protocol):
    """Hears of every answer together with its request: an access log, a tracer. Only where one is wanted.

    Called on the event loop's thread, after the answer was handed to the network. ``exchange.request`` has
    the headers, ``exchange.request_id`` the id, ``exchange.began`` the start by ``time.monotonic()``.
    """

    def watched(self, route: Route, exchange: Exchange, status: int, seconds: float) -> None:
        """A request of the fast lane was answered. 499: the client left."""
