"""The one loop: every rollout and every way back, on every target, runs through `Engine._run`.

An act is announced in the journal, done, and noted as done. When a candidate fails a gate, the engine
asks the target where traffic is, plans the way back, writes that plan down and runs it by the same
loop. A process that dies in between leaves a journal that `resume` goes on from.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import NoReturn

from modeldeploy.clock import Clock
from modeldeploy.errors import (
    ModelDeployError,
    RolloutHeld,
    RolloutRejected,
    RolloutStuck,
    TargetError,
    TargetRefused,
)
from modeldeploy.events import Emit, Event
from modeldeploy.model import BundleRef, Holder, Observed, Policy, RevisionId, RevisionSpec
from modeldeploy.rollout import journal as journals
from modeldeploy.rollout.acts import Acts, GateFailed, Inconclusive, Interrupted, VerifyBundle
from modeldeploy.rollout.journal import PROMOTED, Entry, Journal
from modeldeploy.rollout.plan import Plan, choose_return, plan_return, plan_rollout
from modeldeploy.rollout.steps import Step, encode_traffic, kind_of, promotion_index
from modeldeploy.target import Target

SHOWN_LINES = 10
"""Log lines of a refused candidate that its error shows; the journal keeps more."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """How an operation on a target ended well. What ends otherwise is raised."""

    result: str
    """``promoted``, ``rolled-back``, ``aborted`` or ``unchanged``."""
    revision: RevisionId | None
    """Who is stable now."""
    previous: RevisionId | None
    """Who was."""
    endpoint: str | None
    seconds: float


class Engine:
    """Runs rollouts on one target. Every public method holds the target's lock while it runs."""

    def __init__(
        self,
        target: Target,
        policy: Policy,
        *,
        holder: Holder,
        clock: Clock,
        emit: Emit,
        interrupted: Callable[[], bool] = lambda: False,
    ) -> None:
        self._target = target
        self._policy = policy
        self._holder = holder
        self._clock = clock
        self._emit = emit
        self._interrupted = interrupted
        self._began = clock.monotonic()

    # What people ask for.

    def deploy(self, spec: RevisionSpec, verify: VerifyBundle | None) -> Outcome:
        """Make the spec's revision the stable one, as the policy says.

        Raises `RolloutRejected` (it failed, and all is as before), `RolloutHeld` (undecided, or an
        earlier rollout is unfinished), `RolloutStuck`, `LockHeld` or a `TargetError`.
        """
        with self._target.store.lock(self._holder):
            self._refuse_if_unfinished()
            return self._deploy(spec, verify)

    def rollback(self, to: str | None = None) -> Outcome:
        """Give all traffic to a former revision at once; a candidate on its way is taken back.

        ``to`` names a parked revision by id, version or bundle; by default the one before.
        """
        with self._target.store.lock(self._holder):
            entry = self._unfinished()
            observed = self._observe()
            if entry and to is None and entry.begun and observed.traffic.stable != entry.candidate:
                return self._take_back(entry, "rolled back by hand", "rolled-back")
            if entry is None and to is None and _unsettled(observed):
                return self._back_without_journal(observed, "rolled-back")
            if entry and to is None and not entry.begun:
                self._journal(entry).end("abandoned")  # it died before it touched anything: that is undone
                return self._outcome("rolled-back", observed.traffic.stable)
            goal = choose_return(observed, to, entry.candidate if entry else None)
            if entry:
                self._journal(entry).end(entry.towards if entry.begun else "abandoned")
            plan = plan_return(goal, drop=None, observed=observed)
            journal = self._start("rollback", plan, None, "rolled-back", "rolled back by hand")
            return self._return(journal, plan.steps, "rolled-back", observed.traffic.stable)

    def resume(self, spec: RevisionSpec | None, verify: VerifyBundle | None) -> Outcome:
        """Go on with what was interrupted or held: forward, or back if it was on its way back.

        ``spec`` is the candidate's, needed only if it was never created. Without a journal the
        target itself says what is unfinished, and ``spec`` says with what to go on.
        """
        with self._target.store.lock(self._holder):
            entry = self._unfinished()
            if entry is None:
                return self._resume_without_journal(spec, verify)
            journal = self._journal(entry)
            if not entry.steps:
                journal.end("abandoned")
                return self._outcome("unchanged", entry.stable)
            self._policy = entry.policy
            plan = Plan(entry.steps, entry.candidate, entry.stable)
            self._tell_start(entry.rollout, "resume", plan)
            if entry.towards != PROMOTED:
                done = self._return(journal, entry.steps, entry.towards, entry.candidate, entry.done)
                return self._rejected(entry.reason) if entry.towards == "rejected" else done
            if spec is not None and spec.id != entry.candidate:
                spec = None  # the project has moved on: what the target has can be promoted all the same
            return self._forward(journal, plan, spec, verify, entry.done)

    def abort(self) -> Outcome:
        """Take an unfinished rollout back: stable gets all traffic, the candidate goes."""
        with self._target.store.lock(self._holder):
            entry = self._unfinished()
            observed = self._observe()
            if entry is None:
                return self._back_without_journal(observed, "aborted")
            if not entry.begun:
                self._journal(entry).end("abandoned")
                return self._outcome("aborted", observed.traffic.stable)
            if observed.traffic.stable == entry.candidate:
                raise RolloutHeld(
                    f"{entry.candidate} is promoted already: there is nothing left to abort",
                    hint="finish it with mdeploy resume, or undo it with mdeploy rollback",
                )
            return self._take_back(entry, "aborted by hand", "aborted")

    # Forward, and back.

    def _deploy(self, spec: RevisionSpec, verify: VerifyBundle | None) -> Outcome:
        can = self._target.capabilities
        plan = plan_rollout(spec.id, spec.bundle, self._policy, self._observe(), can)
        if not plan.steps:
            return self._outcome("unchanged", plan.stable)
        journal = self._start("deploy", plan, spec.bundle, PROMOTED)
        return self._forward(journal, plan, spec, verify)

    def _forward(
        self,
        journal: Journal,
        plan: Plan,
        spec: RevisionSpec | None,
        verify: VerifyBundle | None,
        first: int = 0,
    ) -> Outcome:
        acts = self._acts()
        labelled = replace(spec, rollout=journal.rollout) if spec else None
        try:
            self._run(journal, plan.steps, lambda step: acts.carry_out(step, labelled, verify), first)
        except (GateFailed, TargetRefused) as failure:
            self._reject(journal, plan, failure)
        except Interrupted:
            self._stop(journal, plan)
        except Inconclusive as doubt:
            self._hold(journal, plan, doubt)
        except TargetError as error:
            journal.hold(error.message)
            error.hint = error.hint or "when it answers again: mdeploy resume, or mdeploy abort"
            raise
        journal.end(PROMOTED)
        return self._finish("promoted", plan.stable)

    def _return(
        self,
        journal: Journal,
        steps: tuple[Step, ...],
        towards: str,
        previous: RevisionId | None,
        first: int = 0,
        reason: str = "",
    ) -> Outcome:
        acts = self._acts(returning=True)
        try:
            self._run(journal, steps, lambda step: acts.carry_out(step, None, None), first, returning=True)
        except (GateFailed, TargetError) as error:
            raise self._stuck(error) from error
        journal.end(towards, reason)
        return self._finish(towards, previous)

    def _run(
        self,
        journal: Journal,
        steps: tuple[Step, ...],
        carry_out: Callable[[Step], None],
        first: int,
        *,
        returning: bool = False,
    ) -> None:
        promotion = None if returning else promotion_index(steps)
        for index in range(first, len(steps)):
            step = steps[index]
            if promotion is not None and index <= promotion and self._interrupted():
                raise Interrupted("interrupted")
            began = self._clock.monotonic()
            journal.begin(index)
            self._tell("step.begin", step.sentence, index=index, kind=kind_of(step), sentence=step.sentence)
            carry_out(step)
            journal.done(index)
            seconds = round(self._clock.monotonic() - began, 3)
            self._tell("step.done", step.sentence, index=index, kind=kind_of(step), seconds=seconds)

    def _take_back(self, entry: Entry, reason: str, towards: str) -> Outcome:
        self._policy = entry.policy
        plan = Plan(entry.steps, entry.candidate, entry.stable)
        return self._back(self._journal(entry), plan, reason, towards)

    def _back(
        self, journal: Journal, plan: Plan, reason: str, towards: str, log: Sequence[str] = ()
    ) -> Outcome:
        self._tell("rollback.start", reason, reason=reason, towards=towards)
        back = plan_return(plan.stable, drop=plan.candidate, observed=self._observe())
        journal.plan(back.steps, towards, reason, log)
        self._tell_start(journal.rollout, "return", back)
        return self._return(journal, back.steps, towards, plan.candidate, reason=reason)

    # What a rollout that does not reach its goal raises.

    def _reject(self, journal: Journal, plan: Plan, failure: ModelDeployError) -> NoReturn:
        self._hold_if_promoted(journal, plan, failure)
        log = failure.log if isinstance(failure, GateFailed) else ()
        self._back(journal, plan, failure.message, "rejected", log)
        raise RolloutRejected(
            f"{failure.message}; {self._where_traffic_is()}",
            hint="mend the model or the gate, then: mdeploy build --bump patch && mdeploy deploy",
            details=failure.details | _measures_of(failure) | {"log": list(log[-SHOWN_LINES:])},
        ) from failure

    def _rejected(self, reason: str) -> NoReturn:
        raise RolloutRejected(f"{reason}; {self._where_traffic_is()}")

    def _stop(self, journal: Journal, plan: Plan) -> NoReturn:
        if self._policy.on_interrupt == "hold":
            self._hold(journal, plan, Interrupted("interrupted"))
        self._back(journal, plan, "interrupted", "aborted")
        raise RolloutRejected(
            f"interrupted and taken back; {self._where_traffic_is()}", hint="mdeploy deploy begins anew"
        )

    def _hold(self, journal: Journal, plan: Plan, why: ModelDeployError) -> NoReturn:
        journal.hold(why.message)
        self._tell("rollout.held", why.message)
        raise RolloutHeld(
            f"{plan.candidate} is held: {why.message}; {self._where_traffic_is()}",
            hint="go on with mdeploy resume, or take it back with mdeploy abort",
            details=why.details,
        ) from why

    def _hold_if_promoted(self, journal: Journal, plan: Plan, failure: ModelDeployError) -> None:
        if self._observe().traffic.stable == plan.candidate:
            journal.hold(failure.message)
            raise RolloutHeld(
                f"{plan.candidate} is promoted, but cleaning up failed: {failure.message}",
                hint="finish it with mdeploy resume",
            ) from failure

    def _stuck(self, error: ModelDeployError) -> RolloutStuck:
        try:
            traffic = self._where_traffic_is()
        except TargetError:
            traffic = "where traffic is cannot be told: the target does not answer"
        return RolloutStuck(
            f"the way back failed: {error.message}; {traffic}",
            hint="look (mdeploy status, mdeploy logs), mend it, then: mdeploy resume",
            details=error.details,
        )

    def _unfinished(self) -> Entry | None:
        """The rollout that is open here. One whose target was destroyed in the meantime is over."""
        entry = journals.unfinished(self._target.store)
        if entry and entry.begun and entry.stable and not self._observe().revisions:
            journals.close_unfinished(self._target.store, self._clock, "the target was destroyed")
            return None
        return entry

    def _refuse_if_unfinished(self) -> None:
        entry = self._unfinished()
        if entry is None:
            return
        if not entry.begun:
            self._journal(entry).end("abandoned")  # it died before it touched anything
            return
        raise RolloutHeld(
            f"{entry.action} of {entry.candidate or entry.stable} by {entry.by} is unfinished"
            + (f": {entry.reason}" if entry.reason else ""),
            hint="go on with mdeploy resume, or take it back with mdeploy abort",
            details={"rollout": entry.rollout},
        )

    # Without a journal: the target tells what is unfinished.

    def _resume_without_journal(self, spec: RevisionSpec | None, verify: VerifyBundle | None) -> Outcome:
        candidate = _unsettled(self._observe())
        if candidate is None:
            return self._outcome("unchanged", self._observe().traffic.stable)
        if spec is None or spec.id != candidate:
            raise RolloutHeld(
                f"{candidate} is half-way rolled out, and this project file does not describe it",
                hint="check out the commit that it was deployed from, or: mdeploy abort",
            )
        return self._deploy(spec, verify)

    def _back_without_journal(self, observed: Observed, towards: str) -> Outcome:
        candidate = _unsettled(observed)
        if candidate is None:
            return self._outcome("unchanged", observed.traffic.stable)
        plan = plan_return(observed.traffic.stable, drop=candidate, observed=observed)
        journal = self._start("abort", plan, None, towards, f"{towards} by hand")
        return self._return(journal, plan.steps, towards, candidate)

    # Parts.

    def _acts(self, *, returning: bool = False) -> Acts:
        return Acts(
            self._target,
            self._policy,
            clock=self._clock,
            emit=self._emit,
            interrupted=self._interrupted,
            returning=returning,
        )

    def _observe(self) -> Observed:
        return self._acts().observe()

    def _journal(self, entry: Entry) -> Journal:
        return Journal(self._target.store, self._clock, entry.rollout)

    def _start(
        self, action: str, plan: Plan, bundle: BundleRef | None, towards: str, reason: str = ""
    ) -> Journal:
        journal = Journal.open_new(self._target.store, self._clock)
        journal.start(action, self._holder, self._policy, plan, bundle)
        journal.plan(plan.steps, towards, reason)
        self._tell_start(journal.rollout, action, plan)
        return journal

    def _finish(self, result: str, previous: RevisionId | None) -> Outcome:
        outcome = self._outcome(result, previous)
        self._tell("rollout.end", result, outcome=result, seconds=outcome.seconds)
        return outcome

    def _outcome(self, result: str, previous: RevisionId | None) -> Outcome:
        observed = self._observe()
        seconds = round(self._clock.monotonic() - self._began, 3)
        return Outcome(result, observed.traffic.stable, previous, observed.endpoint, seconds)

    def _where_traffic_is(self) -> str:
        routed = [f"{share} % to {name}" for name, share in self._observe().traffic.weights.items() if share]
        return "traffic goes " + ", ".join(routed) if routed else "no revision has traffic"

    def _tell_start(self, rollout: str, action: str, plan: Plan) -> None:
        described = [{"kind": kind_of(step), "sentence": step.sentence} for step in plan.steps]
        self._tell(
            "rollout.start",
            f"{action} {plan.candidate or plan.stable or ''}".strip(),
            rollout=rollout,
            action=action,
            strategy=self._policy.strategy,
            candidate=plan.candidate,
            stable=plan.stable,
            traffic=encode_traffic(self._observe().traffic),
            steps=described,
        )

    def _tell(self, event: str, message: str, /, **data: object) -> None:
        self._emit(Event(event, self._clock.now(), message, data))


def _unsettled(observed: Observed) -> RevisionId | None:
    """The revision that has traffic without being stable; None where all is in order."""
    for revision, share in observed.traffic.weights.items():
        if share and revision != observed.traffic.stable:
            return revision
    return None


def _measures_of(failure: ModelDeployError) -> dict[str, object]:
    if not isinstance(failure, GateFailed):
        return {"gate": "target"}
    fields = ("gate", "candidate", "stable", "limit", "unit", "note")
    return {
        "measures": [
            {**{name: getattr(measure, name) for name in fields}, "verdict": measure.verdict.value}
            for measure in failure.measures
        ]
    }
