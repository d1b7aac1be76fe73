"""Forms of a model side by side: each loaded in a process of its own, timed in turn."""

from __future__ import annotations

import json
import os
import random
import subprocess
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

from modeldeploy.errors import BundleError
from modeldeploy.measure import noise, processes

LIMIT = 1200
"""Seconds of processor time that one process may use."""
_KEPT = ("HOME", "LANG", "LC_ALL", "PATH", "TMPDIR", "TZ")
_WARM = 0.1


@dataclass(frozen=True, slots=True)
class Form:
    """A model file, and how it is to be run."""

    name: str
    path: Path
    graph_optimization: str = "all"
    threads: int = 1


@dataclass(frozen=True, slots=True)
class Samples:
    """The golden samples and the tolerance of the project."""

    path: Path
    stacked: bool
    rtol: float
    atol: float

    def to_json(self) -> dict[str, object]:
        """What the child processes read."""
        return {"path": str(self.path), "stacked": self.stacked}


@dataclass(frozen=True, slots=True)
class Accuracy:
    """How far a form's answers are from the golden samples."""

    samples: int
    failed: int
    """Samples with a number beyond the tolerance."""
    labels: float
    """Share of the samples with the same label: the same largest entry, or the same integer."""
    largest: float
    relative: float
    needed: float
    """The absolute tolerance that would be enough."""


@dataclass(slots=True)
class Times:
    """What was measured of one form, round by round; seconds."""

    p50: list[float] = field(default_factory=list)
    p99: list[float] = field(default_factory=list)
    mean: list[float] = field(default_factory=list)


class Contender:
    """One form, loaded and ready to be timed."""

    def __init__(self, form: Form, samples: Samples, python: Path, folder: Path) -> None:
        self.form = form
        job = {
            "model": str(form.path),
            "graph_optimization": form.graph_optimization,
            "threads": form.threads,
            "samples": samples.to_json(),
            "rtol": samples.rtol,
            "atol": samples.atol,
            "limit": LIMIT,
        }
        file = folder / f"job-{random.getrandbits(64):x}.json"
        file.write_text(json.dumps(job))
        self._errors = file.with_suffix(".log")
        with self._errors.open("wb") as errors:
            self._process = subprocess.Popen(
                [str(python), "-I", "-B", str(Path(__file__).with_name("timing_child.py")), str(file)],
                env=environment(),
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=errors,
                cwd=folder,
            )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.communicate()

    def accuracy(self) -> Accuracy:
        """Once, before anything else. Raises `BundleError` for a form that does not load or run."""
        told = self._read()
        if "error" in told:
            raise BundleError(f"{self.form.name} does not run: {told['error']}")
        return Accuracy(**told)

    def timed(self, rows: int, seconds: float) -> Mapping[str, float]:
        """Run it for so long with so many rows."""
        assert self._process.stdin is not None  # noqa: S101 - it was asked for
        try:
            self._process.stdin.write(json.dumps({"rows": rows, "seconds": seconds}).encode() + b"\n")
            self._process.stdin.flush()
        except OSError as error:
            raise self._ended() from error
        return self._read()

    def memory(self) -> int | None:
        """Bytes in memory, shared ones by their share."""
        used = processes.memory([self._process.pid])
        return (used.pss or used.rss) if used else None

    def _read(self) -> dict[str, Any]:
        assert self._process.stdout is not None  # noqa: S101 - it was asked for
        line = self._process.stdout.readline()
        if not line:
            raise self._ended()
        told: dict[str, Any] = json.loads(line)
        return told

    def _ended(self) -> BundleError:
        self._process.kill()
        code = self._process.wait()
        lines = self._errors.read_text(errors="replace").strip().splitlines()
        how = f"with code {code}" if code >= 0 else f"by signal {-code}"
        return BundleError(
            f"{self.form.name} does not run: its process ended {how}", details={"output": lines[-12:]}
        )


def environment() -> dict[str, str]:
    """The variables of the child processes: a few plain ones, nothing of the user's secrets."""
    env = {name: os.environ[name] for name in _KEPT if name in os.environ}
    return env | {"ORT_DISABLE_TELEMETRY": "1", "PYTHONUTF8": "1", "OMP_NUM_THREADS": "1"}


def interleave(
    contenders: Sequence[Contender], *, rows: int, rounds: int, seconds: float, told: Callable[[int], None]
) -> list[Times]:
    """Time all of them in each round, in another order each time. ``told`` gets the number of each round."""
    found = [Times() for _ in contenders]
    shuffled = random.Random(0)  # noqa: S311 - an order, not a secret
    for contender in contenders:
        contender.timed(rows, _WARM)
    for number in range(rounds):
        told(number + 1)
        order = list(range(len(contenders)))
        shuffled.shuffle(order)
        for at in order:
            times = contenders[at].timed(rows, seconds)
            found[at].p50.append(times["p50"])
            found[at].p99.append(times["p99"])
            found[at].mean.append(times["mean"])
    return found


def against(ours: Times, base: Times, *, mean: bool = False) -> noise.Ratio:
    """How much of the other's time it takes: by medians of the rounds, or by means (throughput)."""
    if mean:
        return noise.ratio(ours.mean, base.mean)
    return noise.ratio(ours.p50, base.p50)
