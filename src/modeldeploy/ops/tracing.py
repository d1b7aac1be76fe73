"""Looking back: what was done, what was live when, and where an answer came from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from modeldeploy.audit import Broken, Entry, Intact, times
from modeldeploy.audit.timeline import ROLLOUTS, Period, bundles_of, live_at
from modeldeploy.clock import SystemClock
from modeldeploy.config.peek import peek, target_names
from modeldeploy.errors import ConfigError, ModelDeployError
from modeldeploy.events import Emit
from modeldeploy.model import BundleRef, RevisionStatus
from modeldeploy.ops.auditing import recorder
from modeldeploy.targets import open_target


@dataclass(frozen=True, slots=True)
class AuditEntry:
    """One entry of the audit log, for people and programs."""

    n: int
    at: float
    """Unix seconds."""
    kind: str
    by: str
    command: str
    target: str | None
    bundle: BundleRef | None
    revision: str | None
    rollout: str | None
    summary: str
    """What came of it, in a few words."""
    data: Mapping[str, Any]
    previous: str


@dataclass(frozen=True, slots=True)
class AuditView:
    """The newest entries of the log, newest first."""

    where: str
    entries: tuple[AuditEntry, ...]
    total: int
    waiting: int
    """Entries of this machine that the registry has not taken yet."""


@dataclass(frozen=True, slots=True)
class AuditVerified:
    """Whether the log is as it was written."""

    where: str
    intact: bool
    entries: int
    head: str
    """Digest of the last entry, to compare with others."""
    fault: Broken | None
    message: str


@dataclass(frozen=True, slots=True)
class LiveThen:
    """What was live at a time."""

    at: float
    """Unix seconds."""
    shown: str
    """The time with its zone."""
    periods: tuple[Period, ...]


@dataclass(frozen=True, slots=True)
class LiveNow:
    """Where a revision is now."""

    target: str
    state: str
    weight: int
    stable: bool


@dataclass(frozen=True, slots=True)
class Trace:
    """All that is known of a revision: what it is, who let it through, by what numbers, where it is."""

    revision: str
    bundle: BundleRef
    commit: str | None
    dirty: bool | None
    """True where the files differed from the commit."""
    built: str | None
    pushes: tuple[AuditEntry, ...]
    tests: tuple[AuditEntry, ...]
    approvals: tuple[AuditEntry, ...]
    others: tuple[AuditEntry, ...]
    """Signatures, scans, aliases, pulls."""
    rollouts: tuple[AuditEntry, ...]
    """Promotions and deployments of this bundle, with their numbers; and what took it back."""
    live: tuple[LiveNow, ...]
    unasked: tuple[str, ...]
    """Targets that did not answer, and why."""


def audit(root: Path, *, limit: int = 20, emit: Emit = lambda _: None) -> AuditView:
    """The newest entries of the project's audit log. Raises `RegistryError`, also for an edited log."""
    log = recorder(root, emit)
    entries = log.entries()
    newest = reversed(entries[max(0, len(entries) - limit) :])
    waiting = len(log.spool.waiting())
    return AuditView(log.where, tuple(_told(entry) for entry in newest), len(entries), waiting)


def audit_verify(root: Path, *, emit: Emit = lambda _: None) -> AuditVerified:
    """Look at every entry as it is kept, and whether the log still is the one that this machine has seen."""
    log = recorder(root, emit)
    found = log.verify()
    if isinstance(found, Intact):
        told = f"all {found.entries} entries are as they were written"
        return AuditVerified(log.where, True, found.entries, found.head.digest, None, told)
    return AuditVerified(log.where, False, found.line - 1, "", found, found.message)


_AHEAD = 300.0
"""Seconds that another machine's clock may be ahead."""


def at(root: Path, time: str, target: str | None = None, *, emit: Emit = lambda _: None) -> LiveThen:
    """What was live at that time: every revision with its share, since when, until when, by whom."""
    now = SystemClock().now()
    when = times.parse(time, now)
    if when > now + _AHEAD:
        raise ConfigError(f"{times.show(when)} is yet to come", hint="mdeploy at now")
    if target is not None:
        target = peek(root, target).target
    periods = live_at(recorder(root, emit).entries(), when, target)
    return LiveThen(when, times.show(when), tuple(periods))


def trace(root: Path, header: str, *, emit: Emit = lambda _: None) -> Trace:
    """From the ``x-model-version`` of an answer to all that is known of what gave it.

    Raises `ConfigError`, naming the nearest, for a revision that neither the log nor a target knows.
    """
    entries = recorder(root, emit).entries()
    live, known, unasked = _look(root)
    bundles = {**{name: status.bundle for name, status in known.items()}, **bundles_of(entries)}
    wanted = header.strip()
    bundle = bundles.get(wanted)
    if bundle is None:
        near = get_close_matches(wanted, list(bundles), n=1, cutoff=0.5)
        raise ConfigError(
            f"no revision {wanted[:80]!r} is known to the audit log or to a target",
            hint=f"did you mean: mdeploy trace {near[0]}"
            if near
            else "mdeploy audit lists what was rolled out",
            details={"known": sorted(bundles)[:50]},
        )
    own = [
        _told(entry)
        for entry in entries
        if entry.record.revision == wanted
        or (entry.record.bundle and entry.record.bundle.digest == bundle.digest)
        or entry.record.data.get("candidate") == wanted
    ]
    build: Mapping[str, Any] = next((one.data["build"] for one in own if one.data.get("build")), {})
    grouped = {kind: tuple(one for one in own if one.kind == kind) for kind in ("push", "test", "approve")}
    return Trace(
        revision=wanted,
        bundle=bundle,
        commit=build.get("commit"),
        dirty=build.get("dirty"),
        built=build.get("built"),
        pushes=grouped["push"],
        tests=grouped["test"],
        approvals=grouped["approve"],
        others=tuple(one for one in own if one.kind not in {*grouped, *ROLLOUTS}),
        rollouts=tuple(one for one in own if one.kind in ROLLOUTS),
        live=tuple(found for name, found in live if name == wanted),
        unasked=unasked,
    )


def _look(root: Path) -> tuple[list[tuple[str, LiveNow]], dict[str, RevisionStatus], tuple[str, ...]]:
    """Every revision on every target now; and the targets that could not be asked."""
    live: list[tuple[str, LiveNow]] = []
    known: dict[str, RevisionStatus] = {}
    unasked: list[str] = []
    for name in target_names(root):
        try:
            address = peek(root, name)
            place = open_target(address.driver, address.project, address.target, address.options)
            observed = place.observe()
        except ModelDeployError as error:
            unasked.append(f"{name}: {error.message}")
            continue
        for status in observed.revisions:
            known[status.id] = status
            weight, stable = observed.traffic.weight(status.id), observed.traffic.stable == status.id
            live.append((status.id, LiveNow(name, status.state.value, weight, stable)))
    return live, known, tuple(unasked)


def _told(entry: Entry) -> AuditEntry:
    record = entry.record
    return AuditEntry(
        entry.n,
        record.at,
        record.kind,
        record.by,
        record.command,
        record.target,
        record.bundle,
        record.revision,
        record.rollout,
        _summary(entry),
        record.data,
        entry.previous,
    )


def _summary(entry: Entry) -> str:
    data, kind = entry.record.data, entry.record.kind
    if kind in ROLLOUTS:
        source = data.get("source") or {}
        where = f" from {source['target']}" if source.get("target") else ""
        reason = f": {data['reason']}" if data.get("reason") else ""
        return f"{data.get('outcome') or 'unknown'}{where}{reason}"
    if kind == "approve":
        note = f": {data['note']}" if data.get("note") else ""
        return f"{'taken back' if data.get('revoked') else 'approved'} for {data.get('for')}{note}"
    if kind in ("test", "scan"):
        return f"{'passed' if data.get('passed') else 'failed'}{_why(data)}"
    return str(data.get("told") or (f"@{data['alias']}" if data.get("alias") else ""))


def _why(data: Mapping[str, Any]) -> str:
    checks: Sequence[Mapping[str, Any]] = data.get("checks") or ()
    failed = [f"{one.get('check')}: {one.get('message')}" for one in checks if not one.get("passed")]
    return f": {'; '.join(failed)}" if failed else ""
