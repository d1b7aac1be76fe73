"""promote, approve, audit, at, trace."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from modeldeploy import ops
from modeldeploy.cli import text
from modeldeploy.cli.commands.rollouts import outcome_of, rolling_out
from modeldeploy.cli.session import Answer, Session
from modeldeploy.oci.descriptor import short

TYPE_CHECKING = False
if TYPE_CHECKING:
    from modeldeploy.audit.timeline import Period
    from modeldeploy.ops.tracing import AuditEntry, Trace


def promote(session: Session) -> Answer:
    """From one target to the next."""
    values = session.values
    with rolling_out(session) as (emit, interrupted):
        done = ops.promote(
            session.root,
            values.source,
            values.target,
            strategy=values.strategy,
            emit=emit,
            interrupted=interrupted,
        )
    told = [f"{done.bundle} ({short(done.bundle.digest)}): {done.source} -> {done.target}"]
    return Answer(done, [*told, *outcome_of(values.target, done)])


def approve(session: Session) -> Answer:
    """Put an approval on record."""
    values = session.values
    with session.view() as view:
        done = ops.approve(
            session.root, values.bundle, values.target, note=values.note, revoke=values.revoke, emit=view.show
        )
    verb = "takes back the approval of" if done.revoked else "approves"
    verb = "approves again, which counts once:" if done.again else verb
    lines = [f"{done.by} {verb} {done.bundle} ({short(done.bundle.digest)}) for {done.target}"]
    people = ", ".join(done.approvals) or "nobody"
    wanted = (
        f"{len(done.approvals)} of {done.wanted}"
        if done.wanted
        else f"{len(done.approvals)}, none is asked for"
    )
    return Answer(done, [*lines, f"approvals now: {wanted} ({people})"])


def audit(session: Session) -> Answer:
    """Who did what; or whether the log is whole."""
    if session.values.action == "verify":
        return _verified(session)
    with session.view() as view:
        found = ops.audit(session.root, limit=session.values.limit, emit=view.show)
    if not found.entries:
        return Answer(found, [f"nothing is on record in {found.where} yet"])
    header = ("N", "WHEN", "WHAT", "TARGET", "BUNDLE", "BY", "RESULT")
    lines = text.table(header, [_entry_row(entry) for entry in found.entries])
    if found.waiting:
        lines.append(f"{found.waiting} entries of this machine wait for the registry to answer")
    return Answer(found, lines)


def _verified(session: Session) -> Answer:
    with session.view() as view:
        found = ops.audit_verify(session.root, emit=view.show)
    mark = session.terminal.mark("done" if found.intact else "failed")
    lines = [f"{mark} {found.where}: {text.clean(found.message)}"]
    if found.intact:
        lines.append(f"  head {found.head}")
    return Answer(found, lines, code=0 if found.intact else 4, ok=found.intact)


def at(session: Session) -> Answer:
    """What was live."""
    with session.view() as view:
        found = ops.at(session.root, session.values.time, session.values.target, emit=view.show)
    if not found.periods:
        return Answer(found, [f"by the log, nothing was live at {found.shown}"])
    header = ("TARGET", "SHARE", "BUNDLE", "REVISION", "SINCE", "UNTIL", "BY", "ENTRY")
    lines = [f"at {found.shown}", *text.table(header, [_period_row(period) for period in found.periods])]
    return Answer(found, lines)


def trace(session: Session) -> Answer:
    """From an answer to all that led to it."""
    with session.view() as view:
        found = ops.trace(session.root, session.values.version, emit=view.show)
    return Answer(found, list(_trace(found)))


def _entry_row(entry: AuditEntry) -> tuple[str, ...]:
    return (
        str(entry.n),
        text.date_time(entry.at),
        entry.kind,
        entry.target or "-",
        str(entry.bundle) if entry.bundle else "-",
        text.clean(entry.by),
        text.short(entry.summary) or "-",
    )


def _period_row(period: Period) -> tuple[str, ...]:
    return (
        period.target,
        f"{period.weight} %",
        str(period.bundle) if period.bundle else "unknown",
        period.revision,
        _to_the_second(period.since),
        _to_the_second(period.until) if period.until is not None else "now",
        text.clean(period.by),
        str(period.entry),
    )


def _to_the_second(unix: float) -> str:
    """The steps of a canary share a minute."""
    return f"{text.date_time(unix)[:10]} {text.clock_time(unix)}"


def _trace(found: Trace) -> Iterator[str]:
    yield text.short(f"{found.revision} is {found.bundle}  {found.bundle.digest}", 300)
    changes = " with changes" if found.dirty else ""
    commit = f"{text.short(found.commit)}{changes}" if found.commit else "not known"
    yield f"  commit     {commit}"
    if found.built:
        yield f"  built      {text.short(found.built)}"
    for title, entries in (
        ("pushed", found.pushes),
        ("tested", found.tests),
        ("approved", found.approvals),
        ("also", found.others),
    ):
        yield from (_step(title, entry) for entry in entries)
    for entry in found.rollouts:
        yield _step("rollout", entry)
        yield from _judgements(entry.data.get("judgements") or ())
    for live in found.live:
        role = "stable" if live.stable else live.state
        yield f"  live       {live.target}: {live.weight} %, {role}"
    if not found.live:
        yield "  live       nowhere now"
    yield from (f"  not asked  {text.clean(sentence)}" for sentence in found.unasked)


def _step(title: str, entry: AuditEntry) -> str:
    what = text.short(f"{entry.kind} on {entry.target}" if entry.target else entry.kind)
    told = f": {text.short(entry.summary)}" if entry.summary else ""
    return (
        f"  {title:<10} {text.date_time(entry.at)}  {what} by {text.short(entry.by)}{told}  (entry {entry.n})"
    )


def _judgements(judgements: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    for judged in judgements:
        yield f"             at {judged.get('weight', '?')} %: {judged.get('verdict')}"
        yield from (
            f"               {text.gate_sentence(measure)}" for measure in judged.get("measures") or ()
        )
