"""Events of a measurement: one when a part of it begins, some while it runs, one when it is done."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from modeldeploy.events import Emit, Event

Running = Callable[[str], None]
"""Tells a sentence on how far the work is."""


@contextmanager
def step(emit: Emit, name: str, message: str) -> Iterator[Running]:
    """Tell that a part begins, and that it is done unless it raises. Yields what tells in between."""

    def note(state: str, said: str, **facts: object) -> None:
        emit(Event("measure.step", time.time(), said, {"step": name, "state": state, **facts}))

    began = time.monotonic()
    last = [message]

    def running(said: str) -> None:
        last[0] = said
        note("running", said)

    note("started", message)
    yield running
    note("done", last[0], seconds=round(time.monotonic() - began, 3))
