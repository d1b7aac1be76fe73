"""Which differences between measurements are real. Pure.

Two things are measured in turn, again and again, each time close to each other, so that what slows the
machine slows both. What counts are the ratios of the pairs. The same thing measured against itself tells
how much of a difference this machine makes out of nothing.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

LEAST = 0.02
"""A smaller gain is none, however sure."""
_SURE = 0.95


@dataclass(frozen=True, slots=True)
class Ratio:
    """How much something takes of what the original takes: below 1 is better."""

    middle: float
    low: float
    high: float
    """Ends of an interval that holds the true median of the ratios: 19 times of 20, from 6 pairs on."""

    @property
    def gain(self) -> float:
        """The share that is saved."""
        return 1 - self.middle

    def better(self, noise: float) -> bool:
        """True if it is beyond doubt and beyond the noise."""
        return self.high < 1 and self.middle < 1 - max(noise, LEAST)

    def worse(self, noise: float) -> bool:
        """The same the other way."""
        return self.low > 1 and self.middle > 1 + max(noise, LEAST)


def ratio(ours: Sequence[float], base: Sequence[float]) -> Ratio:
    """The ratios of pairs, measured next to each other. At least one pair."""
    ratios = sorted(one / other for one, other in zip(ours, base, strict=True))
    count = len(ratios)
    cut = _cut(count)
    return Ratio(_median(ratios), ratios[cut], ratios[count - 1 - cut])


def floor(same: Ratio) -> float:
    """The noise: how far the same thing seemed to be from itself."""
    return max(abs(same.low - 1), abs(same.high - 1))


def _cut(count: int) -> int:
    """How many of the smallest and of the largest may be left out for the interval still to hold."""
    outside, cut = 0.0, 0
    while cut < (count - 1) // 2:
        outside += math.comb(count, cut) / 2**count
        if 2 * outside > 1 - _SURE:
            return max(0, cut - 1) if cut else 0
        cut += 1
    return max(0, cut - 1)


def _median(ordered: Sequence[float]) -> float:
    middle = len(ordered) // 2
    if len(ordered) % 2:
        return ordered[middle]
    return (ordered[middle - 1] + ordered[middle]) / 2


def median(values: Sequence[float]) -> float:
    """The middle one of some values."""
    return _median(sorted(values))


def front(points: Sequence[tuple[float, float]]) -> list[bool]:
    """For each point, whether no other is as good in both and better in one; smaller is better."""
    return [
        not any(other[0] <= point[0] and other[1] <= point[1] and other != point for other in points)
        for point in points
    ]
