"""Runs the model for one job or for several together, and finds the one to blame where it fails."""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping, Sequence

from ..problems import ModelFailed, Problem, TimedOut
from ..runtimes.base import Model, Value
from ..spec import ServiceSpec, TensorSpec
from ..tensors.rules import Array
from .batch import Indivisible, affordable, join, made_up, rows_together, same, split
from .job import Job

log = logging.getLogger("mdeploy_serving")

Outcome = Mapping[str, Value] | Problem
"""What a job is answered with."""

_Shares = list[dict[str, Value]]

FAILURES = (Exception, SystemExit)
"""What a model may raise without taking the service along: somebody's code may well call sys.exit."""
_WARM_RUNS = 20
_WARM_SECONDS = 0.05
_WARM_BATCH_SECONDS = 0.5
"""A full batch that may take longer than this is not tried."""
_TRIED_TOGETHER = 8
_GAIN = 0.9
"""Joining has to take less than this share of the time that rows take alone, and of the way to a thread."""
_HAND_OVER = 0.00005
_FREE_SIZES = (1, 64, 224)
"""Tried in turn for dimensions that a model leaves open: some need a certain size at least."""


class Runner:
    """A model, and whether rows of several requests may go in one run of it.

    They may if the answers are the same then. That is tried at the warm-up on made-up rows; where the
    model refuses those, on the first requests that could be joined, which are run both ways.
    """

    def __init__(self, spec: ServiceSpec, model: Model, *, rows: int) -> None:
        self._model = model
        self._name = spec.name
        self._rows = rows
        self._proven = False
        self.joins = rows > 1
        if self.joins:
            self._look_at_outputs(spec)

    def attempt(self, jobs: Sequence[Job]) -> list[Outcome]:
        """Each job's outcome, in their order. Jobs that come together are `joinable`."""
        if len(jobs) == 1:
            return [self._alone(jobs[0])]
        if not self.joins:
            return [self._alone(job) for job in jobs]
        if not self._proven:
            return self._both_ways(jobs)
        together = self._together(jobs)
        if not isinstance(together, BaseException):
            return [*together]
        if isinstance(together, Indivisible):
            self._never_join(str(together))
            return [self._alone(job) for job in jobs]
        outcomes = self._by_halves(jobs)
        if not any(isinstance(outcome, Problem) for outcome in outcomes):
            self._never_join(f"the model fails for {len(jobs)} requests together: {_brief(together)}")
        return outcomes

    def warm(self, inputs: Sequence[TensorSpec], *, batched: bool) -> list[tuple[int, float]]:
        """Run one row, and a full batch where there are any, until they are warm; values and seconds of each.

        Nothing where the model refuses what we make up: it may still be in order, so we only say so.
        """
        arrays = self._accepted(inputs)
        if arrays is None:
            return []
        measured = [self._timed(arrays)]
        if self.joins and batched:
            self._compare_made_up(inputs, arrays)
        rows = rows_together(arrays, 1, self._rows)
        if self._proven and rows > 1 and measured[0][1] * rows < _WARM_BATCH_SECONDS:
            self._look_if_it_pays(arrays, rows, measured[0][1])
            if self.joins:
                measured.append(self._timed(made_up(inputs, rows, free=_free_size(inputs, arrays))))
        return measured

    def _look_if_it_pays(self, one: Mapping[str, Array], rows: int, alone: float) -> None:
        """Large rows keep all processors busy by themselves, and putting them together takes time."""
        jobs = [_Part(one, 1) for _ in range(min(rows, _TRIED_TOGETHER))]
        taken: list[float] = []
        while len(taken) < _WARM_RUNS and sum(taken) < _WARM_SECONDS:
            began = time.perf_counter()
            self._together(jobs)
            taken.append((time.perf_counter() - began) / len(jobs))
        each = sorted(taken)[len(taken) // 2]
        if each > _GAIN * (alone + _HAND_OVER):
            self.joins = False
            log.info(
                "%s: each request is run alone: a row takes %.2g ms alone and %.2g ms among %d",
                *(self._name, alone * 1e3, each * 1e3, len(jobs)),
            )

    def _timed(self, arrays: Mapping[str, Array]) -> tuple[int, float]:
        taken: list[float] = []
        while len(taken) < _WARM_RUNS and sum(taken) < _WARM_SECONDS:
            began = time.perf_counter()
            self._model.run(arrays)
            taken.append(time.perf_counter() - began)
        return sum(array.size for array in arrays.values()), sorted(taken)[len(taken) // 2]

    def _accepted(self, inputs: Sequence[TensorSpec]) -> dict[str, Array] | None:
        """One row that the model runs on, by the first of several ways to make it up."""
        failure: BaseException | None = None
        for free in _FREE_SIZES:
            for random in (True, False):
                arrays = made_up(inputs, 1, free=free, random=random) if affordable(inputs, free) else None
                if arrays is None:
                    continue
                try:
                    self._model.run(arrays)
                except FAILURES as error:
                    failure = failure or error
                else:
                    return arrays
        log.warning(
            "the warm-up with made-up values failed, the first request will be slow: %s",
            _brief(failure) if failure else "one row is too large to make up",
        )
        return None

    def _compare_made_up(self, inputs: Sequence[TensorSpec], one: Mapping[str, Array]) -> None:
        """Three rows one by one, and together. Rows that fail alone prove nothing."""
        rows = made_up(inputs, 3, free=_free_size(inputs, one))
        jobs = [_Part({name: array[at : at + 1] for name, array in rows.items()}, 1) for at in range(3)]
        try:
            alone = [self._model.run(job.arrays) for job in jobs]
        except FAILURES:
            return
        self._judge(alone, self._together(jobs))

    def _both_ways(self, jobs: Sequence[Job]) -> list[Outcome]:
        """Answer each job alone, and look whether together they would have been answered the same."""
        outcomes = [self._alone(job) for job in jobs]
        if any(isinstance(outcome, Problem) for outcome in outcomes):
            return outcomes  # ask again with others
        alone = [outcome for outcome in outcomes if not isinstance(outcome, Problem)]
        self._judge(alone, self._together(jobs))
        return outcomes

    def _judge(self, alone: Sequence[Mapping[str, Value]], together: _Shares | BaseException) -> None:
        if isinstance(together, Indivisible):
            self._never_join(str(together))
        elif isinstance(together, BaseException):
            self._never_join(f"the model fails for several requests together: {_brief(together)}")
        elif all(map(same, alone, together)):
            self._proven = True
        else:
            self._never_join("a row's answer depends on the rows beside it")

    def _together(self, jobs: Sequence[Job]) -> _Shares | BaseException:
        """What was raised is returned, so that it is no context of what comes after it."""
        try:
            return split(self._model.run(join(jobs)), [job.rows for job in jobs])
        except FAILURES as error:
            return error

    def _by_halves(self, jobs: Sequence[Job]) -> list[Outcome]:
        middle = len(jobs) // 2
        outcomes: list[Outcome] = []
        for part in (jobs[:middle], jobs[middle:]):
            now = time.monotonic()
            if len(part) == 1 or all(job.deadline <= now for job in part):
                outcomes += [self._alone(job) for job in part]
                continue
            together = self._together(part)
            outcomes += self._by_halves(part) if isinstance(together, BaseException) else together
        return outcomes

    def _alone(self, job: Job) -> Outcome:
        if job.deadline <= time.monotonic():  # those before it took too long
            return too_late(job)
        try:
            return self._model.run(job.arrays)
        except Problem as problem:  # a hook's or a rule's own word on the input
            return problem
        except FAILURES:
            log.exception("the model failed", extra={"request_id": job.request_id})
            if job.deadline <= time.monotonic():  # it hung, and was asked to end
                return too_late(job)
            return ModelFailed("the model failed on this input; the service's log has more")

    def _never_join(self, why: str) -> None:
        if self.joins:
            self.joins = False
            log.warning("%s: each request is run alone from now on: %s", self._name, why)

    def _look_at_outputs(self, spec: ServiceSpec) -> None:
        for output in spec.outputs:
            if output.shape is not None and not output.batched:
                self.joins = False
                log.info(
                    "%s: each request is run alone: output %r (%s) has no row for each row of input",
                    *(self._name, output.name, output),
                )
                return


class _Part(Job):
    """Rows of our own that nobody waits for."""

    __slots__ = ()

    def __init__(self, arrays: Mapping[str, Array], rows: int) -> None:
        super().__init__(arrays, rows=rows, began=0.0, deadline=0.0)

    def finish(self, outputs: Mapping[str, Value]) -> None:
        """Nobody waits."""

    def fail(self, problem: Problem) -> None:
        """Nobody waits."""


def too_late(job: Job) -> TimedOut:
    """What a job is told whose deadline has passed."""
    return TimedOut(f"the model gave no answer within {job.deadline - job.began:.3g} s")


def _free_size(inputs: Sequence[TensorSpec], arrays: Mapping[str, Array]) -> int:
    """The size that free dimensions beside the batch were made up with."""
    for tensor in inputs:
        for axis, size in enumerate(tensor.shape or ()):
            if axis and not isinstance(size, int):
                return int(arrays[tensor.name].shape[axis])
    return 1


def _brief(error: BaseException) -> str:
    text = str(error) or type(error).__name__
    return text if len(text) <= 300 else f"{text[:297]}..."
