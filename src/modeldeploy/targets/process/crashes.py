"""How long to wait after a crash, and when to call it a crash loop."""

from __future__ import annotations

from dataclasses import dataclass, field

SHORTEST_PAUSE = 0.1
LONGEST_PAUSE = 5.0
WINDOW = 60.0
"""Seconds within which crashes count."""
LOOP = 5
"""This many crashes in the window, or this many at all before the first readiness, are a loop."""


@dataclass(slots=True)
class Crashes:
    """The ends of a program that should not have ended. Times are monotonic seconds."""

    total: int = 0
    _recent: list[float] = field(default_factory=list)

    def add(self, now: float) -> float:
        """Count a crash; the seconds to wait before the next start: 0.1, 0.2, 0.4 ... 5."""
        self.total += 1
        self._recent = [*self._within(now), now]
        return min(LONGEST_PAUSE, SHORTEST_PAUSE * 2.0 ** (len(self._recent) - 1))

    def looping(self, now: float) -> bool:
        """True after several crashes in a short time."""
        return len(self._within(now)) >= LOOP

    def _within(self, now: float) -> list[float]:
        return [moment for moment in self._recent if now - moment < WINDOW][-64:]
