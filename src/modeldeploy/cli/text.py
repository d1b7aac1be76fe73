"""Values as people read them: durations, tables, gates. Pure, and without colour."""

from __future__ import annotations

import re
import time

from modeldeploy import sizes
from modeldeploy.logline import told

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from typing import Any

# Not compiled here: that takes a millisecond each, and hardly any text needs them.
_ESCAPES = r"\x1b\[[0-?]*[ -/]*[@-~]|\x1b\][^\x07\x1b]*(?:\x07|\x1b\\)?"
_CONTROLS = "[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]"

_UNITS = ("%", "ms", "s", "x", "min", "h", "d")

size = sizes.size
"""Bytes in a unit that is read at a glance."""

GATE_NAMES = {
    "error_rate": "error rate",
    "max_error_increase": "errors above stable's",
    "max_p95_ratio": "p95 / stable's",
    "min_requests": "requests",
}


def clean(text: str) -> str:
    """The text without what a terminal would obey: escape sequences, control characters.

    Log lines and server answers come from programs that we do not know.
    """
    if text.isprintable():
        return text
    return re.sub(_CONTROLS, "", re.sub(_ESCAPES, "", text)).expandtabs()


def short(sentence: str, most: int = 100) -> str:
    """The beginning of a sentence, for a table: ``--json`` has the whole."""
    whole = clean(" ".join(sentence.split()))
    return whole if len(whole) <= most else f"{whole[: most - 3]}..."


def log_line(line: str) -> str:
    """A line of a log for people."""
    return clean(told(line))


def duration(seconds: float) -> str:
    """How long something took: ``0.3 s``, ``58 s``, ``2 min 3 s``, ``1 h 5 min``."""
    if seconds < 9.95:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600} h {whole % 3600 // 60} min"


def age(seconds: float) -> str:
    """How long ago, in one unit: ``12 s``, ``3 min``, ``2 h``, ``5 d``."""
    for unit, length in (("d", 86400), ("h", 3600), ("min", 60)):
        if seconds >= length:
            return f"{int(seconds // length)} {unit}"
    return f"{max(0, int(seconds))} s"


def clock_time(unix: float) -> str:
    """Local time of day, e.g. ``14:03:59``."""
    return time.strftime("%H:%M:%S", time.localtime(unix))


def date_time(unix: float) -> str:
    """Local date and time, e.g. ``2026-11-22 14:03``."""
    return time.strftime("%Y-%m-%d %H:%M", time.localtime(unix))


def table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    """Aligned columns, two spaces apart; numbers (and a sign of none, ``-``) to the right."""
    body = [[clean(cell) for cell in row] for row in rows]
    columns = list(zip(header, *body, strict=True))
    widths = [max(map(len, column)) for column in columns]
    right = [bool(body) and all(_numeric(cell) for cell in column[1:]) for column in columns]
    lines = []
    for row in [list(header), *body]:
        cells = [
            cell.rjust(width) if to_right else cell.ljust(width)
            for cell, width, to_right in zip(row, widths, right, strict=True)
        ]
        lines.append("  ".join(cells).rstrip())
    return lines


def number(value: object, unit: str) -> str:
    """A gate's number with its unit: ``share`` in percent, ``s`` in milliseconds, ``x`` as times."""
    if not isinstance(value, int | float):
        return "-"
    match unit:
        case "share":
            return f"{100 * value:.3g} %"
        case "s":
            return f"{1000 * value:.3g} ms" if value < 0.9995 else f"{value:.3g} s"
        case "x":
            return f"{value:.3g} x"
    return f"{value:,.0f}".replace(",", " ")


def limit(measure: Mapping[str, Any]) -> str:
    """A gate's limit, with the side on which it lies."""
    sign = ">=" if measure.get("gate") == "min_requests" else "<="
    return f"{sign} {number(measure.get('limit'), str(measure.get('unit', '')))}"


def gate_row(measure: Mapping[str, Any]) -> tuple[str, str, str, str, str, str]:
    """One gate as cells: name, candidate's number, stable's, limit, verdict, note."""
    gate, unit = str(measure.get("gate", "")), str(measure.get("unit", ""))
    return (
        GATE_NAMES.get(gate, gate),
        number(measure.get("candidate"), unit),
        number(measure.get("stable"), unit),
        limit(measure),
        str(measure.get("verdict", "")),
        str(measure.get("note", "")),
    )


GATE_HEADER = ("GATE", "CANDIDATE", "STABLE", "LIMIT", "VERDICT", "")


def gates(measures: Iterable[Mapping[str, Any]]) -> list[str]:
    """The gates as a table."""
    return table(GATE_HEADER, [gate_row(measure) for measure in measures])


def gate_sentence(measure: Mapping[str, Any]) -> str:
    """One gate in one phrase: ``p95 12 ms (limit <= 50 ms, stable 11 ms) pass``."""
    name, candidate, stable, bound, verdict, note = gate_row(measure)
    beside = f", stable {stable}" if stable != "-" else ""
    return f"{name} {candidate} (limit {bound}{beside}) {verdict}" + (f": {note}" if note else "")


def shares(weights: Mapping[str, object]) -> str:
    """Traffic in words: ``5 % to 1.1.0-ab12cd34, 95 % to 1.0.0-3f2a9c1b``."""
    routed = [f"{share} % to {name}" for name, share in weights.items() if share]
    return ", ".join(routed) or "to nobody"


def _numeric(cell: str) -> bool:
    number, _, unit = cell.rpartition(" ")
    return not (set(number if unit in _UNITS else cell) - set("0123456789 .,/<>=-"))
