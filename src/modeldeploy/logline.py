"""A line of a service's log, in words: mdeploy's workers write JSON, and people read sentences."""

from __future__ import annotations

import json


def told(line: str) -> str:
    """Level, message and how a traceback ends, of a structured line; any other line as it is."""
    try:
        record = json.loads(line)
        first, *rest = str(record["message"]).strip().splitlines() or [""]
        level = str(record["level"])
    except (ValueError, TypeError, KeyError):
        return line
    trace = [*rest, *str(record.get("traceback") or "").strip().splitlines()]
    trace = [part for part in trace if part.strip()]
    if not trace:
        return f"{level:<7} {first}"
    at = next((part.strip() for part in reversed(trace) if part.lstrip().startswith("File ")), "")
    begins = f"{first.rstrip(':')}: " if "Traceback" not in first else ""
    return f"{level:<7} {begins}{trace[-1].strip()}{f' ({at})' if at else ''}"
