"""What can be read of a project file whose syntax is broken in another table than the one that matters."""

from __future__ import annotations

import re
from typing import Any

from modeldeploy.config import source
from modeldeploy.config.names import COMMON_KEYS
from modeldeploy.config.source import Source
from modeldeploy.errors import ConfigError

_HEADER = re.compile(r"^[ \t]*\[", re.MULTILINE)
_HEADER_NAMES = re.compile(r"[ \t]*\[[ \t]*([\w-]+)(?:[ \t]*\.[ \t]*([\w-]+)(?:[ \t]*\.[ \t]*([\w-]+))?)?")

_ELSEWHERE = frozenset(
    {"model", "models", "service", "build", "metadata", "image", "signing", "scan", "policy"}
)
"""Tables that say nothing about where a target or the registry is."""


def salvage(file: Source, wanted: str | None, env: str | None = None) -> dict[str, Any] | None:
    """Puts together the tables that can be read by themselves.

    None if one that may hold what is wanted (a target's address, in this environment) cannot, or if a key
    occurs twice.
    """
    starts = [0, *(match.start() for match in _HEADER.finditer(file.text))]
    values: dict[str, Any] = {}
    for start, end in zip(starts, [*starts[1:], len(file.text)], strict=True):
        part = Source(file.path, file.text[start:end])
        try:
            parsed = source.parse(part)
        except ConfigError:
            if _may_hold_address(part.text, wanted, env):
                return None
            continue
        if not _merged(values, parsed):
            return None
    return values


def _merged(into: dict[str, Any], values: dict[str, Any]) -> bool:
    """Adds the values; False if that would give a key a second value."""
    for key, value in values.items():
        if key not in into:
            into[key] = value
        elif not (isinstance(into[key], dict) and isinstance(value, dict) and _merged(into[key], value)):
            return False
    return True


def _may_hold_address(part: str, target: str | None, env: str | None) -> bool:
    """False for a broken table that says nothing about where this target is."""
    header = _HEADER_NAMES.match(part)
    if header is None:
        return True
    table, name, key = header.groups()
    if table == "targets" and name:
        return key not in COMMON_KEYS and target in (None, name)
    if table == "env" and name:
        return name == env
    return table not in _ELSEWHERE
