"""What Envoy is told, to the byte.

After an intended change: ``MDEPLOY_WRITE_GOLDEN=1 pytest tests/golden/router``.
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from envoy_place import program_or_skip
from modeldeploy.model import RevisionId, Traffic
from modeldeploy.router.ingress import Document, Ingress, Layout, bootstrap, listeners
from modeldeploy.router.render import Upstream, as_bytes, clusters, routes
from modeldeploy.router.validate import problem

ONE = RevisionId("1.0.0-3f2a9c1b")
TWO = RevisionId("2.0.0-rc.1-00ff00ff")
RUN = Path("/run/mdeploy")
LAYOUT = Layout(RUN / "envoy")
LOGGED = Ingress(host="::1", port=9000, access_log=RUN / "access.jsonl", share_port=True)
UPSTREAMS = (Upstream(ONE, (RUN / "1.sock", RUN / "2.sock")), Upstream(TWO, (("127.0.0.1", 9001),)))

DOCUMENTS: dict[str, Document] = {
    "bootstrap": bootstrap(LAYOUT, RUN / "admin.sock"),
    "listeners": listeners(LAYOUT, Ingress()),
    "listeners-logged": listeners(LAYOUT, LOGGED),
    "clusters": clusters(UPSTREAMS, fallback=(ONE,)),
    "clusters-none": clusters(()),
    "clusters-hosts": clusters((Upstream(ONE, (("model.svc", 3000),)),)),
    "routes": routes(Traffic({ONE: 95, TWO: 5}, stable=ONE, fallback=(ONE,)), 7),
    "routes-parked": routes(Traffic({ONE: 0, TWO: 100}, stable=TWO), 8),
    "routes-none": routes(Traffic(), 0),
    "routes-once": routes(Traffic({ONE: 100}), 9, idempotent=False, timeout=2.5),
}


@pytest.mark.parametrize("name", DOCUMENTS)
def test_what_envoy_is_told_is_what_it_was(name: str) -> None:
    path = Path(__file__).parent / f"{name}.json"
    if os.environ.get("MDEPLOY_WRITE_GOLDEN"):
        path.write_bytes(as_bytes(DOCUMENTS[name]))
    assert as_bytes(DOCUMENTS[name]) == path.read_bytes()


@pytest.mark.parametrize(
    ("listener", "cluster", "route"),
    [
        ("listeners", "clusters", "routes"),
        ("listeners", "clusters", "routes-parked"),
        ("listeners", "clusters-none", "routes-none"),
        ("listeners", "clusters-hosts", "routes-once"),
    ],
)
def test_envoy_would_take_it(listener: str, cluster: str, route: str) -> None:
    chosen = (DOCUMENTS[name] for name in ("bootstrap", listener, cluster, route))
    assert problem(program_or_skip(), *chosen) is None


def test_envoy_would_take_it_with_an_access_log(tmp_path: Path) -> None:
    logged = listeners(LAYOUT, Ingress(access_log=tmp_path / "access.jsonl"))
    chosen = (DOCUMENTS[name] for name in ("bootstrap", "clusters", "routes"))
    start, cluster, route = chosen
    assert problem(program_or_skip(), start, logged, cluster, route) is None
