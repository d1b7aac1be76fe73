"""The outline of every environment: keys that are known. Values are checked of the chosen one only.

So a typo in ``[env.production]`` is found on the day it is made, and not by the first deployment; and yet
nobody needs production's variables to work on staging.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from modeldeploy.config import describe, problems, source
from modeldeploy.config.names import PROCESS
from modeldeploy.config.overlay import NOT_OVERLAID, TABLE, Overlaid
from modeldeploy.config.positions import KeyPath
from modeldeploy.config.problems import Problem
from modeldeploy.config.schema import form_of

_WHY = "the project has one name and one version in all environments, and environments do not nest"


def check(overlaid: Overlaid) -> list[Problem]:
    """Unknown keys in the environments of the project file, and tables that cannot be overlaid."""
    found: list[Problem] = []
    tables = overlaid.values.get(TABLE)
    for name, table in tables.items() if isinstance(tables, dict) else ():
        if isinstance(table, dict):
            found += _refused(table, (TABLE, name))
            # The chosen one's keys are checked with the values that they were laid over.
            found += [] if name == overlaid.env else _unknown(table, (), (TABLE, name), overlaid.values)
    for layer in overlaid.layers[1:]:
        if layer.source != overlaid.source:
            found += _refused(source.parse(layer.source), ())
    return found


def _refused(table: Mapping[str, Any], prefix: KeyPath) -> Iterator[Problem]:
    for name in NOT_OVERLAID:
        if name in table:
            yield Problem((*prefix, name), f"no table for an environment: {_WHY}")


def _unknown(
    table: Mapping[str, Any], at: KeyPath, prefix: KeyPath, base: Mapping[str, Any]
) -> Iterator[Problem]:
    form = _form(at, table, base)
    node = describe.at(at, form=form)
    for name, value in table.items():
        below = (*at, name)
        if at == () and name in NOT_OVERLAID:
            continue
        known = name in node.get("properties", {}) or node.get("additionalProperties") not in (None, False)
        if not known and "properties" in node:
            yield problems.unknown_key(below, form, prefix)
        elif isinstance(value, dict):
            yield from _unknown(value, below, prefix, base)


def _form(at: KeyPath, table: Mapping[str, Any], base: Mapping[str, Any]) -> str:
    """Which form a target has, by the driver that stands here or in the project's own table."""
    if at[:1] != ("targets",) or len(at) < 2:
        return PROCESS
    targets = base.get("targets")
    own = targets.get(at[1], {}) if isinstance(targets, dict) else {}
    here = table if len(at) == 2 else {}
    return form_of({**(own if isinstance(own, dict) else {}), **here})
