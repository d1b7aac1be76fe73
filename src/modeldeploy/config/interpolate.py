"""``${NAME}`` in the text of a project file: the value of an environment variable.

``${NAME:-default}`` for one that is not set or empty, ``$${`` for the characters themselves. Only in values,
never in keys, and what a variable holds is not looked through again.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from modeldeploy.config.positions import KeyPath

_REFERENCE = re.compile(r"\$\$\{|\$\{(?P<name>[A-Za-z_][A-Za-z0-9_]*)(?P<default>:-[^}]*)?\}|\$\{")


@dataclass(frozen=True, slots=True)
class Fault:
    """A place where a variable was meant and none could be put in."""

    key: KeyPath
    reason: str
    unset: str | None = None
    """The variable to set."""


@dataclass(slots=True)
class Expanded:
    """What came of it."""

    faults: list[Fault] = field(default_factory=list)
    filled: set[KeyPath] = field(default_factory=set)
    """Where something of the environment stands now. It may be a secret, so no message shows it."""

    def expand(self, value: Any, at: KeyPath = ()) -> Any:
        """The same value with its variables filled in; ``at`` is its key."""
        if isinstance(value, dict):
            return {name: self.expand(item, (*at, name)) for name, item in value.items()}
        if isinstance(value, list):
            return [self.expand(item, (*at, index)) for index, item in enumerate(value)]
        return self._text(value, at) if isinstance(value, str) and "${" in value else value

    def _text(self, text: str, at: KeyPath) -> str:
        def fill(found: re.Match[str]) -> str:
            name, default = found["name"], found["default"]
            if name is None:
                return "${" if found.group() == "$${" else self._fail(at)
            value = os.environ.get(name, "")
            self.filled.add(at)
            if value or default is not None:
                return value or default[2:]
            return value if name in os.environ else self._fail(at, name)

        return _REFERENCE.sub(fill, text)

    def _fail(self, at: KeyPath, unset: str | None = None) -> str:
        reason = f"the environment variable {unset} is not set" if unset else "'${' begins no variable"
        self.faults.append(Fault(at, reason, unset))
        return ""


def hint(faults: list[Fault]) -> str:
    """What to type so that all of them go away."""
    unset = sorted({fault.unset for fault in faults if fault.unset})
    if unset:
        return "export " + " ".join(f"{name}=..." for name in unset)
    return "write ${NAME} for a variable, and $${ for the characters themselves"


def picked(values: Mapping[str, Any], *paths: tuple[str, ...]) -> dict[str, Any]:
    """Only what stands at these paths, so that nothing else needs its variables."""
    chosen: dict[str, Any] = {}
    for path in paths:
        found: Any = values
        for name in path:
            found = found.get(name) if isinstance(found, dict) else None
        if found is None:
            continue
        into = chosen
        for name in path[:-1]:
            into = into.setdefault(name, {})
        into[path[-1]] = found
    return chosen
