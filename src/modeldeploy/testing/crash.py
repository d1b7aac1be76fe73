"""Crashes at chosen instants: what is left when the process dies there, and nothing else.

::

    counting = CrashPoints()
    deploy(counting.wrap(FakeTarget(world)))
    for at in range(len(counting.passed)):
        with pytest.raises(SimulatedCrash):
            deploy(CrashPoints(at).wrap(FakeTarget(fresh_world())))
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

from modeldeploy.model import (
    Capabilities,
    Finding,
    Holder,
    HttpRequest,
    HttpResponse,
    Observed,
    RevisionId,
    RevisionSpec,
    Sample,
    Traffic,
)
from modeldeploy.store import FolderStore
from modeldeploy.target import RolloutStore, Target


class SimulatedCrash(BaseException):
    """The process is gone. A BaseException: code that catches every Exception must not survive it."""


class CrashPoints:
    """Counts the points that a run passes, and crashes at one of them.

    There is a point before and after each verb that acts, and before, in the middle of and after each
    write of a journal. ``at`` is the number of the point to crash at, from 0; None only counts.
    ``passed`` names the points in order.

    After the crash nothing that the run still does (in ``finally``, say) reaches the target or its
    journals: a killed process does not clean up. Locks are released, as the kernel does.
    """

    def __init__(self, at: int | None = None) -> None:
        self.at = at
        self.passed: list[str] = []
        self.crashed = False

    def wrap(self, target: Target) -> CrashingTarget:
        """The same target, with crash points."""
        return CrashingTarget(target, self)

    def reach(self, point: str) -> None:
        """Pass a point, or crash at it. Raises `SimulatedCrash`, and ever after a crash."""
        self.alive()
        number = len(self.passed)
        self.passed.append(point)
        if number == self.at:
            self.crashed = True
            raise SimulatedCrash(point)

    def alive(self) -> None:
        """Raises `SimulatedCrash` if the process is gone."""
        if self.crashed:
            raise SimulatedCrash("the process is gone already")

    @contextmanager
    def around(self, act: str) -> Iterator[None]:
        """Two points: before the act and after it."""
        self.reach(f"before {act}")
        yield
        self.reach(f"after {act}")


class CrashingTarget:
    """A `Target` that passes a crash point before and after each verb that acts."""

    def __init__(self, target: Target, points: CrashPoints) -> None:
        self._target = target
        self._points = points
        self._store = CrashingStore(target.store, points)

    @property
    def capabilities(self) -> Capabilities:
        return self._target.capabilities

    @property
    def store(self) -> CrashingStore:
        return self._store

    def check(self) -> Sequence[Finding]:
        self._points.alive()
        return self._target.check()

    def observe(self) -> Observed:
        self._points.alive()
        return self._target.observe()

    def create(self, spec: RevisionSpec) -> None:
        with self._points.around(f"create {spec.id}"):
            self._target.create(spec)

    def set_traffic(self, traffic: Traffic) -> None:
        with self._points.around(f"set_traffic {dict(traffic.weights)}"):
            self._target.set_traffic(traffic)

    def sample(self, revision: RevisionId) -> Sample:
        self._points.alive()
        return self._target.sample(revision)

    def call(self, revision: RevisionId, request: HttpRequest) -> HttpResponse:
        self._points.alive()
        return self._target.call(revision, request)

    def delete(self, revision: RevisionId, *, grace: float) -> None:
        with self._points.around(f"delete {revision}"):
            self._target.delete(revision, grace=grace)

    def logs(self, revision: RevisionId, *, tail: int, follow: bool = False) -> Iterator[str]:
        self._points.alive()
        return self._target.logs(revision, tail=tail, follow=follow)

    def start(self) -> None:
        with self._points.around("start"):
            self._target.start()

    def destroy(self) -> None:
        with self._points.around("destroy"):
            self._target.destroy()


class CrashingStore:
    """A `RolloutStore` that passes crash points inside each write of a journal.

    A line is torn in half only where the journals are files (`FolderStore`): another store has to
    promise whole lines, and its driver to test that.
    """

    def __init__(self, store: RolloutStore, points: CrashPoints) -> None:
        self._store = store
        self._points = points

    def lock(self, holder: Holder) -> AbstractContextManager[None]:
        self._points.alive()
        return self._store.lock(holder)

    def holder(self) -> Holder | None:
        self._points.alive()
        return self._store.holder()

    def append(self, rollout: str, line: bytes) -> None:
        with self._points.around(f"append {line.decode()}"):
            self._tear(rollout, line)
            self._store.append(rollout, line)

    def read(self, rollout: str) -> Sequence[bytes]:
        self._points.alive()
        return self._store.read(rollout)

    def rollouts(self) -> Sequence[str]:
        self._points.alive()
        return self._store.rollouts()

    def _tear(self, rollout: str, line: bytes) -> None:
        if not isinstance(self._store, FolderStore):
            return
        try:
            self._points.reach(f"half of append {line.decode()}")
        except SimulatedCrash:
            self._store.append(rollout, line)
            _cut_end(self._store.folder / f"{rollout}.jsonl", len(line) // 2 + 1)
            raise


def _cut_end(path: Path, length: int) -> None:
    with path.open("rb+") as stream:
        stream.truncate(path.stat().st_size - length)
