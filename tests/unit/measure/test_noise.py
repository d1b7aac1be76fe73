"""Differences that are real, and those that are not."""

from __future__ import annotations

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from modeldeploy.measure import noise


def test_the_same_thing_is_never_better_than_itself() -> None:
    """A thousand contests of a thing against itself, each with noise of 20 %: hardly one is lost."""
    chance = random.Random(1)
    wins = 0
    for _ in range(1000):
        base, ours, again = ([chance.uniform(0.9, 1.1) for _ in range(15)] for _ in range(3))
        wins += noise.ratio(ours, base).better(noise.floor(noise.ratio(again, base)))

    assert wins <= 25


def test_a_third_less_is_seen_through_that_noise() -> None:
    chance = random.Random(2)
    base, again = ([chance.uniform(0.9, 1.1) for _ in range(15)] for _ in range(2))
    ours = [chance.uniform(0.9, 1.1) * 2 / 3 for _ in range(15)]

    found = noise.ratio(ours, base)

    assert found.better(noise.floor(noise.ratio(again, base)))
    assert found.low < 2 / 3 < found.high
    assert found.gain == pytest.approx(1 / 3, abs=0.06)


def test_what_slows_the_whole_machine_slows_both_and_changes_nothing() -> None:
    base = [1.0, 1.0, 5.0, 1.0, 1.0, 9.0, 1.0]
    found = noise.ratio([each * 0.8 for each in base], base)

    assert (found.low, found.middle, found.high) == pytest.approx((0.8, 0.8, 0.8))


def test_a_gain_of_a_percent_is_none_however_sure() -> None:
    assert not noise.ratio([0.99] * 15, [1.0] * 15).better(0.0)
    assert noise.ratio([0.97] * 15, [1.0] * 15).better(0.0)
    assert noise.ratio([1.03] * 15, [1.0] * 15).worse(0.0)


def test_a_few_pairs_are_taken_whole_and_more_without_their_outliers() -> None:
    base = [1.0] * 15
    ours = [0.5, *[0.8] * 13, 3.0]

    assert noise.ratio(ours[-5:], base[-5:]).high == 3.0
    assert noise.ratio(ours, base).high == 0.8


@settings(max_examples=60)
@given(st.lists(st.floats(0.1, 10), min_size=1, max_size=40))
def test_the_middle_lies_in_its_interval(values: list[float]) -> None:
    found = noise.ratio(values, [1.0] * len(values))

    assert found.low <= found.middle <= found.high


def test_the_front_holds_what_nothing_else_beats() -> None:
    points = [(0.0, 10.0), (1.0, 5.0), (2.0, 5.0), (3.0, 1.0), (0.0, 10.0)]

    assert noise.front(points) == [True, True, False, True, True]
