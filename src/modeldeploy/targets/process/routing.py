"""Brings a running Envoy to the clusters and routes that are wanted, in the safe order.

A revision that is to get its first requests is made known first (clusters); it is routed to when
Envoy itself finds it healthy. A return to the stable revision, which Envoy has known and probed all
the time, changes the routes first: that is what makes a rollback fast. A revision that goes is out
of the routes before it is out of the clusters; `removal` sees to that.
"""

from __future__ import annotations

from collections.abc import Mapping
from collections.abc import Set as AbstractSet
from pathlib import Path

from modeldeploy.errors import TargetDrifted
from modeldeploy.model import RevisionId, Traffic
from modeldeploy.router.control import Router
from modeldeploy.router.render import Upstream
from modeldeploy.targets.process.records import Desired

Upstreams = Mapping[RevisionId, tuple[Path, ...]]
"""Revisions that Envoy should know, with their workers' sockets."""

LOOK_EVERY = 2.0
"""Seconds between two looks at what Envoy applies, when nothing is to be changed."""

_ASK_WHY_AFTER = 3.0
_WRITE_AGAIN_AFTER = 2.0
_HURRY = 1.0


class Routing:
    """What one Envoy routes, and what it should. Times are monotonic seconds."""

    def __init__(self, router: Router) -> None:
        self.applied: tuple[int, Traffic] | None = None
        """Generation and traffic that Envoy was last seen to apply."""
        self.pending = True
        """Envoy is not yet what it should be."""
        self.hurried = False
        """That is so since a moment ago only, and likely to end within milliseconds."""
        self.trouble = ""
        """Why a change does not come to its end, for people."""
        self._router = router
        self._clusters: tuple[Upstreams, tuple[RevisionId, ...]] | None = None
        self._version: str | None = None
        self._warm = False
        self._written: tuple[int, float] | None = None
        self._look_at = 0.0
        self._settled_at: float | None = None
        self._ask_why_at = 0.0

    @property
    def routed(self) -> AbstractSet[RevisionId]:
        """Revisions that Envoy sends requests to, as far as is known."""
        weights = self.applied[1].weights if self.applied else {}
        return frozenset(name for name, share in weights.items() if share)

    @property
    def known(self) -> AbstractSet[RevisionId]:
        """Revisions that Envoy was last told of."""
        return frozenset(self._clusters[0]) if self._clusters else frozenset()

    def knows(self, revision: RevisionId) -> bool:
        """True until Envoy has let go of a revision that is no longer wanted."""
        return self._clusters is None or revision in self._clusters[0] or not self._warm

    def write_for_start(self) -> None:
        """See to it that there are files for an Envoy that starts; those that are there stay."""
        if not self._router.layout.clusters.exists():
            self._router.write_clusters(())
        if not self._router.layout.routes.exists():
            self._router.write_routes(Traffic(), 0)
        self._warm, self._settled_at, self.trouble = False, None, ""

    def step(self, now: float, desired: Desired, upstreams: Upstreams, program: Path | None) -> None:
        """Do the one next thing. Raises `TargetUnavailable` where Envoy does not answer."""
        if self.pending or self._is_due(desired) or now >= self._look_at:
            self._look(now)
        self._advance(now, desired, (dict(upstreams), _helpers(desired, upstreams)))
        self.pending = self._is_due(desired) or not self._warm
        if not self.pending or self._settled_at is None:
            self._settled_at, self._ask_why_at, self.trouble = now, now + _ASK_WHY_AFTER, ""
        elif program is not None and now >= self._ask_why_at:
            self._ask_why_at = now + _ASK_WHY_AFTER
            self.trouble = self._router.rejected(program) or self._waits_for(desired)
        self.hurried = self.pending and now - self._settled_at < _HURRY

    def _advance(
        self, now: float, desired: Desired, clusters: tuple[Upstreams, tuple[RevisionId, ...]]
    ) -> None:
        due = self._is_due(desired)
        if due and self._is_written(now, desired.generation):
            return
        gainers = self._gainers(desired.traffic)
        if due and gainers <= {desired.traffic.stable} and self._healthy(gainers):
            self._write_routes(now, desired)
        elif clusters != self._clusters:
            self._version = self._router.write_clusters(
                [Upstream(name, addresses) for name, addresses in clusters[0].items()], fallback=clusters[1]
            )
            self._clusters, self._warm = clusters, False
        elif not self._warm:
            self._warm = self._router.warm(self._version)
        elif due and self._healthy(gainers):
            self._write_routes(now, desired)

    def _look(self, now: float) -> None:
        self._look_at = now + LOOK_EVERY
        try:
            self.applied = self._router.applied()
        except TargetDrifted:
            self.applied = None

    def _is_due(self, desired: Desired) -> bool:
        return self.applied is None or self.applied[0] != desired.generation

    def _is_written(self, now: float, generation: int) -> bool:
        """True if the routes have just been written: it takes Envoy 2 ms to take them over."""
        return self._written is not None and (
            self._written[0] == generation and now - self._written[1] < _WRITE_AGAIN_AFTER
        )

    def _write_routes(self, now: float, desired: Desired) -> None:
        self._router.write_routes(desired.traffic, desired.generation)
        self._written = (desired.generation, now)

    def _gainers(self, traffic: Traffic) -> AbstractSet[RevisionId]:
        """Revisions that would get their first requests."""
        return {name for name, share in traffic.weights.items() if share and name not in self.routed}

    def _healthy(self, revisions: AbstractSet[RevisionId]) -> bool:
        if not revisions:
            return True
        endpoints = self._router.endpoints()
        return all(name in endpoints and endpoints[name].healthy for name in revisions)

    def _waits_for(self, desired: Desired) -> str:
        endpoints = self._router.endpoints()
        for name in sorted(self._gainers(desired.traffic)):
            if name not in endpoints or not endpoints[name].healthy:
                return (
                    f"the router finds no healthy worker of {name} and waits before it sends requests there"
                )
        return "the router has not taken its last change over"


def _helpers(desired: Desired, upstreams: Upstreams) -> tuple[RevisionId, ...]:
    """The fallback revisions that can still help."""
    return tuple(
        name for name in desired.traffic.fallback if name in upstreams and name not in desired.deleting
    )
