"""The vocabulary: what the words project, bundle, revision, traffic and policy mean in code.

Frozen values, standard library only. Everything else in mdeploy speaks in these terms.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import NewType

RevisionId = NewType("RevisionId", str)
"""Names a revision on its target, e.g. ``1.0.0-3f2a9c1b``. Computed before it is created."""


class Sealed(Mapping[str, str]):
    """Environment variables whose values never show: not in ``repr``, so not in a traceback.

    >>> Sealed({"API_KEY": "hunter2"})
    Sealed(API_KEY=***)
    """

    def __init__(self, values: Mapping[str, str] | None = None) -> None:
        self._values = dict(values or {})

    def __getitem__(self, name: str) -> str:
        return self._values[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._values)

    def __len__(self) -> int:
        return len(self._values)

    def __repr__(self) -> str:
        return f"Sealed({', '.join(f'{name}=***' for name in sorted(self._values))})"


@dataclass(frozen=True, slots=True)
class BundleRef:
    """A bundle by name and version, pinned by the digest of its content (``sha256:<64 hex>``)."""

    name: str
    version: str
    digest: str

    def __str__(self) -> str:
        return f"{self.name}:{self.version}"


@dataclass(frozen=True, slots=True)
class RevisionSpec:
    """All that a driver needs to create a revision: one bundle with one configuration."""

    id: RevisionId
    project: str
    bundle: BundleRef
    bundle_path: str
    """Folder that holds the unpacked bundle on the machine where mdeploy runs."""
    rollout: str
    """Id of the rollout that creates it: a label on everything the driver makes."""
    replicas: int = 1
    env: Sealed = field(default_factory=Sealed)


class RevisionState(str, Enum):
    """How far a revision has come. Only ``READY`` may be given traffic."""

    PENDING = "pending"
    """Asked for; nothing runs yet (an environment or image is being prepared)."""
    STARTING = "starting"
    READY = "ready"
    """Every wanted replica answers its readiness probe."""
    DEGRADED = "degraded"
    """It was ready, and at least one replica is not so now."""
    FAILED = "failed"
    """It gave up: crash loop, refused configuration. ``message`` says why."""
    STOPPED = "stopped"
    """Exists on the target but does not run (after a reboot, say)."""
    DELETING = "deleting"


@dataclass(frozen=True, slots=True)
class RevisionStatus:
    """One revision, as its target tells it."""

    id: RevisionId
    bundle: BundleRef
    state: RevisionState
    replicas: int
    ready_replicas: int
    created: float
    """Unix seconds."""
    rollout: str = ""
    restarts: int = 0
    message: str = ""
    """The reason for the state in one line, for people."""


@dataclass(frozen=True, slots=True)
class Traffic:
    """Who answers, in absolute terms: whole percent per revision, together 100 (or nothing at all).

    ``stable`` is the last fully promoted revision, the one to return to. It is kept with the weights
    so that a machine without a journal knows the way back. ``fallback`` lists, in order, the
    revisions that may answer when the chosen one cannot be reached; the answer is labelled with who
    gave it.
    """

    weights: Mapping[RevisionId, int] = field(default_factory=dict)
    stable: RevisionId | None = None
    fallback: tuple[RevisionId, ...] = ()

    def __post_init__(self) -> None:
        bad = {name: share for name, share in self.weights.items() if not 0 <= share <= 100}
        if bad:
            raise ValueError(f"weights must be between 0 and 100: {bad}")
        if self.weights and sum(self.weights.values()) != 100:
            raise ValueError(f"weights must add up to 100: {dict(self.weights)}")

    def weight(self, revision: RevisionId) -> int:
        """Share of this revision in percent; 0 for one that is not routed to."""
        return self.weights.get(revision, 0)

    def same_weights(self, other: Traffic) -> bool:
        """True if both send each revision the same share, whatever else differs."""
        return self._routed() == other._routed()

    def _routed(self) -> dict[RevisionId, int]:
        return {name: share for name, share in self.weights.items() if share}


@dataclass(frozen=True, slots=True)
class Observed:
    """A target as it is now, read from the target itself."""

    up: bool
    """The router accepts requests."""
    endpoint: str | None
    """Where users send requests, e.g. ``http://127.0.0.1:8080``."""
    revisions: tuple[RevisionStatus, ...] = ()
    traffic: Traffic = field(default_factory=Traffic)
    """What the router applies now, not what it was last told."""
    notes: tuple[str, ...] = ()
    """What is out of order and what to do about it, a sentence each."""

    def find(self, revision: RevisionId) -> RevisionStatus | None:
        """The revision of that id, or None where the target has none."""
        return next((known for known in self.revisions if known.id == revision), None)


@dataclass(frozen=True, slots=True)
class Histogram:
    """Cumulative latency histogram: ``counts[i]`` requests took at most ``bounds[i]`` seconds.

    Bounds ascend; the last one may be infinite. Samples of one epoch share their bounds, except that
    one without requests may have none.
    """

    bounds: tuple[float, ...] = ()
    counts: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class Sample:
    """Cumulative counters of the requests that the router meant for one revision.

    Differences of two samples are a window. They may be compared only within one ``epoch``: a
    router that restarts begins to count from zero under a new one.
    """

    at: float
    """Unix seconds."""
    epoch: str
    requests: int = 0
    errors: int = 0
    """Answers of 500 and above, and requests that another revision had to answer in its place."""
    in_flight: int = 0
    latency: Histogram = field(default_factory=Histogram)
    abandoned: int = 0
    """Requests whose client left without an answer; not among ``requests``, and their waiting time is
    in ``latency``: a revision that hangs until clients give up has few requests and bad latencies.
    """


@dataclass(frozen=True, slots=True)
class HttpRequest:
    """One request for a revision. ``path`` begins with a slash."""

    method: str
    path: str
    body: bytes = b""
    headers: Mapping[str, str] = field(default_factory=dict)
    timeout: float = 30.0


@dataclass(frozen=True, slots=True)
class HttpResponse:
    """The answer to an `HttpRequest`; header names in lower case."""

    status: int
    body: bytes = b""
    headers: Mapping[str, str] = field(default_factory=dict)


class Level(str, Enum):
    """How much a finding matters: ``ERROR`` stops the command, ``WARNING`` does not."""

    OK = "ok"
    WARNING = "warning"
    ERROR = "error"


@dataclass(frozen=True, slots=True)
class Finding:
    """One answer of `check` or `doctor`: what was looked at, what was found, what to do."""

    check: str
    level: Level
    message: str
    remedy: str = ""
    where: str = ""
    """``file:line``, where there is one."""


@dataclass(frozen=True, slots=True)
class Capabilities:
    """What a driver can do. `plan` refuses what it cannot, and says what it can."""

    strategies: frozenset[str]
    weight_step: int = 1
    """Traffic moves in multiples of this many percent."""
    max_revisions: int | None = None
    """How many revisions can be alive at once; None: no limit of its own."""


@dataclass(frozen=True, slots=True)
class Gates:
    """The numbers that a candidate must show at each step. None means: not asked for."""

    error_rate: float | None = 0.01
    """Highest share of failed requests, 0 to 1."""
    p50: float | None = None
    p95: float | None = None
    p99: float | None = None
    """Highest latency of the candidate, in seconds."""
    max_error_increase: float | None = 0.01
    """How far the candidate's error share may lie above stable's in the same window."""
    max_p95_ratio: float | None = None
    """How many times stable's p95 the candidate's may be in the same window."""
    min_requests: int = 100
    """Fewer requests to the candidate than this decide nothing."""
    patience: float = 60.0
    """Seconds to wait, after the soak, for enough requests; then the rollout is held."""
    golden: bool = True
    """The bundle's golden samples must be reproduced before the first request of a user."""


@dataclass(frozen=True, slots=True)
class Policy:
    """How a revision takes over on one target."""

    strategy: str = "canary"
    steps: tuple[int, ...] = (5, 25, 50)
    """The candidate's share at each step of a canary, in percent; 100 follows by itself."""
    soak: float = 10.0
    """Seconds that each step lasts at the least."""
    keep: int = 1
    """How many former stable revisions stay warm for `rollback`."""
    ready_timeout: float = 120.0
    drain_timeout: float = 30.0
    on_interrupt: str = "rollback"
    """What Ctrl-C does: ``rollback`` or ``hold``."""
    gates: Gates = field(default_factory=Gates)


@dataclass(frozen=True, slots=True)
class Holder:
    """Who holds a target's lock."""

    owner: str
    """``user@host``."""
    pid: int
    command: str
    since: float
    """Unix seconds."""
