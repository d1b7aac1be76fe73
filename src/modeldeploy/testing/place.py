"""What the contract needs to know of a place where a driver's revisions can run."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from urllib.error import HTTPError
from urllib.request import Request, urlopen

from modeldeploy.clock import Clock, SystemClock
from modeldeploy.model import (
    HttpRequest,
    HttpResponse,
    Observed,
    RevisionId,
    RevisionSpec,
    RevisionState,
    Traffic,
)
from modeldeploy.target import Target

Send = Callable[[str, HttpRequest, int], Sequence[HttpResponse]]


def send_over_http(endpoint: str, request: HttpRequest, times: int) -> list[HttpResponse]:
    """Send a request to an endpoint so many times, as a user would, each on a new connection."""
    return [_send_one(endpoint, request) for _ in range(times)]


def _send_one(endpoint: str, request: HttpRequest) -> HttpResponse:
    asked = Request(  # noqa: S310 - the endpoint of the target under test
        endpoint + request.path,
        data=request.body or None,
        headers=dict(request.headers),
        method=request.method,
    )
    try:
        with urlopen(asked, timeout=request.timeout) as answer:  # noqa: S310 - the same
            return _response(answer.status, answer.read(), answer.headers.items())
    except HTTPError as error:
        with error:
            return _response(error.code, error.read(), error.headers.items())


def _response(status: int, body: bytes, headers: Sequence[tuple[str, str]]) -> HttpResponse:
    return HttpResponse(status, body, {name.lower(): value for name, value in headers})


@dataclass(frozen=True, slots=True)
class Place:
    """An empty place, and four revisions that could run there.

    ``open`` gives a new `Target` on this place each time, as another terminal would: two of them share
    what is on the target and nothing in memory. ``good`` and ``other`` become ready; ``slow`` does too,
    but takes at least a second; ``broken`` gives up. Good revisions answer ``probe`` with a 200.
    """

    open: Callable[[], Target]
    good: RevisionSpec
    other: RevisionSpec
    slow: RevisionSpec
    broken: RevisionSpec
    probe: HttpRequest
    send: Send = send_over_http
    clock: Clock = field(default_factory=SystemClock)
    bound: float = 2.0
    """Seconds within which each verb returns (but `call` and `logs`, which wait for others)."""
    patience: float = 60.0
    """Seconds within which what was begun has happened."""

    def wait(self, target: Target, wanted: Callable[[Observed], object], what: str) -> Observed:
        """Look at a target until it is as wanted. Raises AssertionError after `patience` seconds."""
        deadline = self.clock.monotonic() + self.patience
        while not wanted(observed := target.observe()):
            if self.clock.monotonic() > deadline:
                raise AssertionError(f"not {what} within {self.patience:g} s: {observed}")
            self.clock.sleep(0.05)
        return observed

    def wait_for(self, target: Target, revision: RevisionId, state: RevisionState) -> Observed:
        """Wait until a revision is in this state."""
        return self.wait(target, lambda seen: state_of(seen, revision) is state, f"{revision} {state.value}")

    def shift(self, target: Target, traffic: Traffic) -> Observed:
        """Set traffic and wait until the router is up and applies it."""
        target.set_traffic(traffic)
        return self.wait(target, lambda seen: seen.up and seen.traffic == traffic, f"routed as {traffic}")

    def empty(self, target: Target) -> Observed:
        """Destroy everything and wait until it is gone."""
        target.destroy()
        return self.wait(target, lambda seen: not (seen.revisions or seen.up), "empty")

    def users_send(self, target: Target, times: int) -> list[str]:
        """Send the probe as a user; returns which revision answered each. All must be answered well."""
        endpoint = target.observe().endpoint
        if endpoint is None:
            raise AssertionError("a target that routes has an endpoint")
        answers = self.send(endpoint, self.probe, times)
        bad = [answer for answer in answers if answer.status != 200]
        if bad:
            raise AssertionError(f"{len(bad)} of {times} requests failed; the first: {bad[0]}")
        return [answer.headers["x-model-version"] for answer in answers]


def state_of(observed: Observed, revision: RevisionId) -> RevisionState | None:
    """The state of a revision, None where the target has none of that id."""
    known = observed.find(revision)
    return known.state if known else None
