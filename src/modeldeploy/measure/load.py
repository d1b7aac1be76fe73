"""Drives a server at one number of connections after the other, by load generators in their own processes."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from array import array
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from modeldeploy.errors import ModelDeployError
from modeldeploy.measure import processes
from modeldeploy.measure.client import TICKS
from modeldeploy.measure.messages import Requests

BUSY = 0.9
"""Share of its time for which a load generator may work or wait for a processor and still be believed."""
_GRACE = 60.0

Address = Path | tuple[str, int]
"""Where a server listens: a unix socket, or host and port."""


@dataclass(frozen=True, slots=True)
class Level:
    """What one number of connections gave. Latencies in seconds, None where there were too few to tell."""

    connections: int
    seconds: float
    requests: int
    """Answered with 200, in the measured time."""
    rate: float
    """Of these, per second."""
    rows: float
    """Rows of all these requests, per second."""
    errors: Mapping[str, int]
    """What else came, and how often."""
    p50: float | None
    p90: float | None
    p99: float | None
    p999: float | None
    max: float | None
    timeline: tuple[float, ...]
    """Requests per second in each quarter of a second."""
    client: float
    """Share of a processor that the busiest load generator used or waited for."""
    saturated: bool
    """The load generator could not send more: the server may be quicker than these numbers say."""
    behind: int
    """Open loop: requests that were due and not answered at the end."""
    cpu: float | None
    """Processors that the server used; None for a server elsewhere."""
    others: float | None
    """Processors that programs other than these two used meanwhile; None where it is not told."""
    rss: int | None
    pss: int | None
    """Bytes of the server's processes at the end."""


@dataclass(frozen=True, slots=True)
class Plan:
    """How to drive each level."""

    seconds: float
    warm: float
    rate: float | None = None
    timeout: float = 30.0


Tick = Callable[[float, int], None]
"""Told a few times a second: requests a second now, errors so far."""


def drive(
    address: Address, requests: Requests, connections: int, plan: Plan, *, server: int | None, tick: Tick
) -> Level:
    """Send requests over so many connections. ``server`` is the process to watch, if it is on this machine.

    Raises `ModelDeployError` where a load generator fails.
    """
    with tempfile.TemporaryDirectory(prefix="mdeploy-bench-") as folder:
        jobs = _jobs(Path(folder), address, requests, connections, plan)
        watch = _Watch(server, plan.warm)
        found = _run(jobs, plan, tick, watch)
        latencies = array("I")
        for job in jobs:
            path = Path(job["latencies"])
            latencies.frombytes(path.read_bytes())
    return _level(connections, requests.rows, found, latencies, watch)


def _jobs(
    folder: Path, address: Address, requests: Requests, connections: int, plan: Plan
) -> list[dict[str, Any]]:
    content = folder / "requests"
    content.write_bytes(b"".join(requests.messages))
    # One generator does some ten thousand requests a second; a server on many processors needs several.
    count = min(connections, max(1, (os.cpu_count() or 1) // 4))
    shares = [connections // count + (at < connections % count) for at in range(count)]
    return [
        {
            "address": os.fspath(address) if isinstance(address, Path) else list(address),
            "requests": str(content),
            "sizes": [len(message) for message in requests.messages],
            "latencies": str(folder / f"latencies-{at}"),
            "connections": share,
            "seconds": plan.seconds,
            "warm": plan.warm,
            "rate": plan.rate and plan.rate * share / connections,
            "timeout": plan.timeout,
        }
        for at, share in enumerate(shares)
    ]


def _run(jobs: Sequence[dict[str, Any]], plan: Plan, tick: Tick, watch: _Watch) -> list[dict[str, Any]]:
    """Start the generators and read what they tell until they end. None is left behind."""
    with ExitStack() as stack:
        running = []
        for job in jobs:
            file = Path(job["latencies"]).with_suffix(".json")
            file.write_text(json.dumps(job))
            running.append(_Generator(file))
            stack.callback(running[-1].stop)
        deadline = time.monotonic() + plan.warm + plan.seconds + plan.timeout + _GRACE
        while not all(generator.result for generator in running):
            for generator in running:
                generator.read(deadline)
            told = [generator.last for generator in running]
            tick(sum(one["answered"] / one["seconds"] for one in told), sum(one["errors"] for one in told))
            watch.look()
        watch.end()
        return [generator.result for generator in running]


class _Generator:
    """One load generator at work."""

    def __init__(self, job: Path) -> None:
        program = Path(__file__).with_name("client.py")
        self.process = subprocess.Popen(
            [sys.executable, "-I", "-S", str(program), str(job)],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        self.last: dict[str, Any] = {"answered": 0, "errors": 0, "seconds": 1.0}
        self.result: dict[str, Any] = {}

    def read(self, deadline: float) -> None:
        """Read its next line. Raises `ModelDeployError` if it ended without a result, or never does."""
        if self.result:
            return
        assert self.process.stdout is not None  # noqa: S101 - it was asked for
        line = self.process.stdout.readline() if time.monotonic() < deadline else b""
        if not line:
            raise self._failed()
        told = json.loads(line)
        self.last = told if "answered" in told else self.last
        self.result = told.get("result", {})

    def _failed(self) -> ModelDeployError:
        self.process.kill()
        _, errors = self.process.communicate()
        lines = errors.decode(errors="replace").strip().splitlines()
        return ModelDeployError(
            f"the load generator failed: {lines[-1] if lines else 'it ended without a result'}",
            hint="more connections than this system lets a process open? See: ulimit -n",
            details={"output": lines[-20:]},
        )

    def stop(self) -> None:
        """End it, if it still runs."""
        self.process.kill()
        self.process.communicate()


class _Watch:
    """The server's processor time and memory while it is driven."""

    def __init__(self, server: int | None, warm: float) -> None:
        self._server = server
        self._from = time.monotonic() + warm
        self._began: tuple[float, float, float | None] | None = None
        self.cpu: float | None = None
        self.machine: float | None = None
        self.memory: processes.Memory | None = None

    def look(self) -> None:
        """Begin to count once the warm-up is over."""
        if self._began is None and time.monotonic() >= self._from:
            used = processes.cpu_seconds(processes.tree(self._server)) if self._server else 0.0
            self._began = (time.monotonic(), used, processes.machine_seconds())

    def end(self) -> None:
        """Count to here."""
        self.look()
        began, used, machine = self._began or (time.monotonic(), 0.0, None)
        seconds = max(time.monotonic() - began, 1e-3)
        all_used = processes.machine_seconds()
        if machine is not None and all_used is not None:
            self.machine = (all_used - machine) / seconds
        if self._server:
            family = processes.tree(self._server)
            self.cpu = (processes.cpu_seconds(family) - used) / seconds
            self.memory = processes.memory(family)


def _level(
    connections: int, rows: int, found: Sequence[Mapping[str, Any]], latencies: array[int], watch: _Watch
) -> Level:
    seconds = max(one["seconds"] for one in found)
    behind = sum(one["behind"] for one in found)
    answered = len(latencies) - behind
    errors: Counter[str] = Counter()
    for one in found:
        errors.update(one["errors"])
    busy = max((one["cpu"] + one["waited"]) / one["seconds"] for one in found)
    ours = sum(one["cpu"] for one in found) / seconds + (watch.cpu or 0.0)
    ordered = sorted(latencies)
    slices = [one["slices"] for one in found]
    return Level(
        connections=connections,
        seconds=round(seconds, 3),
        requests=answered,
        rate=answered / seconds,
        rows=answered * rows / seconds,
        errors=dict(errors),
        p50=percentile(ordered, 0.5),
        p90=percentile(ordered, 0.9),
        p99=percentile(ordered, 0.99),
        p999=percentile(ordered, 0.999),
        max=ordered[-1] * TICKS / 1e9 if ordered else None,
        timeline=tuple(sum(part) * 4.0 for part in zip(*slices, strict=False)),
        client=round(busy, 3),
        saturated=busy >= BUSY,
        behind=behind,
        cpu=watch.cpu,
        others=None if watch.machine is None else max(0.0, watch.machine - ours),
        rss=watch.memory.rss if watch.memory else None,
        pss=watch.memory.pss if watch.memory else None,
    )


def percentile(ordered: Sequence[int], share: float) -> float | None:
    """The value that so many of the sorted ones do not exceed, in seconds; None for too few to tell."""
    if len(ordered) * (1 - share) < 1:
        return None
    return ordered[min(len(ordered) - 1, int(len(ordered) * share))] * TICKS / 1e9
