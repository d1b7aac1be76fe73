"""Who answers: weights, fallback, drain; asked of a real Envoy with real workers behind it."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Iterator

import pytest

from envoy_place import ONE, TWO, Place, Worker, ask, ask_often, load_until, opened, stable_and, until
from modeldeploy.model import Traffic


@pytest.fixture
def place() -> Iterator[Place]:
    with opened() as place:
        yield place


@pytest.fixture
def both(place: Place) -> Place:
    return place.start_both()


def test_weights_are_applied_and_every_answer_names_its_revision(both: Place) -> None:
    both.weigh(stable_and(5))
    answers = ask_often(both, 2000)
    assert set(answers) == {(200, ONE), (200, TWO)}
    # 100 expected, standard deviation 9.75: outside of five of them once in two million runs.
    assert 51 <= answers[200, TWO] <= 149
    assert answers[200, TWO] == both.workers[TWO][0].seen


def test_an_open_connection_follows_the_new_weights_at_once(both: Place) -> None:
    clients = [both.client() for _ in range(8)]
    assert {ask(client) for client in clients} == {(200, ONE)}
    for percent, revision in ((100, TWO), (0, ONE), (100, TWO)):
        both.weigh(stable_and(percent))
        assert {ask(client) for client in clients} == {(200, revision)}
    for client in clients:
        client.close()


def test_a_revision_without_weight_is_warm_but_never_asked(both: Place) -> None:
    ask_often(both, 50)
    assert both.workers[TWO][0].seen == 0
    assert both.router.healthy(TWO) == 1


def test_killing_a_revision_under_load_loses_no_request(both: Place) -> None:
    both.weigh(stable_and(50))
    both.workers[ONE][0].delay = both.workers[TWO][0].delay = lambda: 0.005
    answers: Counter[tuple[int, str]] = Counter()
    killing = threading.Timer(0.5, both.workers[TWO][0].kill)
    killing.start()
    load = [
        threading.Thread(target=lambda: answers.update(ask_often(both, 150, connections=1))) for _ in range(4)
    ]
    for thread in load:
        thread.start()
    for thread in load:
        thread.join()
    killing.join()
    assert {status for status, _ in answers} == {200}
    assert answers.total() == 600


def test_another_worker_of_the_same_revision_answers_before_the_fallback_does(place: Place) -> None:
    place.work(ONE)
    place.work(TWO, replicas=2)
    place.know(ONE)
    place.weigh(stable_and(100))
    place.start()
    ask_often(place, 20)
    place.workers[TWO][0].kill()
    assert ask_often(place, 60) == Counter({(200, TWO): 60})
    until(lambda: place.router.healthy(TWO) == 1)
    assert place.router.sample(TWO).errors == 0


def test_a_worker_that_comes_back_is_used_again_within_two_seconds(both: Place) -> None:
    both.weigh(stable_and(100))
    ask_often(both, 20)
    both.workers[TWO][0].kill()
    assert set(ask_often(both, 40)) == {(200, ONE)}
    until(lambda: both.router.healthy(TWO) == 0)
    both.workers[TWO] = [Worker(both.workers[TWO][0].path)]
    until(lambda: both.router.healthy(TWO) == 1, seconds=2)
    assert set(ask_often(both, 5)) == {(200, TWO)}


def test_the_stable_revision_is_never_cut_off_for_its_answers(both: Place) -> None:
    both.workers[ONE][0].status = lambda: 500
    assert ask_often(both, 50) == Counter({(500, ONE): 50})


def test_without_any_revision_users_are_told_so_with_503(place: Place) -> None:
    place.know()
    place.weigh(Traffic())
    place.start()
    client = place.client()
    client.request("GET", "/predict")
    answer = client.getresponse()
    assert (answer.status, answer.headers["content-type"]) == (503, "application/json")
    assert answer.read() == b'{"error":"no revision of this model is live; deploy one: mdeploy deploy"}\n'
    assert answer.headers.get("x-model-version") is None
    assert place.router.applied() == (1, Traffic())
    client.close()


def test_adding_and_removing_a_revision_disturbs_no_request(place: Place) -> None:
    place.work(ONE)
    place.know(ONE)
    place.weigh(Traffic({ONE: 100}, stable=ONE))
    place.start()
    answers: Counter[tuple[int, str]] = Counter()
    done = threading.Event()
    load = threading.Thread(target=load_until, args=(place, done, answers))
    load.start()
    place.work(TWO)
    place.know(ONE)
    until(lambda: place.router.healthy(TWO) == 1)
    place.weigh(stable_and(50))
    until(lambda: place.router.sample(TWO).requests > 20)
    place.weigh(stable_and(0))
    until(lambda: place.router.in_flight(TWO) == 0)
    gone = place.workers.pop(TWO)
    place.know(ONE)
    gone[0].kill()
    done.set()
    load.join()
    assert {status for status, _ in answers} == {200}
    assert place.router.healthy(TWO) == 0


def test_promotion_under_load_with_another_fallback_loses_no_request(both: Place) -> None:
    """The fallback is in every cluster, so all of them are replaced while they are in use."""
    both.workers[ONE][0].delay = both.workers[TWO][0].delay = lambda: 0.01
    answers: Counter[tuple[int, str]] = Counter()
    done = threading.Event()
    load = [threading.Thread(target=load_until, args=(both, done, answers)) for _ in range(4)]
    for thread in load:
        thread.start()
    for stable in (TWO, ONE, TWO):
        both.weigh(Traffic({stable: 100}, stable=stable, fallback=(stable,)))
        both.know(stable)
        time.sleep(0.3)
    done.set()
    for thread in load:
        thread.join()
    assert {status for status, _ in answers} == {200}
    assert {who for _, who in answers} == {ONE, TWO}
    samples = [both.router.sample(name) for name in (ONE, TWO)]
    assert sum(sample.requests for sample in samples) == answers.total()
    assert [sample.errors for sample in samples] == [0, 0]


def test_draining_sends_users_away_without_failing_one(both: Place) -> None:
    client = both.client()
    assert ask(client) == (200, ONE)
    assert both.router.connections() == 1
    both.router.begin_drain()
    deadline = time.monotonic() + 8
    while both.router.connections() and time.monotonic() < deadline:
        assert ask(client) == (200, ONE)
        time.sleep(0.05)
    assert both.router.connections() == 0


def test_a_body_above_the_connection_buffer_can_still_be_repeated(both: Place) -> None:
    both.weigh(stable_and(100))
    client = both.client()
    body = bytes(3 * 1024 * 1024)
    assert ask(client, method="POST", body=body) == (200, TWO)
    both.workers[TWO][0].kill()
    assert ask(client, method="POST", body=body) == (200, ONE)
    client.close()


@pytest.mark.parametrize(("idempotent", "answer"), [(True, (200, ONE)), (False, (503, TWO))])
def test_a_request_that_a_worker_has_begun_is_repeated_only_if_that_is_harmless(
    both: Place, *, idempotent: bool, answer: tuple[int, str]
) -> None:
    both.weigh(stable_and(100), idempotent=idempotent)
    both.workers[TWO][0].hangs_up = True
    client = both.client()
    assert ask(client, method="POST", body=b"{}") == answer
    if not idempotent:
        assert both.workers[TWO][0].seen == 1
    client.close()


def test_users_see_the_generation_and_a_request_id_but_nothing_of_the_inside(both: Place) -> None:
    client = both.client()
    client.request("GET", "/predict", headers={"x-request-id": "mine"})
    answer = client.getresponse()
    answer.read()
    assert answer.headers["x-mdeploy-config"] == str(both.generation)
    assert answer.headers["x-request-id"] == "mine"
    assert not [name for name in answer.headers if name.startswith("x-envoy")]
    client.close()
