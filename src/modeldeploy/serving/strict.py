"""Reading JSON that must be just so: what is missing, unknown, of another type or out of range is told.

``where`` is how messages name the object that a value stands in.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping
from typing import Any


class SpecError(ValueError):
    """``mdeploy_service.json`` is not what `spec` describes, or not what the models are."""


def record(
    value: object, where: str, *, required: Collection[str] = (), optional: Collection[str] = ()
) -> Mapping[str, Any]:
    """A JSON object with these keys and no others."""
    if not isinstance(value, dict):
        raise SpecError(f"{where}: expected an object, got {_shown(value)}")
    missing = [key for key in required if key not in value]
    unknown = sorted(set(value) - {*required, *optional})
    if missing or unknown:
        raise SpecError(f"{where}: missing keys: {missing}; unknown keys: {unknown}")
    return value


def text(fields: Mapping[str, Any], key: str, where: str, *, default: str | None = None) -> str:
    """Text that is not empty, unless that is the default."""
    value = fields.get(key, default)
    if not isinstance(value, str) or not (value or value == default):
        raise SpecError(f"{where}: {key}: expected text, got {_shown(value)}")
    return value


def choice(
    fields: Mapping[str, Any], key: str, where: str, known: Collection[str], *, default: str | None = None
) -> str:
    """One of some words."""
    value = fields.get(key, default)
    if not isinstance(value, str) or value not in known:
        raise SpecError(f"{where}: {key}: expected one of {', '.join(known)}, got {_shown(value)}")
    return value


def whole(fields: Mapping[str, Any], key: str, where: str, *, default: int, low: int, high: int) -> int:
    """A whole number in a range, both ends allowed."""
    value = fields.get(key, default)
    if type(value) is not int or not low <= value <= high:
        raise SpecError(f"{where}: {key}: expected a whole number from {low} to {high}, got {_shown(value)}")
    return value


def number(fields: Mapping[str, Any], key: str, where: str, *, default: float, high: float) -> float:
    """A number above 0."""
    value = fields.get(key, default)
    if type(value) not in (int, float) or not math.isfinite(value) or not 0 < value <= high:
        raise SpecError(f"{where}: {key}: expected a number above 0, at most {high:g}, got {_shown(value)}")
    return float(value)


def texts(
    fields: Mapping[str, Any],
    key: str,
    where: str,
    *,
    default: tuple[str, ...] | None = None,
    known: Collection[str] = (),
    least: int = 0,
) -> tuple[str, ...]:
    """A list of texts, none twice, each one of those that are known if any are."""
    value = fields.get(key, default if default is None else list(default))
    if not isinstance(value, list) or not all(isinstance(item, str) and item for item in value):
        raise SpecError(f"{where}: {key}: expected a list of texts, got {_shown(value)}")
    odd = [item for item in value if known and item not in known]
    if odd:
        raise SpecError(f"{where}: {key}: expected {', '.join(known)}, got {_shown(odd[0])}")
    if len(set(value)) < len(value) or len(value) < least:
        raise SpecError(f"{where}: {key}: expected at least {least}, none of them twice, got {_shown(value)}")
    return tuple(value)


def _shown(value: object) -> str:
    return f"{value!r:.80}"
