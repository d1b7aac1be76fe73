"""The events of work that makes something: each step told when it begins and when it is done."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager

from modeldeploy.events import Emit, Event


def step(emit: Emit, name: str, message: str, **facts: object) -> AbstractContextManager[dict[str, object]]:
    """Tell that a step towards a bundle begins, and that it is done, with its seconds, unless it raises.

    Yields the facts of the second event, to add to; ``message`` there replaces the sentence.
    """
    return _telling("build.step", emit, name, message, facts)


def image_step(
    emit: Emit, name: str, message: str, **facts: object
) -> AbstractContextManager[dict[str, object]]:
    """The same of a step from a bundle to its image."""
    return _telling("image.step", emit, name, message, facts)


@contextmanager
def _telling(
    kind: str, emit: Emit, name: str, message: str, facts: dict[str, object]
) -> Iterator[dict[str, object]]:
    began = time.monotonic()
    emit(Event(kind, time.time(), message, {"step": name, "state": "started", **facts}))
    told: dict[str, object] = dict(facts)
    yield told
    seconds = round(time.monotonic() - began, 3)
    said = str(told.pop("message", message))
    data = {"step": name, "state": "done", "seconds": seconds, **told}
    emit(Event(kind, time.time(), f"{said} ({seconds:.1f} s)", data))


def warn(emit: Emit, message: str, **facts: object) -> None:
    """Tell of something that does not stop the build but that the user should know."""
    emit(Event("build.warning", time.time(), message, facts))
