"""What a real Envoy counts, against what the clients saw."""

from __future__ import annotations

import http.client
import threading
import time
from collections import Counter
from collections.abc import Iterator
from itertools import cycle

import pytest

from envoy_place import ONE, TWO, Place, ask, ask_often, opened, stable_and, until
from modeldeploy.model import Histogram, RevisionId, Sample, Traffic


@pytest.fixture
def place() -> Iterator[Place]:
    with opened() as place:
        yield place


@pytest.fixture
def both(place: Place) -> Place:
    return place.start_both()


def counted(place: Place, revision: RevisionId, requests: int) -> Sample:
    """A sample that holds this many requests, their latencies too: those lag by up to a second."""
    until(lambda: _complete(place.router.sample(revision), requests), seconds=5)
    return place.router.sample(revision)


def _complete(sample: Sample, requests: int) -> bool:
    return sample.requests == requests and _total(sample.latency) >= sample.requests - sample.errors


def _total(latency: Histogram) -> int:
    return latency.counts[-1] if latency.counts else 0


def bin_of(latency: Histogram, share: float) -> tuple[float, float]:
    """Edges of the bin that holds this quantile."""
    rank = share * latency.counts[-1]
    index = next(index for index, count in enumerate(latency.counts) if count >= rank)
    return latency.bounds[max(0, index - 1)], latency.bounds[index]


def test_the_sample_agrees_with_what_the_clients_saw(both: Place) -> None:
    both.weigh(stable_and(40))
    slow, failing = cycle([0.002] * 9 + [0.02]), cycle([200, 200, 200, 500])
    both.workers[ONE][0].delay = lambda: next(slow)
    both.workers[TWO][0].status = lambda: next(failing)
    seen: list[tuple[int, str, float]] = []
    client = both.client()
    for _ in range(500):
        begin = time.perf_counter()
        seen.append((*ask(client), time.perf_counter() - begin))
    client.close()
    for revision in (ONE, TWO):
        mine = [(status, seconds) for status, who, seconds in seen if who == revision]
        sample = counted(both, revision, len(mine))
        assert sample.errors == sum(status >= 500 for status, _ in mine)
        assert _total(sample.latency) == len(mine)
        slowest = sorted(seconds for _, seconds in mine)
        lower, upper = bin_of(sample.latency, 0.95)
        # Envoy's time ends within the client's; the bin's lower edge is below both.
        assert lower <= slowest[int(0.95 * len(slowest))]
        assert upper <= 1.11 * lower
    lower, _ = bin_of(both.router.sample(ONE).latency, 0.95)
    assert lower >= 0.019


def test_latencies_below_a_millisecond_are_told_apart(both: Place) -> None:
    ask_often(both, 100)
    latency = counted(both, ONE, 100).latency
    assert 0 < bin_of(latency, 0.5)[0] < 0.01
    assert list(latency.bounds) == sorted(set(latency.bounds))
    assert list(latency.counts) == sorted(latency.counts)


def test_a_client_that_leaves_is_counted_apart_and_its_wait_is_a_latency(both: Place) -> None:
    both.workers[ONE][0].delay = lambda: 1.0
    for _ in range(3):
        client = both.client(timeout=0.1)
        with pytest.raises(TimeoutError):
            ask(client)
        client.close()
    until(lambda: both.router.sample(ONE).abandoned == 3)
    until(lambda: _total(both.router.sample(ONE).latency) == 3)
    sample = both.router.sample(ONE)
    assert (sample.requests, sample.errors) == (0, 0)
    assert 0.08 <= bin_of(sample.latency, 0.5)[0] <= 0.5


def test_an_answer_that_breaks_off_is_an_error(both: Place) -> None:
    both.workers[ONE][0].breaks_off = True
    client = both.client()
    with pytest.raises(http.client.IncompleteRead):
        ask(client)
    client.close()
    until(lambda: both.router.sample(ONE).errors == 1)
    assert both.router.sample(ONE).requests == 1


def test_requests_in_flight_are_seen_until_they_are_answered(both: Place) -> None:
    release = threading.Event()
    both.workers[ONE][0].delay = lambda: float(not release.wait(10))
    waiting = [threading.Thread(target=lambda: ask_often(both, 1)) for _ in range(3)]
    for thread in waiting:
        thread.start()
    until(lambda: both.router.in_flight(ONE) == 3)
    assert both.router.in_flight(TWO) == 0
    assert both.router.sample(ONE).in_flight == 3
    release.set()
    for thread in waiting:
        thread.join()
    assert both.router.in_flight(ONE) == 0


def test_requests_that_a_fallback_took_over_are_in_flight_at_the_fallback_too(both: Place) -> None:
    both.weigh(stable_and(100))
    both.workers[TWO][0].kill()
    until(lambda: both.router.healthy(TWO) == 0)
    release = threading.Event()
    both.workers[ONE][0].delay = lambda: float(not release.wait(10))
    waiting = threading.Thread(target=lambda: ask_often(both, 1))
    waiting.start()
    until(lambda: both.router.in_flight(ONE) == 1)
    release.set()
    waiting.join()
    assert both.router.in_flight(ONE) == 0


def test_requests_in_flight_are_seen_although_their_cluster_was_replaced_meanwhile(both: Place) -> None:
    release = threading.Event()
    both.workers[ONE][0].delay = lambda: float(not release.wait(10))
    waiting = threading.Thread(target=lambda: ask_often(both, 1))
    waiting.start()
    until(lambda: both.router.in_flight(ONE) == 1)
    both.know(TWO)
    assert both.router.in_flight(ONE) == 1
    release.set()
    waiting.join()
    until(lambda: both.router.in_flight(ONE) == 0)


def test_a_killed_revision_is_answered_for_by_its_fallback_and_the_answers_count_as_its_errors(
    both: Place,
) -> None:
    both.weigh(stable_and(100))
    before = ask_often(both, 40)
    both.workers[TWO][0].kill()
    after = ask_often(both, 60)
    assert (before, after) == (Counter({(200, TWO): 40}), Counter({(200, ONE): 60}))
    sample = counted(both, TWO, 100)
    assert (sample.errors, _total(sample.latency)) == (60, 40)
    assert both.router.sample(ONE).requests == 0
    until(lambda: both.router.healthy(TWO) == 0)


def test_a_revision_that_only_fails_is_cut_off_after_ten_answers(both: Place) -> None:
    both.weigh(stable_and(100))
    both.workers[TWO][0].status = lambda: 503
    answers = ask_often(both, 200, connections=1)
    assert answers[503, TWO] <= 12
    assert answers[200, ONE] >= 188
    assert counted(both, TWO, 200).errors == 200


def test_without_a_healthy_address_the_answer_is_503_and_counts_as_an_error(place: Place) -> None:
    place.work(ONE)[0].kill()
    place.know()
    place.weigh(Traffic({ONE: 100}, stable=ONE))
    place.start()
    assert ask_often(place, 3) == Counter({(503, ""): 3})
    sample = counted(place, ONE, 3)
    assert (sample.errors, _total(sample.latency)) == (3, 0)
