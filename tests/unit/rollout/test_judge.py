"""The judge: three-valued, honest about small numbers, and fair to a candidate beside a bad stable."""

from __future__ import annotations

import math
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from modeldeploy.model import Gates, Histogram, Sample
from modeldeploy.rollout.judge import Judgement, Verdict, Window, judge, quantile, window

BOUNDS = (0.001, 0.005, 0.010, 0.050, 0.100, math.inf)


def latencies(*counts: int) -> Histogram:
    total, cumulative = 0, []
    for count in counts:
        total += count
        cumulative.append(total)
    return Histogram(BOUNDS, tuple(cumulative))


def fast(requests: int, errors: int = 0) -> Window:
    return Window(requests, errors, latencies(requests, 0, 0, 0, 0, 0))


def verdict_of(found: Judgement, gate: str) -> Verdict:
    return next(measure.verdict for measure in found.measures if measure.gate == gate)


def test_enough_good_requests_pass() -> None:
    assert judge(Gates(), fast(500), fast(5000)).verdict is Verdict.PASS


def test_no_traffic_is_inconclusive_not_failed_and_not_passed() -> None:
    assert judge(Gates(p95=0.05), Window(), Window()).verdict is Verdict.INCONCLUSIVE


def test_four_perfect_requests_prove_nothing() -> None:
    assert judge(Gates(min_requests=100), fast(4), fast(400)).verdict is Verdict.INCONCLUSIVE


@pytest.mark.parametrize("requests", [30, 100, 1000])
def test_a_fifth_of_requests_failing_is_refused(requests: int) -> None:
    found = judge(Gates(), fast(requests, requests // 5), fast(2000))
    assert verdict_of(found, "error_rate") is Verdict.FAIL


def test_one_error_in_fifty_does_not_fail_before_enough_requests() -> None:
    assert judge(Gates(), fast(50, 1), fast(2000)).verdict is Verdict.INCONCLUSIVE


def test_slightly_over_the_limit_within_chance_is_doubt() -> None:
    found = judge(Gates(max_error_increase=None), fast(100, 2), fast(2000))
    assert verdict_of(found, "error_rate") is Verdict.INCONCLUSIVE


def test_a_stable_that_is_as_bad_makes_it_doubt_instead_of_failure() -> None:
    found = judge(Gates(), fast(1000, 200), fast(1000, 200))
    assert found.verdict is Verdict.INCONCLUSIVE
    measure = next(m for m in found.measures if m.gate == "error_rate")
    assert "stable is over the limit as well" in measure.note


def test_worse_than_a_bad_stable_fails() -> None:
    found = judge(Gates(), fast(1000, 400), fast(1000, 200))
    assert verdict_of(found, "max_error_increase") is Verdict.FAIL
    assert verdict_of(found, "error_rate") is Verdict.FAIL


def test_clearly_worse_than_stable_fails_below_the_absolute_limit() -> None:
    gates = Gates(error_rate=0.10, max_error_increase=0.01)
    assert judge(gates, fast(2000, 100), fast(2000)).verdict is Verdict.FAIL


def test_a_slow_candidate_fails_on_p95() -> None:
    slow = Window(200, 0, latencies(0, 0, 0, 0, 200, 0))
    found = judge(Gates(p95=0.05), slow, fast(1000))
    assert verdict_of(found, "p95") is Verdict.FAIL


def test_slow_first_requests_do_not_fail_a_candidate_early() -> None:
    warming = Window(10, 0, latencies(0, 0, 0, 0, 10, 0))
    assert verdict_of(judge(Gates(p95=0.05), warming, fast(1000)), "p95") is Verdict.INCONCLUSIVE


def test_a_slow_stable_makes_slowness_doubt() -> None:
    slow = Window(500, 0, latencies(0, 0, 0, 0, 500, 0))
    assert verdict_of(judge(Gates(p95=0.05), slow, slow), "p95") is Verdict.INCONCLUSIVE


def test_twice_as_slow_as_stable_fails_the_ratio_gate() -> None:
    ten_ms, five_ms = Window(500, 0, latencies(0, 0, 500, 0, 0, 0)), fast(500)
    found = judge(Gates(max_p95_ratio=2.0), ten_ms, five_ms)
    assert verdict_of(found, "max_p95_ratio") is Verdict.FAIL


def test_no_gate_with_numbers_asks_for_no_requests() -> None:
    assert judge(Gates(error_rate=None, max_error_increase=None), Window(), None).verdict is Verdict.PASS


def test_a_window_over_a_router_restart_is_none() -> None:
    before, after = Sample(0, "a", requests=10), Sample(1, "b", requests=3)
    assert window(before, after) is None


def test_a_window_is_the_difference_of_two_samples() -> None:
    before = Sample(0, "a", requests=10, errors=1, latency=latencies(10, 0, 0, 0, 0, 0))
    after = Sample(9, "a", requests=40, errors=3, latency=latencies(20, 20, 0, 0, 0, 0))
    assert window(before, after) == Window(30, 2, latencies(10, 20, 0, 0, 0, 0))


def test_clients_that_gave_up_waiting_count_as_failures() -> None:
    found = window(Sample(0, "a"), Sample(9, "a", requests=10, abandoned=30))
    assert found == Window(40, 30)


def test_a_window_from_before_the_first_request() -> None:
    after = Sample(9, "a", requests=40, latency=latencies(40, 0, 0, 0, 0, 0))
    assert window(Sample(0, "a"), after) == fast(40)


def test_quantiles_interpolate_inside_a_bucket() -> None:
    assert quantile(latencies(0, 100, 0, 0, 0, 0), 0.5) == pytest.approx(0.003)


def test_a_quantile_in_the_open_bucket_is_its_lower_bound() -> None:
    assert quantile(latencies(0, 0, 0, 0, 0, 10), 0.95) == 0.1


def test_no_requests_have_no_quantile() -> None:
    assert quantile(Histogram(), 0.95) is None


@given(st.lists(st.integers(0, 1000), min_size=6, max_size=6), st.floats(0.01, 0.99))
def test_quantiles_lie_within_the_bounds(counts: list[int], q: float) -> None:
    found = quantile(latencies(*counts), q)
    assert found is None or 0 <= found <= 0.1


@given(st.integers(0, 3000), st.data())
def test_more_errors_never_turn_a_failure_into_a_pass(requests: int, data: st.DataObject) -> None:
    errors = data.draw(st.integers(0, requests))
    more = data.draw(st.integers(errors, requests))
    order = [Verdict.PASS, Verdict.INCONCLUSIVE, Verdict.FAIL]
    one = verdict_of(judge(Gates(), fast(requests, errors), None), "error_rate")
    other = verdict_of(judge(Gates(), fast(requests, more), None), "error_rate")
    assert order.index(other) >= order.index(one)


def test_healthy_candidates_are_hardly_ever_failed_though_asked_every_half_second() -> None:
    """Half the allowed error rate, 1,000 rollouts, judged after every 20 requests."""
    dice = random.Random(7)
    failed = 0
    for _ in range(1000):
        errors = 0
        for requests in range(20, 620, 20):
            errors += sum(dice.random() < 0.005 for _ in range(20))
            if judge(Gates(), fast(requests, errors), None).verdict is Verdict.FAIL:
                failed += 1
                break
    assert failed <= 10
