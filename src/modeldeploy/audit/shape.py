"""What an entry's data looks like. Whoever may write to the registry may write anything into an entry.

An entry cannot be taken back, so one of another shape must keep nobody from reading the log for ever: what
cannot be what it should be counts as not said. The line itself stays as it is, and so does its digest.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

LATEST = 32_503_680_000.0
"""Unix seconds of the year 3000: what a clock says beyond it can be shown by no calendar."""
_LARGEST = 1e15

Fits = Callable[[object], bool]


def sound(data: Mapping[str, Any]) -> dict[str, Any]:
    """The parts of an entry's data that have the shape that mdeploy writes; what it does not know stays."""
    return {key: value for key, value in data.items() if key not in _SHAPES or _SHAPES[key](value)}


def time_of(value: object) -> float:
    """Unix seconds of an entry. Raises ValueError for what is no number."""
    if type(value) not in (int, float):
        raise ValueError("no entry: 'at' is no time")
    return float(min(max(value, 0), LATEST))  # type: ignore[call-overload]  # a number, see above


def _text(value: object) -> bool:
    return isinstance(value, str)


def _number(value: object) -> bool:
    return type(value) in (int, float) and abs(value) < _LARGEST  # type: ignore[arg-type]  # a number


def _flag(value: object) -> bool:
    return value is None or isinstance(value, bool)


def _maybe(fits: Fits) -> Fits:
    return lambda value: value is None or fits(value)


def _list(fits: Fits) -> Fits:
    return lambda value: isinstance(value, list) and all(fits(each) for each in value)


def _map(fits: Fits) -> Fits:
    return lambda value: isinstance(value, dict) and all(fits(each) for each in value.values())


def _table(**known: Fits) -> Fits:
    """An object whose keys of these names fit; others may be there, too."""
    return lambda value: (
        isinstance(value, dict) and all(fits(value[key]) for key, fits in known.items() if key in value)
    )


_MOVE = _table(at=_number, weights=_map(_number), stable=_maybe(_text))
_MEASURE = _map(lambda value: value is None or isinstance(value, str | bool) or _number(value))
_SHAPES: Mapping[str, Fits] = {
    **dict.fromkeys(
        ("action", "strategy", "candidate", "stable", "outcome", "reason", "error"), _maybe(_text)
    ),
    **dict.fromkeys(("for", "note", "told", "alias", "key"), _maybe(_text)),
    **dict.fromkeys(("began", "seconds"), _number),
    **dict.fromkeys(("passed", "revoked"), _flag),
    "before": _maybe(_MOVE),
    "traffic": _list(_MOVE),
    "judgements": _list(
        _table(at=_number, weight=_number, verdict=_maybe(_text), measures=_maybe(_list(_MEASURE)))
    ),
    "checks": _list(_table(check=_text, message=_text, passed=_flag)),
    "golden": _maybe(_table(total=_number, failed=_number)),
    "source": _maybe(_table(target=_text, digest=_text)),
    "build": _maybe(_table(commit=_maybe(_text), dirty=_flag, built=_maybe(_text))),
    "bundles": _map(_table(name=_text, version=_text, digest=_text)),
    "policy": _list(_map(_text)),
    "run": _map(_text),
}
