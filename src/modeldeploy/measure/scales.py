"""From values to places in a drawing, and the round numbers to mark on the way. Pure."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

_STEPS = (1, 2, 5)


@dataclass(frozen=True, slots=True)
class Scale:
    """Values from ``low`` to ``high`` lie between ``start`` and ``end``, evenly or by their logarithm."""

    low: float
    high: float
    start: float
    end: float
    log: bool = False

    def at(self, value: float) -> float:
        """The place of a value; those outside lie at the nearer end."""
        value = min(max(value, self.low), self.high)
        if self.log:
            share = math.log(value / self.low) / math.log(self.high / self.low)
        else:
            share = (value - self.low) / (self.high - self.low)
        return self.start + share * (self.end - self.start)

    def ticks(self) -> list[float]:
        """Round values within the scale: some five."""
        return _powers(self.low, self.high) if self.log else _even(self.low, self.high)


def even(values: Iterable[float], start: float, end: float) -> Scale:
    """A scale from 0 to a little above the largest value."""
    high = max([*values, 0.0]) or 1.0
    return Scale(0.0, high * 1.08, start, end)


def logarithmic(values: Iterable[float], start: float, end: float) -> Scale:
    """A scale by logarithms, wide enough for all values above 0, and at least a tenfold."""
    above = [value for value in values if value > 0] or [1.0]
    low, high = min(above) / 1.3, max(above) * 1.3
    if high / low < 10:
        middle = math.sqrt(low * high)
        low, high = middle / math.sqrt(10), middle * math.sqrt(10)
    return Scale(low, high, start, end, log=True)


def _even(low: float, high: float) -> list[float]:
    rough = (high - low) / 7
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(power * factor for factor in (*_STEPS, 10) if power * factor >= rough * 0.999)
    first = math.ceil(low / step)
    return [index * step for index in range(first, int(high / step) + 1)]


def _powers(low: float, high: float) -> list[float]:
    lowest, highest = math.floor(math.log10(low)), math.ceil(math.log10(high))
    factors = _STEPS if math.log10(high / low) <= 2.5 else (1,)
    every = max(1, (highest - lowest) // 6)
    found = [factor * 10.0**power for power in range(lowest, highest + 1, every) for factor in factors]
    return [value for value in found if low <= value <= high]
