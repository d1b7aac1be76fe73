"""Making one step true: ask the world, act if need be, and wait until the world says so.

All waiting, patience with a target that does not answer, timeouts and Ctrl-C of the whole product are
in `Acts`. Each act may be repeated after a crash at any point: it looks before it does anything.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import TypeVar

from modeldeploy.clock import Clock
from modeldeploy.errors import ModelDeployError, TargetDrifted, TargetRefused, TargetUnavailable
from modeldeploy.events import Emit, Event
from modeldeploy.model import (
    HttpRequest,
    HttpResponse,
    Observed,
    Policy,
    RevisionId,
    RevisionSpec,
    RevisionState,
    RevisionStatus,
    Sample,
    Traffic,
)
from modeldeploy.rollout import judge
from modeldeploy.rollout.judge import Judgement, Measure, Verdict
from modeldeploy.rollout.plan import can_serve
from modeldeploy.rollout.steps import AwaitReady, Create, Delete, Drain, Judge, Shift, Step, Verify
from modeldeploy.target import Target

T = TypeVar("T")

APPLY_TIMEOUT = 30.0
"""Seconds that a router may take to apply a change."""

UNAVAILABLE_TIMEOUT = 60.0
"""Seconds for which a target may not answer before a rollout gives up asking."""

CALL_TIMEOUT = 10.0
"""The same for one golden sample sent to a candidate that is ready."""

LOG_LINES = 200
"""Log lines of a candidate that are kept when it is refused."""


@dataclass(frozen=True, slots=True)
class Verification:
    """What replaying the golden samples found: how many there were, and what differed."""

    total: int
    failures: tuple[str, ...] = ()


Call = Callable[[HttpRequest], HttpResponse]
VerifyBundle = Callable[[Call], Verification]
"""Replays a bundle's golden samples through a function that sends one request."""


class GateFailed(ModelDeployError):
    """The candidate did not pass. ``gate`` says which one; the engine takes the candidate back."""

    def __init__(
        self, gate: str, message: str, *, measures: Sequence[Measure] = (), log: Sequence[str] = ()
    ) -> None:
        super().__init__(message, details={"gate": gate, "log": list(log)})
        self.gate = gate
        self.measures = tuple(measures)
        self.log = tuple(log)


class Inconclusive(ModelDeployError):
    """Neither passed nor failed within the patience: a person must decide."""


class Interrupted(ModelDeployError):
    """Somebody asked to stop (the first Ctrl-C)."""


class Acts:
    """Carries out steps on one target, under one policy."""

    def __init__(
        self,
        target: Target,
        policy: Policy,
        *,
        clock: Clock,
        emit: Emit,
        interrupted: Callable[[], bool],
        returning: bool = False,
    ) -> None:
        self._target = target
        self._policy = policy
        self._clock = clock
        self._emit = emit
        self._interrupted = interrupted
        self._returning = returning
        """On the way back nobody's wish to stop, and no drift, keeps users from the safe revision."""

    def carry_out(self, step: Step, spec: RevisionSpec | None, verify: VerifyBundle | None) -> None:
        """Make the step true. Raises `GateFailed`, `Inconclusive`, `Interrupted` or a `TargetError`."""
        match step:
            case Create():
                self._create(step, spec)
            case AwaitReady():
                self._await_ready(step.revision)
            case Verify():
                self._verify(step.revision, verify)
            case Shift():
                self._shift(step)
            case Judge():
                self._judge(step)
            case Drain():
                self._drain(step.revision)
            case Delete():
                self._delete(step.revision)

    def observe(self) -> Observed:
        """The target as it is now, with patience for one that does not answer."""
        return self.patiently(self._target.observe)

    def patiently(self, verb: Callable[[], T], patience: float = UNAVAILABLE_TIMEOUT) -> T:
        """Call a verb of the target; while it is unavailable, try again with growing pauses."""
        deadline = self._clock.monotonic() + patience
        pause = 0.1
        while True:
            try:
                return verb()
            except TargetUnavailable as error:
                if self._clock.monotonic() + pause > deadline:
                    raise
                self._progress(f"the target does not answer ({error.message}); trying again")
            self._clock.sleep(pause * random.uniform(0.8, 1.2))  # noqa: S311 - spreads retries, no secret
            pause = min(pause * 2, 5.0)

    # One method per kind of step.

    def _create(self, step: Create, spec: RevisionSpec | None) -> None:
        seen = self.observe()
        known = seen.find(step.revision)
        if known is not None and known.state is RevisionState.FAILED and seen.traffic.weight(known.id):
            raise self._not_ready(step.revision, known, "gave up")
        if known is not None and known.state in (RevisionState.FAILED, RevisionState.DELETING):
            # What an earlier try left behind says nothing about this one.
            self._delete(step.revision)
            known = None
        if known is None or known.state is RevisionState.STOPPED:
            if spec is None:
                raise TargetRefused(
                    f"{step.revision} is not on the target, and its bundle and settings are not at hand",
                    hint="run this where the project file is, unchanged; or: mdeploy abort",
                )
            self.patiently(lambda: self._target.create(spec))
            self._until(
                lambda seen: seen.find(step.revision) is not None,
                APPLY_TIMEOUT,
                lambda _: TargetRefused(f"{step.revision} was created but the target does not show it"),
            )

    def _await_ready(self, revision: RevisionId) -> None:
        told = ""

        def ready(seen: Observed) -> bool:
            nonlocal told
            known = seen.find(revision)
            if known is None or known.state is RevisionState.FAILED:
                raise self._not_ready(revision, known, "gave up")
            if known.message and known.message != told:
                told = known.message
                self._progress(told)
            return can_serve(known) if self._returning else known.state is RevisionState.READY

        self._until(
            ready,
            self._policy.ready_timeout,
            lambda seen: self._not_ready(
                revision, seen.find(revision), f"was not ready within {self._policy.ready_timeout:g} s"
            ),
            interruptible=True,
        )

    def _verify(self, revision: RevisionId, verify: VerifyBundle | None) -> None:
        if verify is None or not self._policy.gates.golden:
            self._progress("no golden samples asked for")
            return
        try:
            found = verify(lambda request: self._call(revision, request))
        except TargetUnavailable as error:
            # It was ready a moment ago: that it does not answer now is a fault of the candidate.
            message = f"{revision} did not answer its golden samples: {error.message}"
            raise GateFailed("golden", message, log=self._log(revision)) from error
        if found.failures:
            shown = "; ".join(found.failures[:3])
            more = f" (and {len(found.failures) - 3} more)" if len(found.failures) > 3 else ""
            raise GateFailed(
                "golden",
                f"{revision} does not reproduce its golden samples: {shown}{more}",
                log=self._log(revision),
            )
        told = f"{_count(found.total, 'golden sample')} reproduced"
        self._progress(told if found.total else "the bundle has no golden samples to replay")

    def _call(self, revision: RevisionId, request: HttpRequest) -> HttpResponse:
        self._tick(0.0)  # there may be many samples, and somebody who asks to stop
        return self.patiently(lambda: self._target.call(revision, request), CALL_TIMEOUT)

    def _shift(self, step: Shift) -> None:
        seen = self.observe()
        # On the way back it is set also where it seems to be set already: a change that a process asked
        # for just before it died may not have reached the router yet, and must not come after this one.
        if self._returning or not _same(seen.traffic, step.traffic):
            if not self._returning and not _same(seen.traffic, step.before):
                raise TargetDrifted(
                    f"traffic is {_told(seen.traffic)}, neither as this rollout left it "
                    f"({_told(step.before)}) nor as it wants it ({_told(step.traffic)}): "
                    "somebody else is driving",
                    hint="find out who; then mdeploy resume, or mdeploy abort to return to stable",
                )
            self._await_servers(step.traffic, seen.traffic)
            self.patiently(lambda: self._target.set_traffic(step.traffic))
            self._until(
                lambda now: _same(now.traffic, step.traffic),
                APPLY_TIMEOUT,
                lambda now: TargetUnavailable(
                    f"the router did not apply {_told(step.traffic)} within {APPLY_TIMEOUT:g} s; "
                    f"it still has {_told(now.traffic)}"
                ),
            )
        self._tell("traffic", step.sentence, weights=dict(step.traffic.weights), stable=step.traffic.stable)

    def _await_servers(self, goal: Traffic, now: Traffic) -> None:
        """Whoever is to get more than it has must be able to serve, whatever was true earlier."""
        for revision in goal.weights:
            if goal.weight(revision) > now.weight(revision):
                known = self.observe().find(revision)
                if known is None or not can_serve(known):
                    self._await_ready(revision)

    def _judge(self, step: Judge) -> None:
        began = self._clock.monotonic()
        gates, soak = self._policy.gates, self._policy.soak
        first = self._samples(step)
        while True:
            self._tick(0.5)
            last = self._samples(step)
            if any(judge.window(a, b) is None for a, b in zip(first, last, strict=True)):
                self._progress("the router was restarted: counting afresh")
                first = last
            windows = [judge.window(a, b) or judge.Window() for a, b in zip(first, last, strict=True)]
            found = judge.judge(gates, windows[0], windows[1] if len(windows) > 1 else None)
            elapsed = self._clock.monotonic() - began
            self._tell_judgement(found, elapsed, windows[0].requests)
            self._check_candidate(step)
            if found.verdict is Verdict.FAIL:
                raise self._failed(step.candidate, found)
            if elapsed >= soak and found.verdict is Verdict.PASS:
                return
            if elapsed >= soak + gates.patience:
                raise self._undecided(found, elapsed)

    def _drain(self, revision: RevisionId) -> None:
        deadline = self._clock.monotonic() + self._policy.drain_timeout
        while self.observe().find(revision) is not None:
            in_flight = self._sample(revision).in_flight
            if not in_flight or self._clock.monotonic() >= deadline:
                return
            self._progress(f"{_count(in_flight, 'request')} in flight")
            self._clock.sleep(0.1)

    def _delete(self, revision: RevisionId) -> None:
        seen = self.observe()
        if seen.find(revision) is None:
            return
        if seen.traffic.weight(revision):
            raise TargetDrifted(
                f"{revision} is to be deleted but has {seen.traffic.weight(revision)} % of the traffic: "
                "somebody else is driving",
                hint="see mdeploy status; then mdeploy resume or mdeploy abort",
            )
        grace = self._policy.drain_timeout
        self.patiently(lambda: self._target.delete(revision, grace=grace))
        self._until(
            lambda now: now.find(revision) is None,
            grace + APPLY_TIMEOUT,
            lambda _: TargetUnavailable(
                f"{revision} is still there {grace + APPLY_TIMEOUT:g} s after its end"
            ),
        )

    # Waiting.

    def _until(
        self,
        holds: Callable[[Observed], bool],
        timeout: float,
        give_up: Callable[[Observed], Exception],
        *,
        interruptible: bool = False,
    ) -> None:
        """Look at the target, at growing intervals, until ``holds``."""
        deadline = self._clock.monotonic() + timeout
        pause = 0.01
        while not holds(seen := self.observe()):
            if self._clock.monotonic() >= deadline:
                raise give_up(seen)
            self._tick(pause) if interruptible else self._clock.sleep(pause)
            pause = min(pause * 1.5, 0.25)

    def _tick(self, seconds: float) -> None:
        if self._interrupted() and not self._returning:
            raise Interrupted("interrupted")
        self._clock.sleep(seconds)

    # Words for what was found.

    def _samples(self, step: Judge) -> list[Sample]:
        return [self._sample(name) for name in (step.candidate, step.stable) if name]

    def _sample(self, revision: RevisionId) -> Sample:
        return self.patiently(lambda: self._target.sample(revision))

    def _check_candidate(self, step: Judge) -> None:
        known = self.observe().find(step.candidate)
        if known is None or known.state is RevisionState.FAILED:
            raise self._not_ready(step.candidate, known, "stopped serving")

    def _not_ready(self, revision: RevisionId, known: RevisionStatus | None, what: str) -> GateFailed:
        state = f"its state is {known.state.value}" if known else "the target does not have it any more"
        reason = f": {known.message}" if known and known.message else ""
        return GateFailed("readiness", f"{revision} {what}; {state}{reason}", log=self._log(revision))

    def _failed(self, candidate: RevisionId, found: Judgement) -> GateFailed:
        measures = judge.failed_measures(found)
        told = "; ".join(tell_measure(measure) for measure in measures)
        return GateFailed(
            measures[0].gate,
            f"{candidate} failed: {told}",
            measures=found.measures,
            log=self._log(candidate),
        )

    def _undecided(self, found: Judgement, elapsed: float) -> Inconclusive:
        doubts = [measure for measure in found.measures if measure.verdict is Verdict.INCONCLUSIVE]
        told = "; ".join(tell_measure(measure) for measure in doubts)
        return Inconclusive(f"undecided after {elapsed:.0f} s: {told}", details=_measures_told(found))

    def _log(self, revision: RevisionId) -> Sequence[str]:
        try:
            return list(islice(self._target.logs(revision, tail=LOG_LINES), LOG_LINES))
        except ModelDeployError:
            return ()  # the log is a courtesy: its absence must not hide why it was wanted

    def _tell_judgement(self, found: Judgement, elapsed: float, requests: int) -> None:
        self._tell(
            "judge",
            f"{found.verdict.value} after {elapsed:.0f} s and {requests} requests",
            verdict=found.verdict.value,
            elapsed=round(elapsed, 1),
            soak=self._policy.soak,
            patience=self._policy.gates.patience,
            requests=requests,
            **_measures_told(found),
        )

    def _progress(self, message: str) -> None:
        self._tell("step.progress", message)

    def _tell(self, event: str, message: str, /, **data: object) -> None:
        self._emit(Event(event, self._clock.now(), message, data))


def tell_measure(measure: Measure) -> str:
    """One gate in words and numbers, e.g. ``error_rate 19.8 % (limit 1 %, stable 0 %)``."""
    beside = f", stable {_number(measure.stable, measure.unit)}" if measure.stable is not None else ""
    note = f" ({measure.note})" if measure.note else ""
    limit = "at least" if measure.gate == "min_requests" else "limit"
    return (
        f"{measure.gate} {_number(measure.candidate, measure.unit)} "
        f"({limit} {_number(measure.limit, measure.unit)}{beside}){note}"
    )


def _number(value: float | None, unit: str) -> str:
    if value is None:
        return "unknown"
    match unit:
        case "share":
            return f"{100 * value:.3g} %"
        case "s":
            return f"{1000 * value:.3g} ms" if value < 0.9995 else f"{value:.3g} s"
        case "x":
            return f"{value:.3g} times"
    return f"{value:g}"


def _measures_told(found: Judgement) -> dict[str, object]:
    told = []
    for measure in found.measures:
        fields = {name: getattr(measure, name) for name in measure.__dataclass_fields__}
        told.append({**fields, "verdict": measure.verdict.value})
    return {"measures": told}


def _count(number: int, thing: str) -> str:
    return f"{number} {thing}{'' if number == 1 else 's'}"


def _same(one: Traffic, other: Traffic) -> bool:
    return one.same_weights(other) and one.stable == other.stable


def _told(traffic: Traffic) -> str:
    routed = [f"{name} {share} %" for name, share in traffic.weights.items() if share]
    return (", ".join(routed) or "none") + (f" (stable {traffic.stable})" if traffic.stable else "")
