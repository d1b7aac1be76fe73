"""One imaginary revision: how it behaves, and what its users have seen of it."""

from __future__ import annotations

import math
from bisect import bisect_left
from dataclasses import dataclass, field
from itertools import accumulate

from modeldeploy.model import Histogram, RevisionSpec, RevisionState, RevisionStatus, Sample

BOUNDS = (0.001, 0.002, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, math.inf)
"""Upper bounds of the router's latency buckets, in seconds."""


@dataclass(frozen=True, slots=True)
class Behaviour:
    """How the revisions of one version behave. Durations in seconds, shares from 0 to 1."""

    pending: float = 1.0
    starting: float = 1.0
    never_ready: bool = False
    failed: str = ""
    """It gives up instead of becoming ready, for this reason."""
    crash_after: float | None = None
    """It crash-loops so long after it has become ready, and has failed."""
    refused: str = ""
    """`create` is refused, for this reason."""
    error_share: float = 0.0
    """Share of the users' requests that it answers with a 500."""
    latency: tuple[tuple[float, float], ...] = ((0.010, 0.9), (0.025, 0.1))
    """Pairs of seconds and the share of the requests that take so long; the shares add up to 1."""
    longest: float = 0.6
    """How long its slowest request stays in flight after its last one has come."""
    wrong_answers: bool = False
    """Its answers to `call` differ from the golden ones."""


@dataclass(slots=True)
class FakeRevision:
    """One revision of the world, with what its users have seen of it. Counters hold fractions."""

    spec: RevisionSpec
    behaviour: Behaviour
    created: float
    state: RevisionState = RevisionState.PENDING
    message: str = ""
    restarts: int = 0
    answered: bool = False
    """It has answered a `call`: without that it must not meet users."""
    busy_until: float = 0.0
    in_flight: float = 0.0
    requests: float = 0.0
    errors: float = 0.0
    buckets: list[float] = field(default_factory=lambda: [0.0] * len(BOUNDS))
    lines: list[str] = field(default_factory=list)

    @property
    def ready_replicas(self) -> int:
        """How many replicas answer."""
        missing = {RevisionState.READY: 0, RevisionState.DEGRADED: 1}.get(self.state, self.spec.replicas)
        return self.spec.replicas - missing

    def become(self, state: RevisionState, message: str = "") -> None:
        """Change state and tell it in the revision's log."""
        self.state, self.message = state, message
        self.lines.append(f"{state.value}: {message}" if message else state.value)

    def forget_counts(self) -> None:
        """Count from zero again, as after a restart of the router."""
        self.requests = self.errors = 0.0
        self.buckets = [0.0] * len(BOUNDS)

    def answer(self, meant: FakeRevision, requests: float, now: float, seconds: float) -> None:
        """Answer users' requests that came within so many seconds and were meant for ``meant``."""
        if meant is self:
            self.errors += requests * self.behaviour.error_share
        for length, share in self.behaviour.latency:
            meant.buckets[bisect_left(BOUNDS, length)] += requests * share
        self.busy_until = now + self.behaviour.longest
        self.in_flight = requests / seconds * self.behaviour.latency[0][0] if seconds else requests

    def status(self) -> RevisionStatus:
        """What the target tells of it."""
        return RevisionStatus(
            id=self.spec.id,
            bundle=self.spec.bundle,
            state=self.state,
            replicas=self.spec.replicas,
            ready_replicas=self.ready_replicas,
            created=self.created,
            rollout=self.spec.rollout,
            restarts=self.restarts,
            message=self.message,
        )

    def sample(self, at: float, epoch: str, now: float) -> Sample:
        """What the router has counted for it."""
        counts = tuple(_whole(count) for count in accumulate(self.buckets))
        return Sample(
            at=at,
            epoch=epoch,
            requests=_whole(self.requests),
            errors=_whole(self.errors),
            in_flight=math.ceil(self.in_flight) if now < self.busy_until else 0,
            latency=Histogram(BOUNDS, counts) if self.requests else Histogram(),
        )


def _whole(requests: float) -> int:
    return math.floor(requests + 1e-6)
