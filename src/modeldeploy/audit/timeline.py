"""What was live when, by the audit log. Pure: entries in, periods out.

Entries are believed in the order of the log; times are what each machine's clock said. A clock that was
behind cannot make a period older than what the log already had by then, and one that is ahead cannot put
it into the future.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from modeldeploy.audit import Entry
from modeldeploy.model import BundleRef

ROLLOUTS = frozenset({"promote", "deploy", "rollback", "abort", "destroy"})
"""Kinds of entry that tell what traffic a target had."""
OPEN = frozenset({"unfinished", "held"})
"""Outcomes after which a rollout is not over."""
AHEAD = 60.0
"""Seconds by which another machine's clock may be ahead before its time is not believed."""


@dataclass(frozen=True, slots=True)
class Period:
    """A revision that had a share of a target's traffic, from when to when."""

    target: str
    revision: str
    bundle: BundleRef | None
    """None where no entry tells what the revision was made of."""
    weight: int
    """Percent."""
    stable: bool
    since: float
    """Unix seconds."""
    until: float | None
    """None: it still has it, by the log."""
    by: str
    command: str
    entry: int
    """The entry that gave it this share."""


@dataclass(frozen=True, slots=True)
class Steady:
    """Since when a bundle has been the stable one of a target."""

    since: float
    entry: int
    note: str = ""
    """What is odd about the clocks."""


def bundles_of(entries: Sequence[Entry]) -> dict[str, BundleRef]:
    """The bundle of each revision that the log knows."""
    known: dict[str, BundleRef] = {}
    for entry in entries:
        told = entry.record.data.get("bundles")
        for revision, value in (told if isinstance(told, Mapping) else {}).items():
            if found := _bundle(value):
                known[revision] = found
        if entry.record.revision and entry.record.bundle:
            known[entry.record.revision] = entry.record.bundle
    return known


def live_at(entries: Sequence[Entry], time: float, target: str | None = None) -> list[Period]:
    """Every revision that had traffic at that time, by target, the largest share first."""
    known = bundles_of(entries)
    found = []
    for name in sorted({entry.record.target for entry in entries if entry.record.target}):
        if target in (None, name):
            found += [
                replace(period, bundle=known.get(period.revision))
                for period in _periods(entries, name)
                if period.since <= time and (period.until is None or time < period.until)
            ]
    return sorted(found, key=lambda period: (period.target, -period.weight, period.revision))


def steady_since(entries: Sequence[Entry], target: str, digest: str, now: float) -> Steady | None:
    """Since when a bundle is the stable one of a target without a break; None where no entry tells.

    It counts from the end of the rollout that made it so.
    """
    known = bundles_of(entries)
    steady: Steady | None = None
    latest = 0.0
    for entry in entries:
        at = entry.record.at
        latest = max(latest, at) if at <= now + AHEAD else latest
        if entry.record.target != target or entry.record.kind not in ROLLOUTS:
            continue
        stable = _stable_after(entry.record.data)
        ref = known.get(stable) if stable else None
        if ref is None or ref.digest != digest:
            steady = None
        elif steady is None and entry.record.data.get("outcome") not in OPEN:
            steady = _steady(entry, latest, now)
    return steady


def _steady(entry: Entry, latest: float, now: float) -> Steady:
    at, by = entry.record.at, entry.record.by
    if at > now + AHEAD:
        return Steady(now, entry.n, f"the clock of {by} was ahead: entry {entry.n} is not over by ours")
    if at < latest - AHEAD:
        note = f"the clock of {by} was behind: an entry before entry {entry.n} is younger, and counts"
        return Steady(min(latest, now), entry.n, note)
    return Steady(min(max(at, latest), now), entry.n)


def _stable_after(data: Mapping[str, Any]) -> str | None:
    """The stable revision when the rollout ended."""
    moves = data.get("traffic") or [data.get("before") or {}]
    stable = moves[-1].get("stable")
    return str(stable) if stable else None


def _periods(entries: Sequence[Entry], target: str) -> Iterator[Period]:
    """All periods of a target, as they end; those that have not ended last."""
    open_now: dict[str, Period] = {}
    clock = 0.0
    for entry, move in _moves(entries, target):
        clock = max(clock, float(move.get("at") or entry.record.at))
        weights = {str(name): int(share) for name, share in (move.get("weights") or {}).items() if share}
        for name, period in list(open_now.items()):
            if weights.get(name) != period.weight or (move.get("stable") == name) != period.stable:
                yield replace(period, until=clock)
                del open_now[name]
        for name, share in weights.items():
            if name not in open_now:
                record = entry.record
                stable = move.get("stable") == name
                open_now[name] = Period(
                    target, name, None, share, stable, clock, None, record.by, record.command, entry.n
                )
    yield from open_now.values()


def _moves(entries: Sequence[Entry], target: str) -> Iterator[tuple[Entry, Mapping[str, Any]]]:
    for entry in entries:
        if entry.record.target == target and entry.record.kind in ROLLOUTS:
            before = entry.record.data.get("before")
            for move in [*([before] if before else []), *(entry.record.data.get("traffic") or [])]:
                yield entry, move


def _bundle(value: object) -> BundleRef | None:
    try:
        return BundleRef(**value) if isinstance(value, Mapping) else None
    except TypeError:
        return None
