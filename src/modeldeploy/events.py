"""What happens, told once: the live view, the JSON lines and the audit file all read these."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Event:
    """One thing that happened.

    ``kind`` is a dotted name from a closed list (docs/reference/events.md), ``message`` a sentence
    for people, ``data`` JSON values for programs. No event holds a secret.
    """

    kind: str
    at: float
    """Unix seconds."""
    message: str
    data: Mapping[str, object] = field(default_factory=dict)


Emit = Callable[[Event], None]
"""Takes an event and returns at once. It must not raise."""
