"""A target as it is now, for people and for programs."""

from __future__ import annotations

import time
from collections.abc import Iterator

from modeldeploy.cli import text
from modeldeploy.model import Observed, RevisionStatus
from modeldeploy.ops.watching import TargetStatus


def told(found: TargetStatus) -> dict[str, object]:
    """The target for programs: the result of ``status --json``."""
    seen = found.observed
    return {
        "target": found.name,
        "up": seen.up,
        "endpoint": seen.endpoint,
        "stable": seen.traffic.stable,
        "revisions": [_revision_told(known, found) for known in seen.revisions],
        "rollout": found.rollout,
        "holder": found.holder,
        "notes": seen.notes,
    }


def _revision_told(known: RevisionStatus, found: TargetStatus) -> dict[str, object]:
    return {
        "id": known.id,
        "bundle": str(known.bundle),
        "digest": known.bundle.digest,
        "state": known.state,
        "weight": found.observed.traffic.weight(known.id),
        "role": _role(known, found),
        "replicas": known.replicas,
        "ready_replicas": known.ready_replicas,
        "restarts": known.restarts,
        "created": known.created,
        "message": known.message,
    }


def _role(known: RevisionStatus, found: TargetStatus) -> str:
    if known.id == found.observed.traffic.stable:
        return "stable"
    if found.rollout is not None and known.id == found.rollout.candidate:
        return "candidate"
    return "parked" if not found.observed.traffic.weight(known.id) else "routed"


def lines(found: TargetStatus) -> Iterator[str]:
    """The target for people."""
    seen = found.observed
    condition = "up" if seen.up else "DOWN" if seen.revisions else "empty"
    yield "  ".join(word for word in (found.name, seen.endpoint, condition) if word)
    yield from _revision_lines(seen, found)
    yield from _rollout_lines(found)
    for note in seen.notes:
        yield f"  note: {text.clean(note)}"


def _revision_lines(seen: Observed, found: TargetStatus) -> Iterator[str]:
    if not seen.revisions:
        yield f"  nothing runs here; try: mdeploy deploy {found.name}"
        return
    header = ("REVISION", "BUNDLE", "STATE", "WEIGHT", "REPLICAS", "ROLE", "AGE")
    ordered = sorted(seen.revisions, key=lambda known: (-seen.traffic.weight(known.id), -known.created))
    rows = [_revision_row(known, found) for known in ordered]
    yield from (f"  {line}" for line in text.table(header, rows))
    for known in ordered:
        if known.message and known.state.value != "ready":
            yield f"  {known.id}: {text.clean(known.message)}"


def _revision_row(known: RevisionStatus, found: TargetStatus) -> tuple[str, ...]:
    return (
        known.id,
        str(known.bundle),
        known.state.value,
        f"{found.observed.traffic.weight(known.id)} %",
        f"{known.ready_replicas}/{known.replicas}",
        _role(known, found),
        text.age(time.time() - known.created),
    )


def _rollout_lines(found: TargetStatus) -> Iterator[str]:
    rollout, holder = found.rollout, found.holder
    if holder is not None:
        since = text.age(time.time() - holder.since)
        yield f"  changing now: {holder.command} by {holder.owner} (pid {holder.pid}), for {since}"
    elif rollout is not None:
        ago = text.age(time.time() - rollout.began)
        what = rollout.candidate or rollout.stable
        yield f"  unfinished: {rollout.action} of {what} by {rollout.by}, begun {ago} ago"
        if rollout.reason:
            yield f"    {text.clean(rollout.reason)}"
        yield f"  try: mdeploy resume {found.name}    (go on)"
        yield f"       mdeploy abort {found.name}     (all traffic to stable)"
