"""Methods that BentoML calls batchable: requests that come while the method runs are run together next.

BentoML waits for more requests before it runs the first one (20 to 30 ms of one request alone). Here a
request that finds the method free runs at once, and only those that would wait anyway are joined: as many
rows as ``max_batch_size`` allows. How batches are joined and taken apart is BentoML's own code.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from ..exchange import Response
from ..observe.base import Meter
from .call import Call, spawn

Function = Callable[[Any], Awaitable[Any]]


@dataclass(slots=True)
class Job:
    """One request's rows."""

    call: Call
    value: Any
    rows: int
    came: float


class Batches:
    """The requests to one method; on the event loop's thread. ``function`` runs it, wherever it runs."""

    def __init__(
        self, method: Any, function: Function, write: Callable[[object], Response], meter: Meter
    ) -> None:
        from bentoml._internal.runner.container import AutoContainer

        self._parts = AutoContainer
        self._into, self._out_of = method.batch_dim
        self._most: int = method.max_batch_size
        self._patience: float = method.max_latency_ms / 1000
        self._function = function
        self._write = write
        self._meter = meter
        self._waiting: deque[Job] = deque()
        self._busy = False

    def add(self, call: Call, value: object) -> None:
        """Run it now, or with others as soon as the method is free. Raises for what has no rows."""
        rows = int(self._parts.get_batch_size(value, self._into))
        self._waiting.append(Job(call, value, rows, time.monotonic()))
        if not self._busy:
            self._next()

    def _next(self) -> None:
        jobs = self._taken()
        self._busy = bool(jobs)
        self._meter.queue(len(self._waiting))
        if jobs:
            spawn(self._run(jobs), jobs[0].call)

    def _taken(self) -> list[Job]:
        """Those to run next: as many as fit together. One that alone is too large is cut up later."""
        jobs: list[Job] = []
        rows = 0
        while self._waiting and (not jobs or rows + self._waiting[0].rows <= self._most):
            job = self._waiting.popleft()
            if job.call.over:
                continue
            if time.monotonic() - job.came > self._patience:
                job.call.fail(_overloaded())
                continue
            jobs.append(job)
            rows += job.rows
        return jobs

    async def _run(self, jobs: list[Job]) -> None:
        try:
            await self._outcomes(jobs)
        finally:
            self._next()

    async def _outcomes(self, jobs: list[Job]) -> None:
        began = time.monotonic()
        try:
            ran = [await self._function(part) for part in self._joined(jobs)]
            outputs = self._taken_apart(ran, jobs)
        except BaseException as error:  # noqa: BLE001  # whatever a user's method raises
            if len(jobs) == 1:
                jobs[0].call.fail(error)
                return
            for job in jobs:  # one bad row fails for itself, not for its neighbours
                await self._outcomes([job])
            return
        self._meter.ran(sum(job.rows for job in jobs), len(jobs), time.monotonic() - began)
        for job, output in zip(jobs, outputs, strict=True):
            job.call.outcome(partial(self._write, output))()

    def _joined(self, jobs: Sequence[Job]) -> list[Any]:
        """What to run, one after the other: all rows at once, unless one request alone has too many."""
        if len(jobs) == 1 and jobs[0].rows > self._most:
            rows = jobs[0].rows
            return list(
                self._parts.batch_to_batches(jobs[0].value, [*range(0, rows, self._most), rows], self._into)
            )
        return [self._parts.batches_to_batch([job.value for job in jobs], self._into)[0]]

    def _taken_apart(self, ran: Sequence[Any], jobs: Sequence[Job]) -> list[Any]:
        """The output of each request."""
        if len(ran) > 1:
            return [self._parts.batches_to_batch(ran, self._out_of)[0]]
        ends = [0]
        for job in jobs:
            ends.append(ends[-1] + job.rows)
        return list(self._parts.batch_to_batches(ran[0], ends, self._out_of))


def _overloaded() -> Exception:
    from bentoml.exceptions import ServiceUnavailable

    error: Exception = ServiceUnavailable("process is overloaded")
    return error
