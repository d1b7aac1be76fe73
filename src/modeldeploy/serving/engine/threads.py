"""Threads that run a model, so that the event loop stays free while a slow one works."""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from queue import SimpleQueue

from ..problems import ModelFailed
from .job import Job
from .runner import Outcome, Runner

log = logging.getLogger("mdeploy_serving")


class Run:
    """Jobs that are in a thread's hands. All but ``thread`` belongs to the loop's thread."""

    __slots__ = ("_open", "began", "jobs", "size", "stuck", "thread")

    def __init__(self, jobs: list[Job], size: int) -> None:
        self.jobs = jobs
        self.size = size
        self.began = time.monotonic()
        self.thread = 0
        """The identity of the thread that runs it; 0 while it waits for one."""
        self.stuck = False
        """Every one of its jobs is past its deadline."""
        self._open: list[Job | None] = [*jobs]

    @property
    def deadlines(self) -> Iterator[float]:
        """Of the jobs that are still to be answered."""
        return (job.deadline for job in self._open if job is not None)

    def overdue(self, now: float) -> list[Job]:
        """The jobs that are past their deadline. They are the caller's to answer from here on."""
        late = [job for job in self._open if job is not None and job.deadline <= now]
        self._open = [None if job in late else job for job in self._open]
        return late

    def settled(self, outcomes: Sequence[Outcome]) -> Iterator[tuple[Job, Outcome]]:
        """The jobs that are still to be answered, and with what."""
        return ((job, out) for job, out in zip(self._open, outcomes, strict=True) if job is not None)


Returned = Callable[[Run, list[Outcome], float], None]


class Threads:
    """So many daemon threads, started when the first run comes.

    ``returned`` is called on the loop's thread with each run, its outcomes and its seconds.
    """

    def __init__(self, runner: Runner, count: int, returned: Returned) -> None:
        self._runner = runner
        self._count = count
        self._returned = returned
        self._tasks: SimpleQueue[Run | None] = SimpleQueue()
        self._threads: list[threading.Thread] = []

    def hand_over(self, run: Run, loop: asyncio.AbstractEventLoop) -> None:
        """Let the next free thread do the run."""
        if not self._threads:
            for _ in range(self._count):
                self._threads.append(
                    threading.Thread(target=self._work, args=(loop,), name="mdeploy-model", daemon=True)
                )
                self._threads[-1].start()
        self._tasks.put(run)

    def close(self, patience: float) -> bool:
        """End the threads when they are done; False if one was not within ``patience`` seconds."""
        for _ in self._threads:
            self._tasks.put(None)
        last = time.monotonic() + patience
        for thread in self._threads:
            thread.join(max(0.0, last - time.monotonic()))
        return not any(thread.is_alive() for thread in self._threads)

    def _work(self, loop: asyncio.AbstractEventLoop) -> None:
        while (run := self._tasks.get()) is not None:
            run.thread = threading.get_ident()
            began = time.perf_counter()
            outcomes = attempted(self._runner, run.jobs)
            seconds = time.perf_counter() - began
            try:
                loop.call_soon_threadsafe(self._returned, run, outcomes, seconds)
            except RuntimeError:  # the loop is closed: nobody waits any more
                return


def attempted(runner: Runner, jobs: Sequence[Job]) -> list[Outcome]:
    """The outcomes of jobs, whatever is raised on the way to them."""
    try:
        return runner.attempt(jobs)
    except BaseException:  # the loop and its threads have to go on
        log.exception("a run of the model broke off")
        return [ModelFailed("the model failed; the service's log has more") for _ in jobs]
