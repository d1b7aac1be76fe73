"""Time that passes only when somebody sleeps: hours in milliseconds, and the same every time."""

from __future__ import annotations

from collections.abc import Callable


class FakeClock:
    """A `modeldeploy.clock.Clock` for tests.

    Listeners hear the new monotonic time whenever it moves, so that a `FakeWorld` lives on while the
    engine sleeps. A test that would wait for ever fails at ``limit`` fake seconds instead.
    """

    def __init__(self, *, wall: float = 1_800_000_000.0, limit: float = 86_400.0) -> None:
        self.limit = limit
        self._wall = wall
        self._monotonic = 1000.0
        self._end = self._monotonic + limit
        self._listeners: list[Callable[[float], None]] = []

    def now(self) -> float:
        return self._wall

    def monotonic(self) -> float:
        return self._monotonic

    def sleep(self, seconds: float) -> None:
        if seconds < 0:
            raise ValueError(f"sleep length must be non-negative: {seconds}")
        self._monotonic += seconds
        self._wall += seconds
        if self._monotonic > self._end:
            raise AssertionError(f"still waiting after {self.limit:g} fake seconds")
        for listener in self._listeners:
            listener(self._monotonic)

    def jump(self, seconds: float) -> None:
        """Set the wall clock forward or (negative) back, as an operator or NTP does; no time passes."""
        self._wall += seconds

    def on_advance(self, listener: Callable[[float], None]) -> None:
        """Tell this listener the monotonic time each time it has moved."""
        self._listeners.append(listener)
