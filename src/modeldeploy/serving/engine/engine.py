"""The engine: at once where the model is free, together where it is busy.

A quick model runs on the event loop itself, since a hand-over to a thread and back costs more than it does;
what comes in the same turn of the loop goes in one run, for which a job is kept to the turn's end unless the
last ones had nobody beside them. A slow one runs in a thread, and what comes meanwhile goes in the next run.
Nothing ever waits for company. Which of the two a model is, is measured all the time (`pace`), apart for each
size of input.

Jobs go in the order in which they came, except that those which can join the first one overtake those
which cannot: the first always goes, so nobody waits for ever. All state belongs to the loop's thread.
"""

from __future__ import annotations

import asyncio
import logging
import math
import threading
import time
from collections import deque
from collections.abc import Mapping
from pathlib import Path

from .. import cpu
from ..graph.compose import compose
from ..observe.base import Meter
from ..problems import ModelFailed, NotReady, Overloaded, Problem, TimedOut
from ..runtimes import load as load_model
from ..runtimes.base import Model, Value
from ..settings import ServiceSettings
from ..settings import settings as settings_of
from ..spec import ServiceSpec
from ..tensors.rules import Array
from .batch import joinable, rows_together
from .job import Job
from .outside import Outside
from .pace import Pace, size_of
from .runner import Outcome, Runner, too_late
from .threads import Run, Threads, attempted

log = logging.getLogger("mdeploy_serving")

_OVERTAKERS = 256
"""Jobs that are looked at for company of the first one."""
_ALONE = 16
"""After so many requests that each had a turn of the loop to itself, none is kept to the turn's end."""
_SAME_TURN = 0.00003
"""Seconds from an answer to a request: no client reads the one and writes the other in so few."""
_LONGEST_WAIT = 60
"""Seconds: the most that Retry-After says."""
_STUCK = "the model has been busy with one request for longer than any may take"
_STOPPING = "the service is stopping"
_PATIENCE = 2.0
"""Seconds that a stop waits for a run of the model to return."""


def open_engine(
    folder: Path,
    spec: ServiceSpec,
    *,
    meter: Meter,
    settings: ServiceSettings | None = None,
    loop: asyncio.AbstractEventLoop | None = None,
) -> Engine:
    """Load a service's models from its folder and warm them; any thread may do so, and it takes its time.

    Raises `SpecError`, ValueError for nonsense in the environment, and what frameworks raise for their files.
    """
    chosen = settings_of(spec) if settings is None else settings
    began = time.perf_counter()
    models: dict[str, Model] = {}
    try:
        for one in spec.models:
            models[one.name] = load_model(folder, one, chosen.model)
        model = compose(spec, models, folder=folder)
        engine = Engine(spec, model, settings=chosen, meter=meter, loop=loop)
    except BaseException:
        for loaded in models.values():
            loaded.close()
        raise
    meter.loaded(spec.name, time.perf_counter() - began)
    return engine


class Engine:
    """A service's model, warm. Made on any thread; all else but `run` is for the loop's thread.

    ``loop`` may come later: then it is the one that is running at the first `submit`.
    """

    def __init__(
        self,
        spec: ServiceSpec,
        model: Model,
        *,
        settings: ServiceSettings,
        meter: Meter,
        loop: asyncio.AbstractEventLoop | None = None,
    ) -> None:
        self.spec = spec
        self._model = model
        self._meter = meter
        self._loop = loop
        self._limit = max(1, settings.queue)
        self._rows = settings.rows
        self._timeout = settings.timeout
        self._waiting: deque[Job] = deque()
        self._runs: list[Run] = []
        self._stuck = 0
        self._here: list[Job] | None = None
        self._loop_thread = 0
        self._lanes = lanes(model, settings.model.threads, settings.workers)
        self._pace = Pace()
        self._runner = Runner(spec, model, rows=self._rows)
        self._threads = Threads(self._runner, self._lanes, self._returned)
        self._outside = Outside(self, model)
        self._here_too = model.parallel
        self._never_here = _has_code_of_somebody(spec)
        self._due = False
        self._alone = 0
        self._ended = 0.0
        self._alarm: asyncio.TimerHandle | None = None
        self._alarm_at = math.inf
        self._told = 0
        self._refusal = ""
        self._warm()

    @property
    def ready(self) -> bool:
        return not self._refusal and not self._stuck

    def submit(self, job: Job) -> None:
        waiting = self._waiting
        if self._refusal:
            _settle(job, NotReady(self._refusal))
            return
        if self._stuck >= self._lanes and not self._fits_here(job):
            _settle(job, NotReady(_STUCK))
            return
        if len(waiting) >= self._limit:
            _settle(job, self._overloaded())
            return
        if self._alone >= _ALONE and self._comes_alone(job) and self._is_quick(size := size_of((job,))):
            self._run_here([job], size)
            self._ended = time.monotonic()
            return
        waiting.append(job)
        if job.deadline < self._alarm_at:
            self._set_alarm(job.deadline)
        if not self._due and (self._here_too or len(self._runs) < self._lanes):
            self._due = True
            self._running_loop().call_soon(self._dispatch)

    def run(self, arrays: Mapping[str, Array]) -> dict[str, Value]:
        return self._outside.run(arrays, self._loop, timeout=self._timeout)

    def rescue(self) -> bool:
        """Ask a run that hangs on the loop to end. True while one hangs in a thread. Any thread may call."""
        here, loop_thread = self._here, self._loop_thread
        if here is not None and loop_thread and max(job.deadline for job in here) <= time.monotonic():
            log.error("a run of the model for %d requests is past their deadline", len(here))
            if self._here is here:
                self._interrupt(loop_thread)
        return self._stuck > 0

    def close(self) -> None:
        """Any thread may close, but none may wait for the loop's while it does."""
        self._refusal = _STOPPING
        if self._loop is not None and self._loop.is_running() and not _is_running_here(self._loop):
            self._loop.call_soon_threadsafe(self._abandon)
        else:
            self._abandon()
        if self._threads.close(_PATIENCE):
            self._model.close()
        else:
            log.error("a run of the model did not return: its thread ends with the process")

    def _abandon(self) -> None:
        if self._alarm is not None:
            self._alarm.cancel()
        while self._waiting:
            _settle(self._waiting.popleft(), NotReady(self._refusal))
        for run in self._runs:
            for job in run.overdue(math.inf):
                _settle(job, NotReady(self._refusal))

    def _dispatch(self) -> None:
        """Give the model what waits, as far as it is free."""
        self._due = False
        while self._waiting:
            here = self._fits_here(self._waiting[0])
            if not here and len(self._runs) >= self._lanes:
                break
            jobs = self._take()
            if not jobs:
                break
            size = size_of(jobs)
            if here and len(self._runs) >= self._lanes and not self._pace.quick(size):
                self._waiting.extendleft(reversed(jobs[1:]))  # together they are too large to go beside it
                jobs, size = jobs[:1], size_of(jobs[:1])
            if self._is_quick(size) and (self._here_too or not self._runs):
                self._alone = self._alone + 1 if len(jobs) == 1 and not self._waiting else 0
                self._run_here(jobs, size)
                if self._waiting and not self._due:  # connections come first, then the next run
                    self._due = True
                    self._running_loop().call_soon(self._dispatch)
                break
            self._runs.append(run := Run(jobs, size))
            self._threads.hand_over(run, self._running_loop())
        self._tell_queue()

    def _comes_alone(self, job: Job) -> bool:
        """True if a job need not be kept to the turn's end: nobody comes who could join it."""
        if self._waiting or self._runs or job.began - self._ended < _SAME_TURN:
            self._alone = 0
            return False
        return True

    def _is_quick(self, size: int) -> bool:
        """True if a run of so many values should be done on the event loop."""
        return not self._never_here and self._pace.quick(size)

    def _fits_here(self, job: Job) -> bool:
        """True if the job can go beside what threads do: a small one need not wait for a large one."""
        return self._here_too and self._is_quick(size_of((job,)))

    def _take(self) -> list[Job]:
        """The first job and those that can join it, up to the limit of rows. Drops who need no answer."""
        now = time.monotonic()
        waiting = self._waiting
        first = self._next(now)
        if first is None:
            return []
        jobs, aside = [first], list[Job]()
        joins = self._runner.joins and first.rows > 0 and len(waiting) > 0
        room = rows_together(first.arrays, first.rows, self._rows) - first.rows if joins else 0
        while room > 0 and waiting and len(aside) < _OVERTAKERS:
            job = self._next(now)
            if job is None:
                break
            if 0 < job.rows <= room and joinable(first, job):
                jobs.append(job)
                room -= job.rows
            else:
                aside.append(job)
        waiting.extendleft(reversed(aside))
        return jobs

    def _next(self, now: float) -> Job | None:
        """The first job that somebody still waits for."""
        while self._waiting:
            job = self._waiting.popleft()
            if job.gone:
                _settle(job, TimedOut("the client left"))
            elif job.deadline <= now:
                _settle(job, too_late(job))
            else:
                return job
        return None

    def _run_here(self, jobs: list[Job], size: int) -> None:
        began = time.perf_counter()
        self._here, self._loop_thread = jobs, threading.get_ident()
        outcomes = attempted(self._runner, jobs)
        self._here = None
        seconds = time.perf_counter() - began
        self._pace.note(size, len(jobs), seconds, here=True)
        self._report(jobs, outcomes, seconds)
        for job, outcome in zip(jobs, outcomes, strict=True):
            _settle(job, outcome)

    def _returned(self, run: Run, outcomes: list[Outcome], seconds: float) -> None:
        """A thread is done: let the model go on first, then write the answers."""
        self._runs.remove(run)
        if run.stuck:
            self._stuck -= 1
            log.warning("the run of the model that was past its deadline returned after %.1f s", seconds)
        self._pace.note(run.size, len(run.jobs), seconds, here=False)
        if self._waiting:
            self._dispatch()
        self._report(run.jobs, outcomes, seconds)
        for job, outcome in run.settled(outcomes):
            _settle(job, outcome)

    def _report(self, jobs: list[Job], outcomes: list[Outcome], seconds: float) -> None:
        """Tell of a run, right before its answers: a tracer takes the last run for theirs."""
        self._meter.ran(sum(job.rows for job in jobs), len(jobs), seconds)
        if failed := sum(isinstance(outcome, ModelFailed) for outcome in outcomes):
            self._meter.failed(failed)

    def _set_alarm(self, deadline: float) -> None:
        if self._alarm is not None:
            self._alarm.cancel()
        self._alarm_at = deadline
        delay = max(0.001, deadline - time.monotonic())
        self._alarm = self._running_loop().call_later(delay, self._ring)

    def _ring(self) -> None:
        """A deadline passed: answer those who waited for it."""
        now = time.monotonic()
        self._alarm, self._alarm_at = None, math.inf
        late = [job for job in self._waiting if job.deadline <= now]
        if late:
            self._waiting = deque(job for job in self._waiting if job.deadline > now)
            self._tell_queue()
        for run in self._runs:
            late += run.overdue(now)
            self._look_if_stuck(run)
        deadlines = [job.deadline for job in self._waiting]
        deadlines += [deadline for run in self._runs for deadline in run.deadlines]
        if deadlines:
            self._set_alarm(min(deadlines))
        for job in late:
            _settle(job, too_late(job))

    def _look_if_stuck(self, run: Run) -> None:
        if run.stuck or any(True for _ in run.deadlines):
            return
        run.stuck = True
        self._stuck += 1
        log.error("a run of the model for %d requests is past their deadline", len(run.jobs))
        if run.thread:
            self._interrupt(run.thread)

    def _interrupt(self, thread: int) -> None:
        """Ask the run in a thread to end, of a model that can be asked."""
        interrupt = getattr(self._model, "interrupt", None)
        if interrupt is not None:
            interrupt(thread)

    def _overloaded(self) -> Overloaded:
        seconds = self._pace.seconds_for(len(self._waiting)) / self._lanes
        wait = min(_LONGEST_WAIT, max(1, math.ceil(seconds)))
        return Overloaded(f"{len(self._waiting)} requests wait for the model already", retry_after=wait)

    def _tell_queue(self) -> None:
        if (count := len(self._waiting)) != self._told:
            self._told = count
            self._meter.queue(count)

    def _running_loop(self) -> asyncio.AbstractEventLoop:
        if self._loop is None:
            self._loop = asyncio.get_running_loop()
        return self._loop

    def _warm(self) -> None:
        inputs = self.spec.inputs
        batched = bool(inputs) and all(tensor.batched for tensor in inputs)
        for size, seconds in self._runner.warm(inputs, batched=batched):
            self._pace.note(size, 1, seconds, here=True)


def _is_running_here(loop: asyncio.AbstractEventLoop) -> bool:
    try:
        return asyncio.get_running_loop() is loop
    except RuntimeError:
        return False


def lanes(model: Model, threads: int, workers: int) -> int:
    """How many runs of a model go on at once: as many as there are processors for all their threads."""
    share = max(1, cpu.processors() // workers)
    return max(1, share // threads) if model.parallel else 1


def _has_code_of_somebody(spec: ServiceSpec) -> bool:
    """True if Python code of the project runs with the model: it may block, so never on the event loop."""
    return bool(spec.before or spec.after) or any(model.framework == "python" for model in spec.models)


def _settle(job: Job, outcome: Outcome) -> None:
    """Answer a job. What its protocol cannot do must not keep others from their answers."""
    try:
        if isinstance(outcome, Problem):
            job.fail(outcome)
        else:
            job.finish(outcome)
    except Exception:
        log.exception("an answer could not be written")
        if not isinstance(outcome, Problem):
            _settle(job, Problem("the answer could not be written; the service's log has more"))
