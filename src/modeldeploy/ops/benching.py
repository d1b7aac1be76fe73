"""Measuring a bundle on this machine, or a server elsewhere, under load."""

from __future__ import annotations

import json
import os
import platform
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from urllib.parse import urlsplit

from modeldeploy.bundle import trial
from modeldeploy.bundle.store import BundleStore
from modeldeploy.config.load import Project, load
from modeldeploy.errors import ConfigError, TargetUnavailable
from modeldeploy.events import Emit
from modeldeploy.measure import charts, messages, page, units
from modeldeploy.measure.load import BUSY, Address, Level, Plan, drive
from modeldeploy.measure.messages import Requests
from modeldeploy.measure.telling import step
from modeldeploy.ops.making import find_bundle, first_env

CONNECTIONS = (1, 4, 16, 64)
SECONDS = 5.0
FORMS = (".html", ".svg", ".json")
_MOST_CONNECTIONS, _MOST_SECONDS = 10_000, 300.0
_BUSY_ELSEWHERE = 0.15
"""Share of this machine that others may use before a reader must know."""


@dataclass(frozen=True, slots=True)
class Bench:
    """What came of driving a server."""

    ref: str
    digest: str
    url: str | None
    """Where it was, if not started for this."""
    protocol: str
    rows: int
    source: str
    """Where the inputs come from: ``golden samples`` or ``made up``."""
    loop: str
    """``closed``: each connection waits for its answer; ``open``: requests are due at ``rate``."""
    rate: float | None
    ready: float | None
    """Seconds from the start of the worker's process until it was ready."""
    processors: int
    system: str
    levels: tuple[Level, ...]
    notes: tuple[str, ...]
    """What a reader must know of these numbers, a sentence each."""
    saved: Path | None


@dataclass(frozen=True, slots=True)
class Wish:
    """How to measure."""

    connections: Sequence[int] = CONNECTIONS
    seconds: float = SECONDS
    protocol: str = "predict"
    rows: int = 1
    rate: float | None = None
    """Requests a second that are due, for an open loop; None: closed loop."""
    url: str | None = None
    save: Path | None = None

    def check(self) -> None:
        """Refuse what cannot be. Raises `ConfigError`."""
        if not self.connections or max(self.connections) > _MOST_CONNECTIONS or min(self.connections) < 1:
            raise ConfigError(f"expected 1 to {_MOST_CONNECTIONS:,} connections", hint="--concurrency 1,16")
        if not 0.1 <= self.seconds <= _MOST_SECONDS:
            raise ConfigError(
                f"{self.seconds:g} s is no time to measure for; expected 0.1 s to {_MOST_SECONDS:g} s",
                hint="--duration 5s",
            )
        if self.save and self.save.suffix not in FORMS:
            raise ConfigError(
                f"cannot tell from its name what {self.save.name} should hold; expected {', '.join(FORMS)}",
                hint="--save bench.html",
            )


def bench(root: Path, ref: str | None = None, *, wish: Wish | None = None, emit: Emit) -> Bench:
    """Send a bundle requests at one number of connections after the other, and count.

    The bundle (`find_bundle`) gives the inputs; it is started on this machine unless ``wish.url`` says where
    it already runs. Raises `ModelDeployError` for what cannot be started, reached or sent.
    """
    wish = wish or Wish()
    wish.check()
    project = load(root)
    bundle = find_bundle(project, ref, emit)
    with BundleStore().hold(bundle.ref.digest), _server(project, bundle.path, wish, emit) as server:
        requests = messages.make(
            bundle.path, wish.protocol, rows=wish.rows, host=server.host, prefix=server.prefix
        )
        levels = tuple(_level(count, server, requests, wish, emit) for count in wish.connections)
    found = Bench(
        ref=str(bundle.ref),
        digest=bundle.ref.digest,
        url=wish.url,
        protocol=wish.protocol,
        rows=requests.rows,
        source=requests.source,
        loop="open" if wish.rate else "closed",
        rate=wish.rate,
        ready=server.ready,
        processors=_processors(),
        system=f"{platform.system()} {platform.machine()}",
        levels=levels,
        notes=tuple(_notes(levels, wish)),
        saved=wish.save.absolute() if wish.save else None,
    )
    if found.saved:
        _save(found.saved, found)
    return found


@dataclass(frozen=True, slots=True)
class _Server:
    address: Address
    host: str = "bench"
    prefix: str = ""
    process: int | None = None
    ready: float | None = None


@contextmanager
def _server(project: Project, bundle: Path, wish: Wish, emit: Emit) -> Iterator[_Server]:
    if wish.url:
        yield _elsewhere(wish.url)
        return
    with ExitStack() as stack:
        with step(emit, "start", "starting the bundle's worker") as running:
            worker = stack.enter_context(trial.started(bundle, emit=emit, env=first_env(project)))
            running(f"the bundle's worker is ready after {worker.seconds:.2f} s")
        yield _Server(worker.place, process=worker.pid, ready=round(worker.seconds, 3))


def _elsewhere(url: str) -> _Server:
    import socket

    parts = urlsplit(url)
    try:
        port = parts.port or 80
    except ValueError:
        port = 0
    if parts.scheme != "http" or not parts.hostname or not port:
        raise ConfigError(
            f"cannot drive {url}; expected plain http, as in http://127.0.0.1:8080",
            hint="measure behind what ends TLS: --url http://HOST:PORT",
        )
    try:
        socket.create_connection((parts.hostname, port), timeout=10).close()
    except OSError as error:
        raise TargetUnavailable(
            f"{url} does not answer: {error.strerror or error}", hint="start it, or leave --url out"
        ) from error
    return _Server((parts.hostname, port), host=parts.netloc, prefix=parts.path.rstrip("/"))


def _level(connections: int, server: _Server, requests: Requests, wish: Wish, emit: Emit) -> Level:
    plan = Plan(wish.seconds, warm=min(1.0, wish.seconds / 5), rate=wish.rate)
    name = f"{connections} connection{'' if connections == 1 else 's'}"
    with step(emit, f"connections-{connections}", f"{name}: {wish.seconds:g} s") as running:

        def tick(rate: float, errors: int) -> None:
            also = f", {errors} errors" if errors else ""
            running(f"{name}: {units.count(rate)} requests/s{also}")

        level = drive(server.address, requests, connections, plan, server=server.process, tick=tick)
        running(f"{name}: {units.count(level.rate)} requests/s, p50 {units.seconds(level.p50)}")
    return level


def _notes(levels: Sequence[Level], wish: Wish) -> Iterator[str]:
    if wish.rate:
        yield f"Open loop: {wish.rate:g} requests/s were due; a latency counts from when its request was due."
    else:
        yield (
            "Closed loop: each connection sends its next request when the last is answered, so a server that "
            "stalls is asked less, and the highest percentiles are kinder than users see; --rate measures "
            "without that."
        )
    if saturated := [str(level.connections) for level in levels if level.saturated]:
        yield (
            f"At {', '.join(saturated)} connections the load generator itself had no time left "
            f"({BUSY:.0%} or more of a processor): the server may be quicker than that."
        )
    if late := [level for level in levels if level.behind]:
        told = ", ".join(f"{level.behind:,} at {level.connections}" for level in late)
        yield f"Not kept up with: requests that were due and not answered at the end: {told} connections."
    if any(level.others and level.others > _BUSY_ELSEWHERE * _processors() for level in levels):
        most = max(level.others or 0.0 for level in levels)
        yield (
            f"Other programs used up to {most:.1f} of {_processors()} processors meanwhile: measure again on "
            "a quiet machine before you compare."
        )
    kinds = {kind for level in levels for kind in level.errors}
    if kinds:
        yield f"Not answered with 200: {'; '.join(sorted(kinds))}."


def _processors() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


HEADER = (
    *("CONNECTIONS", "REQUESTS/S", "ROWS/S"),
    *("P50", "P90", "P99", "P99.9", "MAX", "ERRORS", "CPU", "MEMORY"),
)


def row(level: Level) -> tuple[str, ...]:
    """A level as cells under `HEADER`."""
    times = [units.seconds(time) for time in (level.p50, level.p90, level.p99, level.p999, level.max)]
    cpu = "-" if level.cpu is None else f"{level.cpu:.2f}"
    used = level.pss or level.rss
    memory = units.size(used) if used else "-"
    errors = str(sum(level.errors.values()))
    return (
        *(str(level.connections), units.count(level.rate), units.count(level.rows)),
        *(*times, errors, cpu, memory),
    )


def summary(found: Bench) -> str:
    """What was measured, in a line."""
    loop = f"open loop at {found.rate:g} requests/s" if found.rate else "closed loop"
    rows = f"{found.rows} row{'' if found.rows == 1 else 's'} a request"
    ready = "" if found.ready is None else f", ready after {found.ready:.2f} s"
    where = found.url or f"{found.processors} processors, {found.system}{ready}"
    return f"{found.protocol}, {rows}, inputs: {found.source}; {loop}; {where}"


def _save(path: Path, found: Bench) -> None:
    if path.suffix == ".json":
        content = json.dumps(asdict(found), indent=1, default=str) + "\n"
    else:
        points = [
            charts.Point(str(level.connections), level.rate, level.p50, level.p99) for level in found.levels
        ]
        title = f"{found.ref}: latency against throughput"
        content = charts.sweep(points, title=title, told=summary(found))
        if path.suffix == ".html":
            rows = [("", row(level)) for level in found.levels]
            content = page.report(found.ref, summary(found), content, HEADER, rows, found.notes)
    page.save(path, content)
