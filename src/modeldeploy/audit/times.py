"""Points in time as people write them: ``2026-11-22 14:00``, ``2h ago``, ``2026-11-22T13:00:00Z``."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta

from modeldeploy.errors import ConfigError

RULE = "ISO 8601 (2026-11-22T13:00:00Z), '2026-11-22 14:00' in this machine's zone, '2h ago', or 'now'"
_AGO = re.compile(r"(?:(\d{1,4})d)?(?:(\d{1,5})h)?(?:(\d{1,6})(?:m|min))?(?:(\d{1,8})s)?")


def parse(text: str, now: float) -> float:
    """Unix seconds. A time without a zone is in the local one. Raises `ConfigError`."""
    words = text.strip()
    if words.lower() == "now":
        return now
    if words.lower().endswith("ago"):
        return now - _length(text, words[:-3])
    try:
        found = datetime.fromisoformat(words)
        if found.tzinfo is None:
            found = found.astimezone()  # by the zone's rules on that day, not by today's
        return found.timestamp()
    except (ValueError, OverflowError, OSError):
        raise _not_a_time(text) from None


def show(at: float) -> str:
    """A time with its zone said: UTC, and the local one where that is another."""
    utc = datetime.fromtimestamp(at, UTC)
    local = utc.astimezone()
    told = f"{utc:%Y-%m-%d %H:%M:%S} UTC"
    return told if not local.utcoffset() else f"{local:%Y-%m-%d %H:%M:%S %z} ({told})"


def _length(text: str, words: str) -> float:
    found = _AGO.fullmatch("".join(words.split()))
    if not found or not any(found.groups()):
        raise _not_a_time(text)
    days, hours, minutes, seconds = (int(part or 0) for part in found.groups())
    return timedelta(days=days, hours=hours, minutes=minutes, seconds=seconds).total_seconds()


def _not_a_time(text: str) -> ConfigError:
    return ConfigError(f"{text[:60]!r} is no time; expected {RULE}", hint="mdeploy at '2h ago'")
