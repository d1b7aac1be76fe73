"""What happened to each request, for those who want to know: the access log and the traces.

A `Watch` stands between the meter and the parts that report to it, and around the handlers of routes. It is
made only where somebody wants to know; else the service does without one, and no request pays for it.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Protocol

from ..exchange import Exchange, Response, Route, Routes
from ..lane import Lane
from .access import AccessLog
from .metrics import Metrics
from .tracing import Tracer, wanted

_NOT_RUN = {499, 503, 504}
"""Statuses of requests that no run of the model answered, whatever ran meanwhile."""
_MOST = 65536
"""Requests that are open at once, at most."""


@dataclass(frozen=True, slots=True)
class Run:
    """One run of the model."""

    ended: float
    """By ``time.monotonic()``; as soon as the event loop knew."""
    seconds: float
    rows: int
    requests: int


@dataclass(frozen=True, slots=True)
class Seen:
    """A request with its answer. Times by ``time.monotonic()``."""

    route: Route
    exchange: Exchange
    status: int
    ended: float
    parsed: float | None = None
    """When its handler was done with it for now; None if it was answered, or refused, in there."""
    run: Run | None = None
    response: Response | None = None
    """None if a handler has not answered: the client left, or the server itself refused it."""


class Observer(Protocol):
    """Hears of every request of a counted route. On the event loop's thread."""

    def start(self, name: str, version: str) -> None:
        """What is served."""

    def note(self, seen: Seen) -> None:
        """A request was answered."""

    def close(self) -> None:
        """Hand over what is held back; within seconds, on any thread."""


class Watch:
    """A `Meter` that counts by ``meter``, and a `Watcher`."""

    def __init__(self, meter: Metrics, observers: tuple[Observer, ...]) -> None:
        self.answered = meter.answered
        self.failed = meter.failed
        self.queue = meter.queue
        self.loaded = meter.loaded
        self.exposition = meter.exposition
        self._meter = meter
        self._observers = observers
        self._run: Run | None = None
        self._open: dict[Exchange, _Observed] = {}

    def ran(self, rows: int, jobs: int, seconds: float) -> None:
        self._run = Run(time.monotonic(), seconds, rows, jobs)
        self._meter.ran(rows, jobs, seconds)

    def describe(self, *, name: str, version: str, digest: str, framework: str) -> None:
        """Tell what is served."""
        self._meter.describe(name=name, version=version, digest=digest, framework=framework)
        for observer in self._observers:
            observer.start(name, version)

    def lane(self, lane: Lane) -> Lane:
        """The lane, with its handlers watched."""
        routes = Routes()
        for route in lane.routes:
            routes.add(self.seen(route))
        return replace(lane, routes=routes)

    def seen(self, route: Route) -> Route:
        """A route whose handler is watched, if it is one that counts."""
        if not route.counted:
            return route
        handler = route.handler

        def handle(exchange: Exchange) -> None:
            if len(self._open) >= _MOST:  # of which no server will tell any more
                self._open.pop(next(iter(self._open)))
            observed = self._open[exchange] = _Observed(exchange, self.last_run)
            handler(observed)
            observed.parsed = time.monotonic()

        return replace(route, handler=handle)

    def last_run(self) -> Run | None:
        """The model's last run."""
        return self._run

    def watched(self, route: Route, exchange: Exchange, status: int, seconds: float) -> None:
        ended = exchange.began + seconds
        observed = self._open.pop(exchange, None)
        seen = Seen(route, exchange, status, ended)
        if observed is not None:
            run = None if status in _NOT_RUN else observed.run
            seen = Seen(route, exchange, status, ended, observed.parsed, run, observed.response)
        for observer in self._observers:
            observer.note(seen)

    def close(self) -> None:
        """Hand over what observers hold back; within seconds, on any thread."""
        for observer in self._observers:
            observer.close()


class _Observed(Exchange):
    """An exchange as its handler sees it: the server's, and what became of it."""

    __slots__ = ("_inner", "_last_run", "_since", "parsed", "response", "run")

    def __init__(self, inner: Exchange, last_run: Callable[[], Run | None]) -> None:
        self.request = inner.request
        self.began = inner.began
        self._inner = inner
        self._last_run = last_run
        self._since = time.monotonic()
        self.parsed: float | None = None
        self.run: Run | None = None
        self.response: Response | None = None

    @property
    def gone(self) -> bool:
        return self._inner.gone

    @gone.setter
    def gone(self, value: bool) -> None:
        self._inner.gone = value

    @property
    def on_gone(self) -> Callable[[], None] | None:
        return self._inner.on_gone

    @on_gone.setter
    def on_gone(self, value: Callable[[], None] | None) -> None:
        self._inner.on_gone = value

    @property
    def request_id(self) -> str:
        return self._inner.request_id

    def reply(self, response: Response) -> None:
        last = self._last_run()
        self.run = last if last is not None and last.ended >= self._since else None
        self.response = response
        self._inner.reply(response)


def open_watch(
    meter: Metrics, *, access_log: bool, environment: Mapping[str, str] | None = None
) -> Watch | None:
    """A watch for what is asked for, traces by ``OTEL_*`` variables; None if that is nothing.

    Call it in the worker's own process: what sends traces has a thread.
    """
    said = os.environ if environment is None else environment
    observers: list[Observer] = [AccessLog()] if access_log else []
    if wanted(said):
        observers.append(Tracer(said))
    return Watch(meter, tuple(observers)) if observers else None
