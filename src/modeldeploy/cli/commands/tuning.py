"""bench, optimize."""

from __future__ import annotations

from pathlib import Path

from modeldeploy import ops
from modeldeploy.cli import charts, text
from modeldeploy.cli.session import Answer, Session

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from modeldeploy.ops.benching import Bench
    from modeldeploy.ops.optimizing import Optimized

_BAR, _SPAN = 22, 26


def bench(session: Session) -> Answer:
    """Measure a bundle under load."""
    from modeldeploy.ops.benching import CONNECTIONS, SECONDS, Wish

    values = session.values
    wish = Wish(
        connections=values.concurrency or CONNECTIONS,
        seconds=values.duration or SECONDS,
        protocol=values.protocol or "predict",
        rows=values.rows or 1,
        rate=values.rate,
        url=values.url,
        save=Path(values.save) if values.save else None,
    )
    with session.view() as view:
        found = ops.bench(session.root, values.bundle, wish=wish, emit=view.show)
    good = any(level.requests for level in found.levels)
    return Answer(found, list(_bench_lines(found, session)), code=0 if good else 4, ok=good)


def _bench_lines(found: Bench, session: Session) -> Iterator[str]:
    from modeldeploy.ops.benching import HEADER, row, summary

    yield f"{found.ref}: {summary(found)}"
    yield ""
    yield from text.table(HEADER, [row(level) for level in found.levels])
    yield ""
    yield from _bench_chart(found, blocks=charts.fits(getattr(session.terminal.out, "encoding", None)))
    yield from (f"  {note}" for note in found.notes)
    if found.saved:
        yield f"report: {found.saved}"


def _bench_chart(found: Bench, *, blocks: bool) -> Iterator[str]:
    times = [time for level in found.levels for time in (level.p50, level.p99) if time]
    if not times:
        return
    most = max(level.rate for level in found.levels)
    ends = "p50 to p99" if len(times) > len(found.levels) else "p50"
    yield f"{'':>5} {'requests/s':<{_BAR + 9}} {ends:<{_SPAN}} over time"
    for level in found.levels:
        low = level.p50 or level.max
        line = charts.span(low, level.p99 or low, min(times), max(times), _SPAN, blocks=blocks) if low else ""
        rate = f"{level.rate:,.0f}".replace(",", " ")
        went = charts.sparkline(level.timeline, blocks=blocks)
        strip = charts.bar(level.rate / most if most else 0, _BAR, blocks=blocks)
        yield f"{level.connections:>5} {strip}{rate:>8}  {line:<{_SPAN}} {went}".rstrip()
    yield ""


def optimize(session: Session) -> Answer:
    """Find a better form of the model."""
    from modeldeploy.ops.optimizing import Wish

    values = session.values
    wish = Wish(
        aim=getattr(values, "for") or "latency",
        max_loss=values.max_loss or 0.0,
        quick=values.quick,
        dry_run=values.dry_run,
        save=Path(values.save) if values.save else None,
    )
    with session.view() as view:
        found = ops.optimize(session.root, wish=wish, emit=view.show)
    return Answer(found, list(_optimize_lines(found)))


def _optimize_lines(found: Optimized) -> Iterator[str]:
    from modeldeploy.ops.optimizing import HEADER, row

    yield from text.table(HEADER, [row(variant) for variant in found.variants])
    yield ""
    told = {"refused": "is refused", "failed": "cannot be made"}
    for variant in found.variants:
        if variant.reason:
            yield f"  {variant.name} {told.get(variant.state, variant.state)}: {variant.reason}."
    yield from (f"  {note}" for note in found.notes)
    yield found.verdict
    yield from (f"  {change}" for change in found.changes)
    if found.undo:
        yield f"undo: {found.undo}"
    if found.next:
        yield f"next: {found.next}"
    if found.saved:
        yield f"report: {found.saved}"
