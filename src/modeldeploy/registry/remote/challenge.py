"""What a registry wants to see before it answers: the header ``WWW-Authenticate``, read.

Source: RFC 9110, section 11.6.1; https://distribution.github.io/distribution/spec/auth/token/
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field

_LONGEST = 16 * 1024
_WORD = r"[!#$%&'*+.^_`|~0-9A-Za-z-]+"
_PARAMETER = re.compile(rf'\s*({_WORD})\s*=\s*(?:"((?:[^"\\]|\\.)*)"|({_WORD}))\s*(?:,|$)')
_SCHEME = re.compile(rf"\s*,*\s*({_WORD})(?:\s+|\s*$|\s*,)")


@dataclass(frozen=True, slots=True)
class Challenge:
    """One way to log in that the registry offers."""

    scheme: str
    """``basic``, ``bearer`` or another, in lower case."""
    parameters: Mapping[str, str] = field(default_factory=dict)


def challenges(header: str) -> tuple[Challenge, ...]:
    """All ways that a header offers, in its order; what cannot be understood is left out."""
    header, found, at = header[:_LONGEST], list[Challenge](), 0
    while scheme := _SCHEME.match(header, at):
        at = scheme.end()
        parameters: dict[str, str] = {}
        while parameter := _PARAMETER.match(header, at):
            name, quoted, plain = parameter.groups()
            parameters[name.lower()] = re.sub(r"\\(.)", r"\1", quoted) if quoted is not None else plain
            at = parameter.end()
        found.append(Challenge(scheme[1].lower(), parameters))
    return tuple(found)
