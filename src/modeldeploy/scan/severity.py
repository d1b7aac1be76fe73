"""How bad an advisory says a vulnerability is.

Source: https://www.first.org/cvss/v3.1/specification-document, section 7.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

LEVELS = ("low", "medium", "high", "critical")
_IMPACT = {"H": 0.56, "L": 0.22, "N": 0.0}
_VECTOR = {"N": 0.85, "A": 0.62, "L": 0.55, "P": 0.2}
_COMPLEXITY = {"L": 0.77, "H": 0.44}
_PRIVILEGES = {"N": 0.85, "L": 0.62, "H": 0.27}
_PRIVILEGES_CHANGED = {"N": 0.85, "L": 0.68, "H": 0.5}
_INTERACTION = {"N": 0.85, "R": 0.62}
_FROM = ((9.0, "critical"), (7.0, "high"), (4.0, "medium"), (0.1, "low"))


def of(advisory: Mapping[str, Any]) -> str:
    """One of `LEVELS`: what the database says, or else what its CVSS 3 vector comes to; or ``unknown``."""
    told = advisory.get("database_specific")
    word = str(told.get("severity", "")).lower() if isinstance(told, dict) else ""
    word = "medium" if word == "moderate" else word
    if word in LEVELS:
        return word
    listed = advisory.get("severity")
    for entry in listed if isinstance(listed, list) else ():
        if isinstance(entry, dict) and str(entry.get("score", "")).startswith("CVSS:3"):
            score = base_score(str(entry["score"]))
            return next((level for least, level in _FROM if score is not None and score >= least), "unknown")
    return "unknown"


def base_score(vector: str) -> float | None:
    """The base score of a CVSS 3 vector, from 0 to 10; None for what is no such vector."""
    metrics = dict(part.partition(":")[::2] for part in vector.split("/")[1:])
    try:
        changed = metrics["S"] == "C"
        privileges = (_PRIVILEGES_CHANGED if changed else _PRIVILEGES)[metrics["PR"]]
        lost = 1 - math.prod(1 - _IMPACT[metrics[name]] for name in ("C", "I", "A"))
        ease = 8.22 * _VECTOR[metrics["AV"]] * _COMPLEXITY[metrics["AC"]] * privileges
        ease *= _INTERACTION[metrics["UI"]]
    except KeyError:
        return None
    impact = 7.52 * (lost - 0.029) - 3.25 * (lost - 0.02) ** 15 if changed else 6.42 * lost
    if impact <= 0:
        return 0.0
    return _rounded_up(min((1.08 if changed else 1.0) * (impact + ease), 10))


def _rounded_up(score: float) -> float:
    whole = round(score * 100_000)
    return whole / 100_000 if whole % 10_000 == 0 else (whole // 10_000 + 1) / 10
