"""The removal of one revision: out of the routes, requests in flight done, out of Envoy, then the end."""

from __future__ import annotations

from modeldeploy.model import RevisionId
from modeldeploy.targets.process.gateway import Gateway
from modeldeploy.targets.process.revision import Revision

SETTLE = 0.25
"""Seconds that Envoy's threads are given to take a change of routes over."""

ENDS_WITHIN = 10.0
"""Seconds that a worker is given to end after SIGTERM, beyond what is left of the grace."""


class Removal:
    """One deletion under way; ``grace`` is how many seconds requests in flight may take."""

    def __init__(self, now: float, grace: float) -> None:
        self.out_of_router = False
        self._begun = now
        self._grace = grace

    def step(self, now: float, name: RevisionId, revision: Revision, gateway: Gateway) -> bool:
        """Do what is next; True when nothing of the revision runs any more."""
        if not self.out_of_router:
            self.out_of_router = self._drained(now, name, gateway)
            return False
        if gateway.knows(name):
            return False
        return revision.stop(now, ENDS_WITHIN + max(0.0, self._begun + self._grace - now))

    def _drained(self, now: float, name: RevisionId, gateway: Gateway) -> bool:
        """True when the router sends nothing there and nothing is in flight, or the grace is over."""
        if name in gateway.routed or now < self._begun + SETTLE:
            return False
        return now >= self._begun + self._grace or gateway.in_flight(name) == 0
