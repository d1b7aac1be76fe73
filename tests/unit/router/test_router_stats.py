from __future__ import annotations

from typing import Any

import pytest

from modeldeploy.model import Histogram, RevisionId
from modeldeploy.router.stats import Endpoints, answers, answers_url, endpoints, in_flight

TWO = RevisionId("2.0.0-rc.1-00ff00ff")
MINE, OTHER = "2_0_0-rc_1-00ff00ff", "1_0_0-3f2a9c1b"


def page(*counters: tuple[str, str, str, int], **more: object) -> dict[str, Any]:
    """Counters as (who answered, status, flags, how many), all meant for one revision."""
    rows: list[dict[str, Any]] = [
        {"name": f"mdeploy.rq.rev.{rev}.intended.{MINE}.code.{code}.attempts.1.flags.{flags}", "value": value}
        for rev, code, flags, value in counters
    ]
    return {"stats": [*rows, *([more] if more else [])]}


def histogram(name: str, *bins: tuple[float, float, int]) -> dict[str, Any]:
    totals = [{"lower_bound": lower, "width": width, "count": count} for lower, width, count in bins]
    return {"name": name, "totals": totals, "intervals": [], "percentiles": []}


@pytest.mark.parametrize(
    ("counter", "requests", "errors"),
    [
        ((MINE, "200", "-", 7), 7, 0),
        ((MINE, "404", "-", 7), 7, 0),
        ((MINE, "500", "-", 7), 7, 7),
        ((OTHER, "200", "-", 7), 7, 7),
        ((OTHER, "400", "-", 7), 7, 7),
        (("", "503", "UH", 7), 7, 7),
        (("", "413", "-", 7), 7, 0),
        ((MINE, "200", "UC", 7), 7, 7),
        ((MINE, "200", "UF,UPE", 7), 7, 7),
        ((MINE, "200", "DC", 7), 7, 0),
        ((MINE, "0", "DC", 7), 0, 0),
    ],
)
def test_what_counts_as_an_error(counter: tuple[str, str, str, int], requests: int, errors: int) -> None:
    found = answers(page(counter), TWO)
    assert (found.requests, found.errors) == (requests, errors)
    assert found.abandoned == 7 - requests


def test_rows_of_other_revisions_are_left_out() -> None:
    row = {"name": f"mdeploy.rq.rev.{MINE}.intended.{OTHER}.code.200.attempts.1.flags.-", "value": 3}
    assert answers({"stats": [row]}, TWO).requests == 0


def test_a_page_without_anything_is_a_sample_of_zeros() -> None:
    found = answers({"stats": []}, TWO)
    assert (found.requests, found.errors, found.in_flight, found.latency) == (0, 0, 0, Histogram())


def test_bins_become_cumulative_with_both_edges_in_seconds() -> None:
    own = f"mdeploy.rq_us.rev.{MINE}.intended.{MINE}"
    rescued = f"mdeploy.rq_us.rev.{OTHER}.intended.{MINE}"
    details = [
        histogram(own, (229.99999999999997, 10, 2), (240, 10, 3), (100_000, 10_000, 1)),
        histogram(rescued, (5, 1, 100)),
    ]
    found = answers(page(histograms={"details": details}), TWO)
    assert found.latency.bounds == (0.00023, 0.00024, 0.00025, 0.1, 0.11)
    assert found.latency.counts == (0, 2, 5, 5, 6)


def test_the_wait_of_a_client_that_left_is_a_latency_too() -> None:
    details = [
        histogram(f"mdeploy.gone_ms.rev.{MINE}.intended.{MINE}", (3000, 100, 1)),
        histogram(f"mdeploy.rq_us.rev.{MINE}.intended.{MINE}", (1000, 100, 4)),
    ]
    found = answers(page(histograms={"details": details}), TWO)
    assert found.latency == Histogram((0.001, 0.0011, 3.0, 3.1), (0, 4, 4, 5))


def test_in_flight_are_those_sent_on_and_those_that_wait() -> None:
    rows = [
        {"name": f"cluster.{MINE}.upstream_rq_active", "value": 3},
        {"name": f"cluster.{MINE}.upstream_rq_pending_active", "value": 2},
    ]
    assert in_flight({"stats": rows}) == answers({"stats": rows}, TWO).in_flight == 5


def test_the_filter_names_the_revision_and_no_longer_one() -> None:
    assert MINE in answers_url(TWO)
    assert "%28%5C.%7C%24%29" in answers_url(TWO)


def host(owner: str, priority: int = 0, *, active: int = 0, **health: Any) -> dict[str, Any]:
    return {
        "hostname": owner,
        "priority": priority,
        "stats": [{"name": "rq_active", "value": str(active)}, {"name": "rq_total", "value": "9"}],
        "health_status": {"eds_health_status": "HEALTHY", **health},
    }


def test_only_own_addresses_count_and_borrowed_ones_tell_what_was_lent() -> None:
    clusters = {
        "cluster_statuses": [
            {
                "name": "b",
                "host_statuses": [host("b"), host("b", failed_outlier_check=True), host("a", 1, active=4)],
            },
            {"name": "a", "host_statuses": [host("a", active=2)]},
            {"name": "c"},
        ]
    }
    assert endpoints(clusters) == {
        "a": Endpoints(total=1, healthy=1, lent=4),
        "b": Endpoints(total=2, healthy=1, lent=0),
        "c": Endpoints(),
    }


@pytest.mark.parametrize(
    "health",
    [
        {"failed_active_health_check": True},
        {"pending_active_hc": True},
        {"failed_outlier_check": True},
        {"eds_health_status": "DRAINING"},
    ],
)
def test_any_doubt_of_envoy_means_not_healthy(health: dict[str, Any]) -> None:
    page = {"cluster_statuses": [{"name": "a", "host_statuses": [host("a", **health)]}]}
    assert endpoints(page) == {"a": Endpoints(total=1, healthy=0)}


def test_envoy_without_clusters_has_no_endpoints() -> None:
    assert endpoints({}) == {}
