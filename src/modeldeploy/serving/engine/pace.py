"""How long the model takes: what decides where it runs, and when it is worth to ask again."""

from __future__ import annotations

from collections.abc import Iterable

from .job import Job

_SLOW = 0.0005
"""Seconds: a run that takes longer would keep the event loop from its other work. A thread costs a tenth."""
_QUICK = 0.00025
"""Seconds: a run that takes less is moved back to the loop. Half, so that it does not go to and fro."""
_WEIGHT = 0.2
_OUTLIER = 4.0
"""One run counts at most as so many times the average: a processor that was taken away says little."""
_WINDOW = 16
"""Runs in a thread whose quickest counts: the others also waited for the interpreter's lock."""
_SIZES = 64


class Pace:
    """Running averages of the model's time, by the number of values that it was given, in powers of two.

    A size that was never seen is judged by its neighbours.
    """

    def __init__(self) -> None:
        self._average = [0.0] * _SIZES
        self._quick: list[bool] = [False] * _SIZES
        self._least = [0.0] * _SIZES
        self._runs = [0] * _SIZES
        self._per_job = 0.0

    def quick(self, size: int) -> bool:
        """True if a run of so many values should be done on the event loop."""
        bucket = size.bit_length()
        if self._average[bucket]:
            return self._quick[bucket]
        return 0 < self._estimate(bucket) < _QUICK

    def note(self, size: int, jobs: int, seconds: float, *, here: bool) -> None:
        """A run took so long; ``here``: on the event loop."""
        bucket = size.bit_length()
        known = self._average[bucket]
        if not known:
            self._average[bucket] = seconds
            self._quick[bucket] = seconds < _QUICK
        else:
            self._average[bucket] = known + _WEIGHT * (min(seconds, _OUTLIER * known) - known)
            if here:
                self._quick[bucket] = self._average[bucket] < _SLOW
            else:
                self._reconsider(bucket, seconds)
        each = seconds / jobs
        self._per_job += _WEIGHT * (each - self._per_job) if self._per_job else each

    def seconds_for(self, jobs: int) -> float:
        """How long so many jobs will take, as things went lately."""
        return self._per_job * jobs

    def _reconsider(self, bucket: int, seconds: float) -> None:
        runs = self._runs[bucket] = self._runs[bucket] % _WINDOW + 1
        self._least[bucket] = seconds if runs == 1 else min(self._least[bucket], seconds)
        if runs == _WINDOW and self._least[bucket] < _QUICK:
            self._quick[bucket] = True
            self._average[bucket] = self._least[bucket]

    def _estimate(self, bucket: int) -> float:
        """In proportion to the next smaller size, at most what a larger one took; 0: unknown."""
        larger = next((average for average in self._average[bucket:] if average), 0.0)
        for smaller in range(bucket - 1, -1, -1):
            if self._average[smaller]:
                scaled = float(self._average[smaller] * 2.0 ** (bucket - smaller))
                return min(scaled, larger) if larger else scaled
        return larger


def size_of(jobs: Iterable[Job]) -> int:
    """The number of values that these jobs hold."""
    return sum(array.size for job in jobs for array in job.arrays.values())
