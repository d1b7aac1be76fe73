"""The events of an image in the making: each step told when it begins and when it is done."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

from modeldeploy.events import Emit, Event


@contextmanager
def step(emit: Emit, name: str, message: str, **facts: object) -> Iterator[dict[str, object]]:
    """Tell that a step begins, and that it is done unless it raises.

    Yields the facts of the second event, to add to; ``message`` there replaces the sentence.
    """
    began = time.monotonic()
    emit(Event("image.step", time.time(), message, {"step": name, "state": "started", **facts}))
    told: dict[str, object] = dict(facts)
    yield told
    seconds = round(time.monotonic() - began, 3)
    said = str(told.pop("message", message))
    data = {"step": name, "state": "done", "seconds": seconds, **told}
    emit(Event("image.step", time.time(), f"{said} ({seconds:.1f} s)", data))
