"""Looking at targets: what runs, what happened, what it says, what it answers.

Loads neither the project file's schema nor anything heavy: these are the commands for a bad night.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path

from modeldeploy.config.peek import peek, target_names
from modeldeploy.errors import ConfigError, RolloutStuck, TargetUnavailable
from modeldeploy.model import BundleRef, Holder, HttpResponse, Observed, RevisionId
from modeldeploy.rollout import journal
from modeldeploy.target import RolloutStore, Target
from modeldeploy.targets import open_target

UNREADABLE = "unreadable"


@dataclass(frozen=True, slots=True)
class RolloutRecord:
    """One rollout of a target's history. Times are Unix seconds."""

    id: str
    action: str
    """``deploy``, ``rollback`` or ``abort``; ``unreadable`` where its journal makes no sense."""
    began: float
    ended: float | None
    outcome: str | None
    """``promoted``, ``rejected``, ``rolled-back``, ``aborted``, ``abandoned``; None while unfinished.
    ``unknown`` where the journal makes no sense."""
    candidate: RevisionId | None
    bundle: BundleRef | None
    stable: RevisionId | None
    """Who was stable before, or (a rollback's) who it went back to."""
    by: str
    command: str
    reason: str
    held: bool


@dataclass(frozen=True, slots=True)
class TargetStatus:
    """A target as it is now."""

    name: str
    observed: Observed
    rollout: RolloutRecord | None
    """The rollout that is unfinished: running now if there is a ``holder``, else interrupted or held."""
    holder: Holder | None


def open_named(root: Path, target: str | None) -> Target:
    """The project's target of that name; its only one, where ``target`` is None."""
    address = peek(root, target)
    return open_target(address.driver, address.project, address.target, address.options)


def status(root: Path, target: str | None = None) -> list[TargetStatus]:
    """The named target's status, or that of all targets."""
    names = [target] if target is not None else target_names(root)
    return [_status_of(peek(root, name).target, open_named(root, name)) for name in names]


def history(root: Path, target: str | None, *, limit: int = 20) -> list[RolloutRecord]:
    """The target's rollouts, the newest first."""
    store = open_named(root, target).store
    # A process that died while writing its first line leaves a journal that tells of nothing.
    entries = (entry for entry in _entries(store) if entry.action)
    return [_record(entry) for entry in islice(entries, limit)]


def logs(
    root: Path, target: str | None, *, revision: str | None = None, tail: int = 100, follow: bool = False
) -> Iterator[str]:
    """The last lines that a revision wrote: by default the candidate's, or else stable's.

    Of a candidate that was taken back and is gone, the journal has kept some.
    """
    place = open_named(root, target)
    observed = place.observe()
    if revision is not None and _known(observed, revision) is None:
        kept = _kept_log(place, revision)
        if kept is not None:
            return iter(kept[-tail:] if tail else ())
    return place.logs(_revision(observed, revision), tail=tail, follow=follow)


def predict(root: Path, target: str | None, *, body: bytes, path: str = "/predict") -> HttpResponse:
    """Send one request to the target's endpoint, as a user would. Any status is an answer."""
    endpoint = open_named(root, target).observe().endpoint
    if endpoint is None:
        raise TargetUnavailable("the target has no endpoint yet", hint="mdeploy deploy")
    from modeldeploy.ops.http import send

    return send(endpoint, path, body)


def up(root: Path, target: str | None) -> TargetStatus:
    """Begin to bring back what should be running on the target, after a reboot say."""
    place = open_named(root, target)
    place.start()
    return _status_of(peek(root, target).target, place)


def _status_of(name: str, place: Target) -> TargetStatus:
    newest = next(_entries(place.store), None)
    # Read in this order: a rollout that ends in between shows as over, not as interrupted.
    holder, observed = place.store.holder(), place.observe()
    if newest and newest.action == UNREADABLE:
        observed = replace(observed, notes=(*observed.notes, newest.reason))
    is_open = newest and newest.begun and newest.outcome is None
    return TargetStatus(name, observed, _record(newest) if newest and is_open else None, holder)


def _entries(store: RolloutStore) -> Iterator[journal.Entry]:
    """All rollouts, the newest first. A journal that makes no sense must not hide the rest."""
    for name in reversed(store.rollouts()):
        try:
            yield journal.read(store, name)
        except RolloutStuck as error:
            began = float(re.sub(r"^[0-9]+-|[^0-9]", "", name) or 0)  # an id ends with its time
            yield journal.Entry(name, UNREADABLE, began, outcome="unknown", reason=error.message)


def _record(entry: journal.Entry) -> RolloutRecord:
    return RolloutRecord(
        id=entry.rollout,
        action=entry.action,
        began=entry.began,
        ended=entry.ended,
        outcome=entry.outcome,
        candidate=entry.candidate,
        bundle=entry.bundle,
        stable=entry.stable,
        by=entry.by,
        command=entry.command,
        reason=entry.reason,
        held=entry.held,
    )


def _kept_log(place: Target, wanted: str) -> tuple[str, ...] | None:
    for entry in _entries(place.store):
        bundle = entry.bundle
        if entry.log and bundle and wanted in (entry.candidate, bundle.version, str(bundle)):
            return entry.log
    return None


def _known(observed: Observed, wanted: str) -> RevisionId | None:
    for revision in sorted(observed.revisions, key=lambda one: one.created, reverse=True):
        if wanted in (revision.id, revision.bundle.version, str(revision.bundle)):
            return revision.id
    return None


def _revision(observed: Observed, wanted: str | None) -> RevisionId:
    found = _known(observed, wanted) if wanted is not None else None
    if found is not None:
        return found
    known = sorted(observed.revisions, key=lambda revision: revision.created, reverse=True)
    there = ", ".join(revision.id for revision in known) or "none"
    if wanted is not None or not known:
        raise ConfigError(f"{wanted or 'the target'} has no log here; revisions on this target: {there}")
    return known[0].id
