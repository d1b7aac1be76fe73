"""From what is wanted and what is observed to a list of steps. Pure: no clock, no calls, no files."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from modeldeploy.errors import ConfigError, TargetRefused
from modeldeploy.model import (
    BundleRef,
    Capabilities,
    Observed,
    Policy,
    RevisionId,
    RevisionState,
    RevisionStatus,
    Traffic,
)
from modeldeploy.rollout.steps import AwaitReady, Create, Delete, Drain, Judge, Shift, Step, Verify


@dataclass(frozen=True, slots=True)
class Plan:
    """Steps in order, and what they are about."""

    steps: tuple[Step, ...]
    candidate: RevisionId | None
    """The revision being rolled out; None where the plan only goes back or cleans up."""
    stable: RevisionId | None
    """The revision to return to; None where the target had none."""


def plan_rollout(
    revision: RevisionId, bundle: BundleRef, policy: Policy, observed: Observed, can: Capabilities
) -> Plan:
    """Steps that make ``revision`` the stable one, from whatever the target is doing now.

    Called again in the middle of a rollout (its journal lost, say) it gives the steps that are left.
    Raises `ConfigError` where the target cannot do what the policy asks.
    """
    refuse_what_the_target_cannot(policy, can, observed)
    stable = observed.traffic.stable
    if revision == stable:
        return Plan(tuple(_settle(revision, policy, observed)), None, stable)
    old = observed.find(stable) if stable else None
    compare_with = stable if old is not None and can_serve(old) else None
    steps: list[Step] = [Create(revision, bundle), AwaitReady(revision), Verify(revision)]
    steps += _traffic_steps(revision, stable, compare_with, policy, observed)
    steps += clean_up(observed, revision, stable, policy)
    return Plan(tuple(steps), revision, stable)


def plan_return(to: RevisionId | None, *, drop: RevisionId | None, observed: Observed) -> Plan:
    """Steps that give ``to`` all traffic at once and delete ``drop`` (a candidate that failed).

    ``to`` None: there is nothing to return to, so traffic goes nowhere. ``drop`` None: whoever had
    the traffic is parked, so that one may come back to it.
    """
    goal = Traffic({to: 100}, stable=to, fallback=(to,)) if to else Traffic()
    steps: list[Step] = [Shift(goal, before=observed.traffic)]
    if drop and drop != to and observed.find(drop):
        steps += [Drain(drop), Delete(drop)]
    return Plan(tuple(steps), None, to)


def choose_return(observed: Observed, wanted: str | None, candidate: RevisionId | None = None) -> RevisionId:
    """The parked revision that a rollback goes to: the newest one, or the one that ``wanted`` names.

    ``wanted`` is a revision id, a version or a bundle reference. ``candidate`` is on its way: gates and
    policy are what lets it in, and no rollback is. Raises `ConfigError` where ``wanted`` is not on the
    target, `TargetRefused` where nothing is parked.
    """
    parked = newest_first(
        known
        for known in observed.revisions
        if known.id not in (observed.traffic.stable, candidate) and known.state is not RevisionState.DELETING
    )
    if wanted is None:
        return _former(parked, observed)
    for known in parked:
        if wanted in (known.id, known.bundle.version, str(known.bundle)):
            return known.id
    there = ", ".join(f"{known.id} ({known.bundle})" for known in parked) or "none"
    raise ConfigError(f"{wanted} is not parked on this target; parked are: {there}")


def _settle(stable: RevisionId, policy: Policy, observed: Observed) -> list[Step]:
    """Steps for a revision that is stable already: it gets what others still have, and they go."""
    known = observed.find(stable)
    if known is None or not can_serve(known):
        state = f"is {known.state.value}: {known.message}" if known else "is gone from the target"
        raise TargetRefused(
            f"{stable} is deployed already, but it {state}", hint="restart it: mdeploy up; why: mdeploy logs"
        )
    settled = observed.traffic.weight(stable) == 100
    back = () if settled else plan_return(stable, drop=None, observed=observed).steps
    return [*back, *clean_up(observed, stable, None, policy)]


def _former(parked: Sequence[RevisionStatus], observed: Observed) -> RevisionId:
    """The revision that stable took over from; else the newest that is older than stable.

    A revision that a rollback left is neither: rolling back twice goes further back, not forth again.
    """
    stable = observed.find(observed.traffic.stable) if observed.traffic.stable else None
    for name in observed.traffic.fallback:
        if any(known.id == name for known in parked):
            return name
    older = [known for known in parked if stable is None or known.created < stable.created]
    if older:
        return older[0].id
    named = f"; parked are: {', '.join(known.id for known in parked)}" if parked else ""
    raise TargetRefused(
        f"there is no former revision on this target to roll back to{named}",
        hint="name one with --to, or deploy an older bundle: mdeploy deploy NAME:VERSION",
    )


def refuse_what_the_target_cannot(policy: Policy, can: Capabilities, observed: Observed) -> None:
    """Raise `ConfigError`, saying what the target can do, rather than do something else silently."""
    if policy.strategy not in can.strategies:
        there = ", ".join(sorted(can.strategies))
        raise ConfigError(
            f"this target cannot do a {policy.strategy} rollout; it can do: {there}",
            hint="choose one of these as rollout.strategy in modeldeploy.toml",
        )
    odd = [share for share in policy.steps if share % can.weight_step]
    if policy.strategy == "canary" and odd:
        raise ConfigError(
            f"this target moves traffic in steps of {can.weight_step} %; rollout.steps has {odd}",
            hint=f"use multiples of {can.weight_step}",
        )
    if can.max_revisions is not None and observed.traffic.stable and can.max_revisions < 2:
        raise ConfigError("this target runs one revision at a time; it cannot roll out beside another")


def can_serve(revision: RevisionStatus) -> bool:
    """True if at least one replica is ready to answer."""
    serving = (RevisionState.READY, RevisionState.DEGRADED)
    return revision.state in serving and revision.ready_replicas > 0


def clean_up(observed: Observed, stable: RevisionId, former: RevisionId | None, policy: Policy) -> list[Step]:
    """Steps that delete what a promotion leaves over: all but the newest ``keep`` that can still serve.

    The former stable revision is the first to be kept.
    """
    others = [known for known in observed.revisions if known.id != stable]
    ranked = sorted(
        newest_first(others), key=lambda known: (known.id != former, known.state is RevisionState.FAILED)
    )
    steps: list[Step] = []
    for place, known in enumerate(ranked):
        if place >= policy.keep or (known.state is RevisionState.FAILED and known.id != former):
            steps += [Drain(known.id), Delete(known.id)]
    return steps


def newest_first(revisions: Iterable[RevisionStatus]) -> list[RevisionStatus]:
    """The revisions by time of creation, then by id, the newest first."""
    return sorted(revisions, key=lambda revision: (revision.created, revision.id), reverse=True)


def _traffic_steps(
    revision: RevisionId,
    stable: RevisionId | None,
    compare_with: RevisionId | None,
    policy: Policy,
    observed: Observed,
) -> list[Step]:
    before = observed.traffic
    fallback = (revision,) if stable is None or policy.keep == 0 else (revision, stable)
    goal = Traffic({revision: 100}, stable=revision, fallback=fallback)
    if stable is None or compare_with is None:
        # Nobody answers now: there is nothing to compare with and nothing to lose.
        return [Shift(goal, before)]
    shares = _shares(policy, observed)
    reached = before.weight(revision)
    steps: list[Step] = [Judge(revision, stable)] if reached else []
    for share in shares:
        if share <= reached:
            continue
        weights = {revision: share, stable: 100 - share} if share < 100 else {revision: 100}
        after = Traffic(weights, stable=stable, fallback=(stable, revision))
        steps.append(Shift(after, before))
        # A rolling rollout asks only whether the new revision is still ready; the others, for numbers.
        steps.append(AwaitReady(revision) if policy.strategy == "rolling" else Judge(revision, stable))
        before = after
    steps.append(Shift(goal, before))
    return steps


def _shares(policy: Policy, observed: Observed) -> Sequence[int]:
    """The candidate's weights on the way to its promotion, which gives it 100."""
    if policy.strategy == "blue-green":
        return (100,)
    if policy.strategy == "rolling":
        stable = observed.find(observed.traffic.stable) if observed.traffic.stable else None
        parts = max(2, stable.replicas if stable else 1)
        return tuple(100 * part // parts for part in range(1, parts))
    return policy.steps
