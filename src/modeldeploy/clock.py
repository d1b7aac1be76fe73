"""Time, behind a seam: tests run hours in milliseconds, and a wall clock that jumps breaks nothing."""

from __future__ import annotations

import time
from typing import Protocol


class Clock(Protocol):
    """What the engine knows of time."""

    def now(self) -> float:
        """Wall time in Unix seconds: for records, never for measuring a duration."""

    def monotonic(self) -> float:
        """Seconds that only ever grow: for durations and deadlines."""

    def sleep(self, seconds: float) -> None:
        """Wait."""


class SystemClock:
    """The machine's own clocks."""

    def now(self) -> float:
        return time.time()

    def monotonic(self) -> float:
        return time.monotonic()

    def sleep(self, seconds: float) -> None:
        time.sleep(seconds)
