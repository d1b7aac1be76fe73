"""An imaginary place to run revisions: what is true there, whichever terminal looks at it.

A `FakeWorld` outlives the `FakeTarget` objects that look at it, as a real target outlives the command
that is killed while changing it. Its users send requests all the time; it counts what became of them,
and it breaks loudly when it is asked for something that would have hurt them.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import count
from pathlib import Path

from modeldeploy.errors import TargetError, TargetRefused, TargetUnavailable
from modeldeploy.model import (
    Finding,
    Holder,
    Observed,
    RevisionId,
    RevisionSpec,
    RevisionState,
    RevisionStatus,
    Sample,
    Traffic,
)
from modeldeploy.store import FolderStore
from modeldeploy.testing.clock import FakeClock
from modeldeploy.testing.revision import Behaviour, FakeRevision

ENDPOINT = "http://fake.invalid:8080"


class InvariantBroken(AssertionError):
    """Something was asked of the fake target that mdeploy promises never to ask."""


@dataclass(slots=True)
class _Fault:
    verb: str | None
    times: int
    error: TargetError
    acted: bool


class FakeStore(FolderStore):
    """A `FolderStore` that notices a second holder of its lock."""

    def __init__(self, folder: Path, world: FakeWorld) -> None:
        super().__init__(folder)
        self._world = world

    @contextmanager
    def lock(self, holder: Holder) -> Iterator[None]:
        with super().lock(holder):
            self._world.holders += 1
            try:
                if self._world.holders > 1:
                    self._world.breaks("two processes hold the lock")
                yield
            finally:
                self._world.holders -= 1


class FakeWorld:
    """The truth on a fake target, its users included.

    ``rate`` users' requests a second are spread by the applied weights. ``lost`` counts those that
    nobody answered although there were weights, ``unserved`` those that came while there were none.
    ``broken`` lists every invariant that was violated; with ``strict`` the violating call also raises
    `InvariantBroken`, where a real target would answer with `TargetRefused` or with harm.
    """

    apply_seconds = 0.2
    """How long the router takes to apply new weights."""
    router_seconds = 0.3
    """How long the router takes to come up and to go."""
    delete_seconds = 0.1
    """How long a revision that has nothing in flight takes to vanish."""
    verified_first = True
    """Weight for a revision that has answered no `call` is a broken invariant."""

    def __init__(self, clock: FakeClock, folder: Path, *, rate: float = 1000.0, strict: bool = True) -> None:
        self.clock = clock
        self.folder = folder
        self.rate = rate
        self.strict = strict
        self.revisions: dict[RevisionId, FakeRevision] = {}
        self.applied = Traffic()
        self.up = False
        self.lost = self.unserved = self.fell_back = 0.0
        self.holders = 0
        self.broken: list[str] = []
        self.acts: list[str] = []
        """Every verb that acted, in order, e.g. ``set_traffic 1.0.0-a=95 1.1.0-b=5``."""
        self.findings: tuple[Finding, ...] = ()
        self._time = clock.monotonic()
        self._wanted: Traffic | None = None
        self._behaviours: dict[str, Behaviour] = {}
        self._faults: list[_Fault] = []
        self._agenda: list[tuple[float, int, Callable[[], None]]] = []
        self._tickets = count()
        self._epoch = 1
        clock.on_advance(self._advance)

    # -- knobs ---------------------------------------------------------------------------------------

    def behave(self, version: str, behaviour: Behaviour) -> None:
        """Make revisions of this bundle version behave so, those that exist included."""
        self._behaviours[version] = behaviour
        for revision in self.revisions.values():
            if revision.spec.bundle.version == version:
                revision.behaviour = behaviour

    def fail(
        self,
        verb: str | None = None,
        *,
        times: int = 1,
        error: TargetError | None = None,
        acted: bool = False,
    ) -> None:
        """Let the next ``times`` calls of a verb (None: of any) raise ``error``, `TargetUnavailable` if None.

        With ``acted`` the change happens all the same: only the answer is lost.
        """
        self._faults.append(
            _Fault(verb, times, error or TargetUnavailable("the fake does not answer"), acted)
        )

    def answer_again(self) -> None:
        """Forget all that `fail` has asked for."""
        self._faults.clear()

    def install(self, spec: RevisionSpec, *, weight: int = 0) -> None:
        """Put a revision there that is ready and verified, as a former release has left it.

        With ``weight`` 100 it is stable, and what was installed before it is its fallback.
        """
        former = [name for name in reversed(self.revisions) if name != spec.id]
        revision = self._add(spec)
        revision.become(RevisionState.READY)
        revision.answered = True
        self.up = True
        if weight:
            self.applied = Traffic({spec.id: weight}, stable=spec.id, fallback=(spec.id, *former[:1]))

    def restart_router(self) -> None:
        """Restart the router: weights stay, counters begin at zero under a new epoch."""
        self._epoch += 1
        for revision in self.revisions.values():
            revision.forget_counts()

    def reboot(self) -> None:
        """Switch the machine off and on: what ran is stopped, and nothing comes back by itself."""
        self.restart_router()
        self.up = False
        for revision in self.revisions.values():
            revision.become(RevisionState.STOPPED, "the machine was restarted")

    def degrade(self, revision: RevisionId) -> None:
        """Let one of its replicas be away: it still serves, and is not wholly ready."""
        self.revisions[revision].become(RevisionState.DEGRADED, "a replica does not answer")

    def send(self, requests: float) -> None:
        """Let users send so many requests at once, spread by the weights that apply."""
        self._serve(requests, 0.0)

    # -- what a FakeTarget sees and does ---------------------------------------------------------------

    @contextmanager
    def hears(self, verb: str) -> Iterator[None]:
        """One call of a verb: fails before or after the act where `fail` says so."""
        fault = next((each for each in self._faults if each.times and each.verb in (None, verb)), None)
        if fault:
            fault.times -= 1
        if fault and not fault.acted:
            raise fault.error
        yield
        if fault:
            raise fault.error

    def breaks(self, invariant: str) -> None:
        """Record a violated invariant; raises `InvariantBroken` where the world is strict."""
        self.broken.append(invariant)
        if self.strict:
            raise InvariantBroken(invariant)

    def observe(self) -> Observed:
        """The world as it is now."""
        return Observed(
            up=self.up,
            endpoint=ENDPOINT if self.up else None,
            revisions=tuple(revision.status() for revision in self.revisions.values()),
            traffic=self.applied,
        )

    def create(self, spec: RevisionSpec) -> None:
        """Begin to run a revision; nothing to do for one that is there."""
        self._acts(f"create {spec.id}")
        known = self.revisions.get(spec.id)
        if known and known.state is RevisionState.DELETING:
            raise TargetUnavailable(f"{spec.id} is still being deleted")
        if known:
            return
        refused = self._behaviour(spec).refused
        if refused:
            raise TargetRefused(refused)
        self._boot(self._add(spec), pending=True)
        self._router_comes_up()

    def route(self, traffic: Traffic, seen: Mapping[RevisionId, RevisionStatus]) -> None:
        """Begin to route so. ``seen`` is what the asking terminal has last observed."""
        shares = " ".join(f"{name}={share}" for name, share in sorted(traffic.weights.items()) if share)
        self._acts(f"set_traffic {shares or 'nothing'}")
        if traffic.weights and sum(traffic.weights.values()) != 100:
            self.breaks(f"weights do not add up to 100: {dict(traffic.weights)}")
        named = (*traffic.weights, *traffic.fallback, *([traffic.stable] if traffic.stable else []))
        for name in named:
            if name not in self.revisions:
                self._refuse(f"traffic names {name}, which does not exist")
        for name, share in traffic.weights.items():
            if share > self.applied.weight(name):
                self._require_ready(name, seen.get(name))
        self._wanted = traffic
        self._later(self.apply_seconds, lambda: self._apply(traffic))

    def remove(self, name: RevisionId, grace: float) -> None:
        """Begin to remove a revision; nothing to do for one that is gone."""
        self._acts(f"delete {name}")
        revision = self.revisions.get(name)
        if revision is None or revision.state is RevisionState.DELETING:
            return
        wanted = self._wanted or self.applied
        if self.applied.weight(name) or wanted.weight(name):
            self._refuse(f"{name} was to be deleted while it has traffic")
        if self.strict and name in (wanted.stable, *wanted.fallback):
            self.breaks(f"{name} was to be deleted while it is the way back")
        self._drop(revision, grace)

    def sample(self, name: RevisionId) -> Sample:
        """The router's counters for a revision."""
        found = self.revisions.get(name)
        if found is None:
            return Sample(at=self.clock.now(), epoch=f"epoch-{self._epoch}")
        return found.sample(self.clock.now(), f"epoch-{self._epoch}", self._time)

    def start(self) -> None:
        """Begin to bring back what a reboot has stopped."""
        self.acts.append("start")
        if self.revisions and not self.up:
            self._router_comes_up()
        for revision in self.revisions.values():
            if revision.state is RevisionState.STOPPED:
                self._boot(revision, pending=False)

    def destroy(self) -> None:
        """Begin to remove everything but the journals."""
        self.acts.append("destroy")
        self.applied, self._wanted = Traffic(), None
        for revision in self.revisions.values():
            self._drop(revision, 0.0)
        self._later(self.router_seconds, self._router_goes)

    # -- the world's own life --------------------------------------------------------------------------

    def _acts(self, act: str) -> None:
        self.acts.append(act)
        if not self.holders and self.strict:
            self.breaks(f"changed without the lock: {act}")

    def _refuse(self, reason: str) -> None:
        if self.strict:
            self.breaks(reason)
        raise TargetRefused(reason)

    def _require_ready(self, name: RevisionId, seen: RevisionStatus | None) -> None:
        if self.strict and not (seen and seen.ready_replicas):
            self.breaks(f"weight for {name}, last seen {seen.state.value if seen else 'nowhere'}")
        if self.strict and self.verified_first and not self.revisions[name].answered:
            self.breaks(f"weight for {name}, which was never verified")
        if not self.revisions[name].ready_replicas:
            raise TargetRefused(f"{name} is {self.revisions[name].state.value}, not ready")

    def _behaviour(self, spec: RevisionSpec) -> Behaviour:
        return self._behaviours.get(spec.bundle.version, Behaviour())

    def _add(self, spec: RevisionSpec) -> FakeRevision:
        revision = FakeRevision(spec, self._behaviour(spec), self.clock.now())
        self.revisions[spec.id] = revision
        return revision

    def _later(self, seconds: float, act: Callable[[], None]) -> None:
        heapq.heappush(self._agenda, (self._time + seconds, next(self._tickets), act))

    def _boot(self, revision: FakeRevision, *, pending: bool) -> None:
        wait = revision.behaviour.pending if pending else 0.0
        revision.become(RevisionState.PENDING)
        self._later(wait, lambda: self._starts(revision))

    def _starts(self, revision: FakeRevision) -> None:
        if revision.state is RevisionState.PENDING:
            revision.become(RevisionState.STARTING)
            if not revision.behaviour.never_ready:
                self._later(revision.behaviour.starting, lambda: self._readies(revision))

    def _readies(self, revision: FakeRevision) -> None:
        if revision.state is not RevisionState.STARTING:
            return
        if revision.behaviour.failed:
            revision.become(RevisionState.FAILED, revision.behaviour.failed)
            return
        revision.become(RevisionState.READY)
        if revision.behaviour.crash_after is not None:
            self._later(revision.behaviour.crash_after, lambda: self._crash_loops(revision))

    def _crash_loops(self, revision: FakeRevision) -> None:
        if revision.ready_replicas:
            revision.restarts = 5
            revision.become(RevisionState.FAILED, "crash loop: ended 5 times with code 1")

    def _router_comes_up(self) -> None:
        def rise() -> None:
            self.up = bool(self.revisions)

        self._later(self.router_seconds, rise)

    def _router_goes(self) -> None:
        self.up = bool(self.revisions)

    def _apply(self, traffic: Traffic) -> None:
        if self._wanted is not traffic:
            return  # a later change has overtaken it
        self.applied, self._wanted = traffic, None
        for name in traffic.weights:
            if name not in self.revisions:
                self.breaks(f"weight on {name}, which is gone")

    def _drop(self, revision: FakeRevision, grace: float) -> None:
        busy = max(0.0, revision.busy_until - self._time)
        if busy > grace:
            self.lost += revision.in_flight
        revision.become(RevisionState.DELETING)
        self._later(min(busy, grace) + self.delete_seconds, lambda: self._vanish(revision))

    def _vanish(self, revision: FakeRevision) -> None:
        self.revisions.pop(revision.spec.id, None)
        if self.applied.weight(revision.spec.id):
            self.breaks(f"{revision.spec.id} is gone and has traffic")

    def _advance(self, now: float) -> None:
        while self._agenda and self._agenda[0][0] <= now:
            due, _, act = heapq.heappop(self._agenda)
            self._live_until(max(due, self._time))
            act()
        self._live_until(now)

    def _live_until(self, moment: float) -> None:
        seconds = moment - self._time
        self._time = moment
        if seconds > 0 and self.rate:
            self._serve(self.rate * seconds, seconds)

    def _serve(self, requests: float, seconds: float) -> None:
        if not self.applied.weights:
            self.unserved += requests
            return
        for name, share in self.applied.weights.items():
            if share:
                self._serve_one(name, requests * share / 100, seconds)

    def _serve_one(self, name: RevisionId, requests: float, seconds: float) -> None:
        meant = self.revisions.get(name)
        if meant is not None:
            meant.requests += requests
        answering = next((each for each in self._candidates(name) if self.up), None)
        if answering is None:
            self.lost += requests
        elif answering is not meant:
            self.fell_back += requests
        if meant and answering is not meant:
            meant.errors += requests
        if answering is not None:
            answering.answer(meant or answering, requests, self._time, seconds)

    def _candidates(self, name: RevisionId) -> Iterator[FakeRevision]:
        for each in (name, *self.applied.fallback):
            found = self.revisions.get(each)
            if found and found.ready_replicas:
                yield found
