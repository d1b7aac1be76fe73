"""From numbers to a verdict. Pure.

Both kinds of gate are one question, "is the share of bad requests above a limit?": a failed request
is bad for ``error_rate``, one slower than the limit is bad for ``p95`` (of which 5 % are allowed).

A verdict has three values. *Pass*: the measured share is within the limit, from at least
``min_requests`` requests. *Fail*: it is above, and so far that chance does not explain it (the lower
end of the Wilson score interval lies above the limit too). *Inconclusive*: too few requests, or above
the limit by no more than chance may do; or stable is above the limit as well, so that the cause may
lie outside the candidate. Nobody is promoted on four requests and nobody rejected for a quiet night.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from enum import Enum

from modeldeploy.model import Gates, Histogram, Sample

SURE = 2.58
"""Standard errors above the limit that fail a candidate: one in 200 by chance alone."""

VERY_SURE = 3.29
"""The same before ``min_requests`` are in, when it is asked again and again: one in 2,000."""

FEWEST_BAD = 5
"""Bad requests that it takes at the least to fail a candidate before ``min_requests`` are in."""


class Verdict(str, Enum):
    """What the numbers say of a candidate so far."""

    PASS = "pass"  # noqa: S105 - a verdict, not a password
    FAIL = "fail"
    INCONCLUSIVE = "inconclusive"


@dataclass(frozen=True, slots=True)
class Window:
    """What happened to one revision between two samples."""

    requests: int = 0
    errors: int = 0
    latency: Histogram = field(default_factory=Histogram)

    @property
    def error_rate(self) -> float | None:
        return self.errors / self.requests if self.requests else None

    @property
    def timed(self) -> int:
        """Requests whose latency is known: those that the revision answered itself."""
        return self.latency.counts[-1] if self.latency.counts else 0


@dataclass(frozen=True, slots=True)
class Measure:
    """One gate's numbers: the candidate's, stable's in the same window, the limit, the verdict."""

    gate: str
    candidate: float | None
    stable: float | None
    limit: float
    unit: str
    """``share`` (0 to 1), ``s``, ``x`` (times stable's) or ``requests``."""
    verdict: Verdict
    note: str = ""


@dataclass(frozen=True, slots=True)
class Judgement:
    """All measures, and the verdict over them: any fail fails, any doubt is doubt."""

    measures: tuple[Measure, ...]

    @property
    def verdict(self) -> Verdict:
        found = {measure.verdict for measure in self.measures}
        for worst in (Verdict.FAIL, Verdict.INCONCLUSIVE):
            if worst in found:
                return worst
        return Verdict.PASS


def window(first: Sample, last: Sample) -> Window | None:
    """What happened between two samples of one revision; None if the router restarted in between."""
    if first.epoch != last.epoch or last.requests < first.requests:
        return None
    before = dict(zip(first.latency.bounds, first.latency.counts, strict=True))
    pairs = zip(last.latency.bounds, last.latency.counts, strict=True)
    counts = tuple(count - before.get(bound, 0) for bound, count in pairs)
    # Whoever gave up waiting did not get an answer: a candidate that hangs must not look quiet.
    abandoned = max(0, last.abandoned - first.abandoned)
    return Window(
        requests=last.requests - first.requests + abandoned,
        errors=max(0, last.errors - first.errors) + abandoned,
        latency=Histogram(last.latency.bounds, counts),
    )


def judge(gates: Gates, candidate: Window, stable: Window | None) -> Judgement:
    """Hold the candidate's window against the gates, and against stable's window where there is one."""
    beside = stable if stable and stable.requests >= gates.min_requests else None
    measures = [*_error_measures(gates, candidate, beside), *_latency_measures(gates, candidate, beside)]
    if measures:
        measures.insert(0, _enough(gates, candidate))
    return Judgement(tuple(measures))


def quantile(latency: Histogram, q: float) -> float | None:
    """The latency in seconds that a share ``q`` of requests stayed within; None without requests.

    Linear between bucket bounds. A quantile in the open last bucket is that bucket's lower bound.
    """
    total = latency.counts[-1] if latency.counts else 0
    if not total:
        return None
    wanted = q * total
    below, low = 0, 0.0
    for bound, count in zip(latency.bounds, latency.counts, strict=True):
        if count >= wanted and count > below:
            if math.isinf(bound):
                return low
            return low + (bound - low) * (wanted - below) / (count - below)
        below, low = count, bound
    return low


def _enough(gates: Gates, candidate: Window) -> Measure:
    enough = candidate.requests >= gates.min_requests
    verdict = Verdict.PASS if enough else Verdict.INCONCLUSIVE
    count = float(candidate.requests)
    return Measure("min_requests", count, None, float(gates.min_requests), "requests", verdict)


def _error_measures(gates: Gates, candidate: Window, stable: Window | None) -> list[Measure]:
    found: list[Measure] = []
    worse = None
    if gates.max_error_increase is not None and stable is not None and stable.error_rate is not None:
        limit = stable.error_rate + gates.max_error_increase
        worse = _share_verdict(candidate.errors, candidate.requests, min(limit, 1.0), gates)
        increase = None if candidate.error_rate is None else candidate.error_rate - stable.error_rate
        found.append(Measure("max_error_increase", increase, None, gates.max_error_increase, "share", worse))
    if gates.error_rate is not None:
        verdict = _share_verdict(candidate.errors, candidate.requests, gates.error_rate, gates)
        beside = stable.error_rate if stable else None
        absolute = Measure("error_rate", candidate.error_rate, beside, gates.error_rate, "share", verdict)
        found.insert(0, absolute if worse is Verdict.FAIL else _unless_stable_too(absolute))
    return found


def _latency_measures(gates: Gates, candidate: Window, stable: Window | None) -> list[Measure]:
    found: list[Measure] = []
    for gate, q in (("p50", 0.50), ("p95", 0.95), ("p99", 0.99)):
        limit = getattr(gates, gate)
        if limit is not None:
            beside = quantile(stable.latency, q) if stable else None
            verdict = _slow_verdict(candidate, limit, q, gates)
            mine = quantile(candidate.latency, q)
            found.append(_unless_stable_too(Measure(gate, mine, beside, limit, "s", verdict)))
    ratio = gates.max_p95_ratio
    beside = quantile(stable.latency, 0.95) if stable else None
    if ratio is not None and beside:
        verdict = _slow_verdict(candidate, ratio * beside, 0.95, gates)
        mine = quantile(candidate.latency, 0.95)
        times = None if mine is None else mine / beside
        found.append(Measure("max_p95_ratio", times, None, ratio, "x", verdict))
    return found


def _unless_stable_too(measure: Measure) -> Measure:
    """A fail becomes doubt where stable is over the same limit in the same window."""
    if measure.verdict is not Verdict.FAIL or measure.stable is None or measure.stable <= measure.limit:
        return measure
    note = "stable is over the limit as well: the cause may lie outside the candidate"
    return replace(measure, verdict=Verdict.INCONCLUSIVE, note=note)


def _slow_verdict(candidate: Window, limit: float, q: float, gates: Gates) -> Verdict:
    if candidate.timed < gates.min_requests:
        return Verdict.INCONCLUSIVE  # the first requests to a new process are slow: they prove nothing
    slow = candidate.timed - _at_most(candidate.latency, limit)
    return _share_verdict(slow, candidate.timed, 1 - q, gates)


def _share_verdict(bad: int, requests: int, limit: float, gates: Gates) -> Verdict:
    if requests < gates.min_requests:
        early = bad >= FEWEST_BAD and _wilson_lower(bad, requests, VERY_SURE) > limit
        return Verdict.FAIL if early else Verdict.INCONCLUSIVE
    if bad <= limit * requests:
        return Verdict.PASS
    return Verdict.FAIL if _wilson_lower(bad, requests, SURE) > limit else Verdict.INCONCLUSIVE


def _wilson_lower(bad: int, requests: int, z: float) -> float:
    """Lower end of the Wilson score interval for a proportion (E. B. Wilson, 1927)."""
    share = bad / requests
    spread = z * math.sqrt(share * (1 - share) / requests + z * z / (4 * requests * requests))
    return (share + z * z / (2 * requests) - spread) / (1 + z * z / requests)


def _at_most(latency: Histogram, seconds: float) -> int:
    """How many requests took at most so long; linear inside a bucket, rounded down."""
    place = bisect_right(latency.bounds, seconds)
    below = latency.counts[place - 1] if place else 0
    if place == len(latency.bounds):
        return below
    low = latency.bounds[place - 1] if place else 0.0
    high = latency.bounds[place]
    inside = 0.0 if math.isinf(high) else (seconds - low) / (high - low)
    return below + int(inside * (latency.counts[place] - below))


def failed_measures(judgement: Judgement) -> Sequence[Measure]:
    """The measures that failed."""
    return [measure for measure in judgement.measures if measure.verdict is Verdict.FAIL]
