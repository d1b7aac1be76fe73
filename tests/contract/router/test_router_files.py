"""What a real Envoy makes of its files, and what the router tells of it."""

from __future__ import annotations

import json
import socket
from collections import Counter
from collections.abc import Callable, Iterator

import pytest

from envoy_place import ONE, TWO, Place, ask, ask_often, free_port, opened, stable_and, until
from modeldeploy import files
from modeldeploy.errors import TargetDrifted, TargetUnavailable
from modeldeploy.model import RevisionId, Traffic
from modeldeploy.router.ingress import Ingress


@pytest.fixture
def place() -> Iterator[Place]:
    with opened() as place:
        yield place


@pytest.fixture
def both(place: Place) -> Place:
    return place.start_both()


def test_the_traffic_is_read_back_from_the_router_itself(both: Place) -> None:
    both.weigh(stable_and(25))
    assert both.router.applied() == (both.generation, stable_and(25))


def test_routes_to_a_revision_that_envoy_does_not_know_are_refused_with_the_reason(both: Place) -> None:
    held = both.router.applied()
    both.router.write_routes(Traffic({RevisionId("9-00000000"): 100}), 99)
    until(lambda: both.router.rejected(both.program) is not None)
    reason = both.router.rejected(both.program) or ""
    assert "routes.json" in reason
    assert "unknown weighted cluster '9-00000000'" in reason
    assert both.router.applied() == held
    assert ask_often(both, 5) == Counter({(200, ONE): 5})
    both.weigh(stable_and(100))
    assert both.router.rejected(both.program) is None


@pytest.mark.parametrize("content", [b"", b'{"version_info": "1;w=', b'{"resources": [{"no": 1}]}', b"[1]"])
def test_a_broken_file_changes_nothing_and_is_reported(both: Place, content: bytes) -> None:
    files.write_atomic(both.router.layout.clusters, content)
    until(lambda: both.router.rejected(both.program) is not None)
    assert "clusters.json" in (both.router.rejected(both.program) or "")
    assert not both.router.warm()
    assert ask_often(both, 5) == Counter({(200, ONE): 5})


def test_a_port_in_use_is_reported_with_the_port(place: Place) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", place.port))
        other.listen()
        place.know()
        place.weigh(Traffic())
        with pytest.raises(AssertionError):
            place.start(patience=1)
        reason = place.router.rejected(place.program) or ""
        assert f"127.0.0.1:{place.port}" in reason
        assert "Address already in use" in reason
    # Envoy does not try again by itself; writing the same file again makes it.
    place.router.write_static(place.ingress)
    until(place.router.live)


def test_two_routers_cannot_share_a_port_unless_asked_to(both: Place) -> None:
    with opened() as second:
        second.ingress = both.ingress
        second.know()
        second.weigh(Traffic())
        with pytest.raises(AssertionError):
            second.start(patience=1)


def test_validation_tells_envoys_reason_before_anything_is_replaced(place: Place) -> None:
    place.work(ONE)
    place.router.write_static(place.ingress)
    assert "clusters.json" in (place.router.validate(place.program) or "")
    place.know()
    place.weigh(Traffic({ONE: 100}))
    assert place.router.validate(place.program) is None
    place.weigh(Traffic({TWO: 100}))
    assert f"unknown weighted cluster '{TWO}'" in (place.router.validate(place.program) or "")


def test_another_port_is_taken_over_while_open_connections_go_on(both: Place) -> None:
    client = both.client()
    assert ask(client) == (200, ONE)
    both.ingress = Ingress(port=free_port())
    both.router.write_static(both.ingress)
    both.port = both.ingress.port
    until(lambda: _answers(both))
    assert both.router.rejected(both.program) is None
    assert ask(client) == (200, ONE)
    client.close()


def test_a_restarted_envoy_has_a_new_epoch_and_knows_its_traffic(both: Place) -> None:
    both.weigh(stable_and(30))
    first = both.router.epoch()
    assert both.router.sample(ONE).epoch == both.router.epoch() == first
    both.stop()
    assert not both.router.live()
    both.start()
    assert both.router.epoch() != first
    assert both.router.applied() == (both.generation, stable_and(30))


def test_without_envoy_questions_raise_that_the_target_is_unavailable(place: Place) -> None:
    questions: list[Callable[[], object]] = [
        place.router.applied,
        place.router.warm,
        place.router.epoch,
        place.router.connections,
        place.router.begin_drain,
        lambda: place.router.sample(ONE),
        lambda: place.router.in_flight(ONE),
    ]
    for question in questions:
        with pytest.raises(TargetUnavailable, match=r"admin\.sock"):
            question()
    assert not place.router.live()


def test_routes_of_somebody_else_are_drift(both: Place) -> None:
    document = files.read_json(both.router.layout.routes)
    files.write_json(both.router.layout.routes, {**document, "version_info": "by hand"})
    until(lambda: _drifted(both))


def test_the_access_log_is_one_json_line_per_request(place: Place) -> None:
    log = place.folder / "access.jsonl"
    place.ingress = Ingress(port=place.port, access_log=log)
    place.work(ONE)
    place.know()
    place.weigh(Traffic({ONE: 100}))
    place.start()
    ask_often(place, 2)
    assert place.process
    place.process.terminate()
    until(lambda: log.read_bytes().count(b"\n") == 2)
    first = json.loads(log.read_bytes().splitlines()[0])
    assert (first["revision"], first["intended"], first["status"]) == (ONE, ONE, 200)


def test_the_admin_socket_is_only_for_its_owner(both: Place) -> None:
    assert both.router.socket.stat().st_mode & 0o777 == 0o600


def _answers(place: Place) -> bool:
    try:
        return set(ask_often(place, 1)) == {(200, ONE)}
    except ConnectionRefusedError:
        return False


def _drifted(place: Place) -> bool:
    try:
        place.router.applied()
    except TargetDrifted:
        return True
    return False
