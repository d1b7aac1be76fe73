"""Lengths of time as people write them: ``"50ms"``, ``"10s"``, ``"2m"``, ``"1h30m"``."""

from __future__ import annotations

import re

from modeldeploy.config.names import DURATION, matches

_PART = re.compile(r"([0-9]+(?:\.[0-9]+)?)(ms|h|m|s)")
_SECONDS = {"h": 3600.0, "m": 60.0, "s": 1.0, "ms": 0.001}
_LONGEST_TEXT = 40
LONGEST = 7 * 24 * 3600.0
"""Seconds; longer than this is a slip of the pen."""


def parse(text: str) -> float:
    """Seconds, more than 0 and at most a week. Raises ValueError that says what is wrong with it.

    >>> parse("1m30s")
    90.0
    """
    if len(text) > _LONGEST_TEXT or not matches(DURATION, text):
        raise ValueError("not a duration")
    # Milliseconds are divided, not multiplied by 0.001: 50 / 1000 is the float that 0.05 means.
    seconds = sum(_seconds(float(number), unit) for number, unit in _PART.findall(text))
    if not 0 < seconds <= LONGEST:
        raise ValueError("a duration must be more than 0 and at most 168h")
    return seconds


def _seconds(number: float, unit: str) -> float:
    return number / 1000 if unit == "ms" else number * _SECONDS[unit]


def show(seconds: float) -> str:
    """The shortest way to write it; `parse` reads it back.

    >>> show(120.0), show(0.05), show(1.5)
    ('2m', '50ms', '1.5s')
    """
    if seconds < 1:
        return f"{seconds * 1000:.10g}ms"
    for unit in ("h", "m"):
        whole = seconds / _SECONDS[unit]
        if whole >= 1 and whole == int(whole):
            return f"{int(whole)}{unit}"
    return f"{seconds:.10g}s"
