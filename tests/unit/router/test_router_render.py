from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from modeldeploy.errors import ConfigError
from modeldeploy.model import RevisionId, Traffic
from modeldeploy.router.ingress import Ingress, Layout, bootstrap, listeners
from modeldeploy.router.render import Upstream, as_bytes, clusters, routes

ONE, TWO, THREE = (RevisionId(f"{major}.0.0-0000000{major}") for major in (1, 2, 3))


def known(*names: RevisionId) -> list[Upstream]:
    return [Upstream(name, (Path(f"/run/{name}.sock"),)) for name in names]


def chains(document: dict[str, Any]) -> dict[str, list[str]]:
    """Who answers for whom, by priority."""
    return {
        cluster["name"]: [
            group["lb_endpoints"][0]["metadata"]["filter_metadata"]["mdeploy"]["revision"]
            for group in cluster["load_assignment"]["endpoints"]
        ]
        for cluster in document["resources"]
    }


def breakers(document: dict[str, Any]) -> set[str]:
    return {
        cluster["name"]
        for cluster in document["resources"]
        if cluster["outlier_detection"]["enforcing_consecutive_5xx"]
    }


def test_a_revisions_own_addresses_come_before_the_fallbacks_in_their_order() -> None:
    assert chains(clusters(known(ONE, TWO, THREE), fallback=(TWO, ONE))) == {
        ONE: [ONE, TWO],
        TWO: [TWO, ONE],
        THREE: [THREE, TWO, ONE],
    }


def test_only_a_revision_that_others_can_stand_in_for_is_cut_off_for_bad_answers() -> None:
    assert breakers(clusters(known(ONE, TWO), fallback=(ONE,))) == {TWO}
    assert breakers(clusters(known(ONE, TWO))) == set()


def test_a_fallback_without_address_is_refused() -> None:
    with pytest.raises(ValueError, match=THREE):
        clusters(known(ONE), fallback=(THREE,))


def test_the_order_of_wishes_does_not_matter_to_the_bytes() -> None:
    assert as_bytes(clusters(known(ONE, TWO))) == as_bytes(clusters(known(TWO, ONE)))
    forth, back = Traffic({ONE: 90, TWO: 10}), Traffic({TWO: 10, ONE: 90})
    assert as_bytes(routes(forth, 1)) == as_bytes(routes(back, 1))


def test_the_version_of_clusters_follows_their_content() -> None:
    versions = [clusters(known(*names))["version_info"] for names in ((ONE,), (ONE, TWO), (ONE,))]
    assert versions[0] == versions[2] != versions[1]


def test_weight_zero_is_left_out_of_the_routes_but_kept_in_the_version() -> None:
    document = routes(Traffic({ONE: 100, TWO: 0}, stable=ONE), 3)
    action = document["resources"][0]["virtual_hosts"][0]["routes"][0]["route"]
    assert action["weighted_clusters"]["clusters"] == [{"name": ONE, "weight": 100}]
    assert document["version_info"] == f"3;w={ONE}:100,{TWO}:0;s={ONE};f="


def test_hosts_are_resolved_and_addresses_are_not() -> None:
    kinds = {
        host: clusters([Upstream(ONE, ((host, 80),))])["resources"][0]["type"]
        for host in ("127.0.0.1", "::1", "model.svc")
    }
    assert kinds == {"127.0.0.1": "STATIC", "::1": "STATIC", "model.svc": "STRICT_DNS"}


def test_a_revision_without_addresses_is_answered_for_by_its_fallback() -> None:
    cluster = clusters([Upstream(TWO, ()), *known(ONE)], fallback=(ONE,))["resources"][1]
    assert [len(group["lb_endpoints"]) for group in cluster["load_assignment"]["endpoints"]] == [0, 1]


def test_a_socket_path_that_no_kernel_takes_is_refused_with_the_limit() -> None:
    deep = Path("/run") / ("ä" * 60)
    with pytest.raises(ConfigError, match="103 bytes"):
        clusters([Upstream(ONE, (deep,))])
    with pytest.raises(ConfigError, match="103 bytes"):
        bootstrap(Layout(Path("/run")), deep)


def test_everything_is_json_with_nothing_of_python_in_it() -> None:
    layout = Layout(Path("/run/a b"))
    for document in (bootstrap(layout, Path("/run/admin")), listeners(layout, Ingress())):
        assert json.loads(as_bytes(document)) == json.loads(json.dumps(document))
