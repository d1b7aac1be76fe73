"""Envoy's statistics, read: who answered what, how long it took, what is in flight. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote

from modeldeploy.model import Histogram, RevisionId
from modeldeploy.router.ingress import ANSWERS, LATENCY, STATS, WAITED
from modeldeploy.router.render import stat_name

_CUT_OFF = frozenset({"UC", "UPE", "UR", "UT"})
"""Response flags of an answer that broke off after its status had been sent."""

_IN_FLIGHT = frozenset({"rq_active", "rq_pending_active"})
_HEALTHY = {"eds_health_status": "HEALTHY"}


@dataclass(slots=True)
class Answers:
    """What became of the requests that were meant for one revision, since Envoy started."""

    requests: int = 0
    errors: int = 0
    abandoned: int = 0
    in_flight: int = 0
    latency: Histogram = field(default_factory=Histogram)


@dataclass(frozen=True, slots=True)
class Endpoints:
    """A revision's own addresses: how many there are, and how many Envoy would send a request to."""

    total: int = 0
    healthy: int = 0
    lent: int = 0
    """Requests in flight at these addresses in place of other revisions."""


def answers_url(revision: RevisionId) -> str:
    """Admin path of the statistics that `answers` reads."""
    name = stat_name(revision)
    own = rf"^{STATS}\..*\.intended\.{name}(\.|$)"
    return stats_url(rf"{own}|{_in_flight(name)}") + "&histogram_buckets=detailed"


def in_flight_url(revision: RevisionId) -> str:
    """Admin path of the statistics that `in_flight` reads."""
    return stats_url(_in_flight(stat_name(revision)))


def stats_url(pattern: str) -> str:
    """Admin path of all statistics whose name holds this pattern, in JSON."""
    return f"/stats?format=json&filter={quote(pattern, safe='')}"


def values(page: Mapping[str, Any]) -> dict[str, Any]:
    """Counters, gauges and texts of a page of statistics, by name."""
    return {entry["name"]: entry["value"] for entry in page["stats"] if "name" in entry}


def in_flight(page: Mapping[str, Any]) -> int:
    """Requests that were sent on, or wait to be, for the revision of `in_flight_url` or `answers_url`."""
    return sum(value for name, value in values(page).items() if name.startswith("cluster."))


def answers(page: Mapping[str, Any], revision: RevisionId) -> Answers:
    """Read the page of `answers_url`."""
    intended = stat_name(revision)
    found = Answers(in_flight=in_flight(page))
    for name, value in values(page).items():
        tags = _tags(name)
        if not name.startswith(f"{STATS}.{ANSWERS}.") or tags["intended"] != intended:
            continue
        if tags["code"] == "0":
            found.abandoned += value
        else:
            found.requests += value
            found.errors += value if _is_error(tags) else 0
    found.latency = _latency(page, intended)
    return found


def endpoints(page: Mapping[str, Any]) -> dict[RevisionId, Endpoints]:
    """Read Envoy's page of clusters (``/clusters?format=json``)."""
    own = {status["name"]: _own(status) for status in page.get("cluster_statuses", ())}
    lent = Counter[str]()
    for status in page.get("cluster_statuses", ()):
        for host in status.get("host_statuses", ()):
            if host.get("priority", 0):
                lent[host["hostname"]] += _active(host)
    return {
        RevisionId(name): Endpoints(len(hosts), sum(map(_is_healthy, hosts)), lent[name])
        for name, hosts in own.items()
    }


def _in_flight(name: str) -> str:
    return rf"^cluster\.{name}\.upstream_rq(_pending)?_active$"


def _tags(name: str) -> dict[str, str]:
    """Tags of a statistic: ``mdeploy.rq.rev.<rev>.intended.<rev>.code.<code>...``, no dot in a value."""
    words = name.split(".")
    return dict(zip(words[2::2], words[3::2], strict=False))


def _is_error(tags: Mapping[str, str]) -> bool:
    rescued = tags["rev"] not in ("", tags["intended"])
    cut_off = not _CUT_OFF.isdisjoint(tags["flags"].split(","))
    return rescued or cut_off or int(tags["code"]) >= 500


def _latency(page: Mapping[str, Any], revision: str) -> Histogram:
    """Times of the revision's own answers; who left without one waited at least as long as counted."""
    bins: list[tuple[float, float, int]] = []
    for entry in _histograms(page):
        tags = _tags(entry["name"])
        unit = {LATENCY: 1e-6, WAITED: 1e-3}.get(entry["name"].split(".")[1])
        if unit and tags["intended"] == tags["rev"] == revision:
            bins += [_bin(total, unit) for total in entry["totals"]]
    return _cumulative(sorted(bins))


def _histograms(page: Mapping[str, Any]) -> Sequence[Mapping[str, Any]]:
    for entry in page["stats"]:
        if "histograms" in entry:
            details: Sequence[Mapping[str, Any]] = entry["histograms"]["details"]
            return details
    return ()


def _bin(total: Mapping[str, Any], unit: float) -> tuple[float, float, int]:
    lower, width = total["lower_bound"], total["width"]
    # Envoy writes 229.99999999999997 for 230; a nanosecond is more than it can tell.
    return round(lower * unit, 9), round((lower + width) * unit, 9), total["count"]


def _cumulative(bins: Iterable[tuple[float, float, int]]) -> Histogram:
    """Both edges of each bin that was used, so that nothing is read into the gaps between them."""
    added = Counter[float]()
    for lower, upper, count in bins:
        added[lower] += 0
        added[upper] += count
    bounds = sorted(added)
    counts, total = [], 0
    for bound in bounds:
        total += added[bound]
        counts.append(total)
    return Histogram(tuple(bounds), tuple(counts))


def _own(status: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    return [host for host in status.get("host_statuses", ()) if not host.get("priority", 0)]


def _is_healthy(host: Mapping[str, Any]) -> bool:
    return {name: value for name, value in host["health_status"].items() if value} == _HEALTHY


def _active(host: Mapping[str, Any]) -> int:
    return sum(int(stat.get("value", 0)) for stat in host["stats"] if stat["name"] in _IN_FLIGHT)
