"""Counts of a service in shared memory, and how Prometheus reads them.

Each of the worker processes counts into its own row of a `Board`; whichever is asked for ``/metrics`` adds
all rows up. A call costs a few hundred nanoseconds, because it only adds to doubles in memory.

A number's name in the board is its sample in Prometheus' text format, without the value. Of a histogram
each bucket is stored by itself, and summed up when it is read.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Mapping
from typing import Protocol

from ..exchange import Exchange, Response, Route
from .board import Board, Row
from .exposition import MEDIA_TYPE, exposition, labels
from .process import process_samples

REQUESTS = "mdeploy_requests_total"
SECONDS = (
    *(0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025),
    *(0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0),
)
"""Upper ends of the buckets of durations: 100 us to 10 s."""
SIZES = (1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0, 512.0, 1024.0)
"""Upper ends of the buckets of batch sizes."""
_MANY = 1025
"""From here on, all batches are in the last bucket."""


class Exposing(Protocol):
    """What tells of counts."""

    def exposition(self) -> bytes:
        """In Prometheus' text format."""


class _Histogram:
    """Places of a histogram's buckets, one after the other, and of its sum."""

    __slots__ = ("bounds", "first", "sum")

    def __init__(self, row: Row, name: str, bounds: tuple[float, ...], **named: str) -> None:
        ends = [*(f"{bound:.15g}" for bound in bounds), "+Inf"]
        buckets = [f"{name}_bucket{labels(**named, le=end)}" for end in ends]
        self.bounds = bounds
        self.first = row.place(*buckets, f"{name}_sum{labels(**named)}")
        self.sum = self.first + len(buckets)

    def by_size(self) -> tuple[int, ...]:
        """The place of each whole number from 0 to `_MANY`: looking up is faster than searching."""
        return tuple(self.first + bisect_left(self.bounds, size) for size in range(_MANY + 1))


class _RouteCounts:
    """Places of what is counted for one route."""

    __slots__ = ("_name", "_row", "first", "statuses", "sum")

    def __init__(self, row: Row, name: str) -> None:
        duration = _Histogram(row, "mdeploy_request_duration_seconds", SECONDS, route=name)
        self.first, self.sum = duration.first, duration.sum
        self.statuses: dict[int, int] = {}
        self._row = row
        self._name = name

    def status(self, status: int) -> int:
        """The place of a status that this worker has not seen on this route before."""
        place = self._row.place(f"{REQUESTS}{labels(route=self._name, status=str(status))}")
        self.statuses[status] = place
        return place


class Metrics:
    """Counts of one worker; a `Meter`. Made in the worker's own process, used on its loop's thread."""

    def __init__(self, board: Board | None = None, *, worker: int = 0) -> None:
        self._board = board or Board()
        self._row = row = self._board.row(worker)
        restarted = row.take()
        self._numbers = row.numbers
        self._routes: dict[str, _RouteCounts] = {}
        seconds = _Histogram(row, "mdeploy_inference_duration_seconds", SECONDS)
        rows, jobs = (_Histogram(row, f"mdeploy_batch_{what}", SIZES) for what in ("rows", "requests"))
        self._ran = (
            *(row.numbers, seconds.first, seconds.sum),
            *(rows.by_size(), rows.sum, jobs.by_size(), jobs.sum),
        )
        self._failures = row.place("mdeploy_model_failures_total")
        self._queue = row.place("mdeploy_queue_requests")
        self._numbers[self._queue] = 0.0  # what waited in a worker that died does not wait any more
        self._numbers[row.place("mdeploy_worker_restarts_total")] += restarted

    def answered(self, route: Route, status: int, seconds: float) -> None:
        if not route.counted:
            return
        counts = self._routes.get(route.name) or self._new_route(route.name)
        numbers = self._numbers
        place = counts.statuses.get(status)
        numbers[counts.status(status) if place is None else place] += 1.0
        numbers[counts.first + bisect_left(SECONDS, seconds)] += 1.0
        numbers[counts.sum] += seconds

    def ran(self, rows: int, jobs: int, seconds: float) -> None:
        numbers, first, total, of_rows, rows_total, of_jobs, jobs_total = self._ran
        numbers[first + bisect_left(SECONDS, seconds)] += 1.0
        numbers[total] += seconds
        numbers[of_rows[rows if rows < _MANY else _MANY]] += 1.0  # noqa: FURB136  # min() takes twice as long
        numbers[rows_total] += rows
        numbers[of_jobs[jobs if jobs < _MANY else _MANY]] += 1.0  # noqa: FURB136  # the same
        numbers[jobs_total] += jobs

    def failed(self, jobs: int) -> None:
        self._numbers[self._failures] += jobs

    def queue(self, jobs: int) -> None:
        self._numbers[self._queue] = jobs

    def loaded(self, model: str, seconds: float) -> None:
        self._numbers[self._row.place(f"mdeploy_model_load_seconds{labels(model=model)}")] = seconds

    def describe(self, *, name: str, version: str, digest: str, framework: str) -> None:
        """Tell what is served; "" where something is not known."""
        told = labels(name=name, version=version, digest=digest, framework=framework)
        self._numbers[self._row.place(f"mdeploy_model_info{told}")] = 1.0

    def exposition(self) -> bytes:
        """What all workers counted, in Prometheus' text format."""
        return exposition({**self._added_up(), **process_samples(self._board)})

    def _added_up(self) -> Mapping[str, float]:
        total: dict[str, float] = {}
        for row in self._board:
            for name, value in row.read().items():
                if name.startswith(("mdeploy_model_load_seconds", "mdeploy_model_info")):
                    total[name] = max(total.get(name, 0.0), value)
                else:
                    total[name] = total.get(name, 0.0) + value
        return total

    def _new_route(self, name: str) -> _RouteCounts:
        counts = self._routes[name] = _RouteCounts(self._row, name)
        return counts


def metrics_route(metrics: Exposing) -> Route:
    """``GET /metrics``."""

    def handle(exchange: Exchange) -> None:
        exchange.reply(Response(200, metrics.exposition(), MEDIA_TYPE))

    return Route("GET", "/metrics", handle, "/metrics", max_body=0, counted=False)
