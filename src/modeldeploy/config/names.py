"""The words of the project file that hold wherever it is read: its name, its names' forms, common keys.

Strings only, so that the quick commands can use them without loading the schema.
"""

from __future__ import annotations

import re

PROJECT_FILE = "modeldeploy.toml"
PROCESS = "process"
"""The driver that is built in; all others come as entry points."""
DRIVERS_GROUP = "modeldeploy.targets"
COMMON_KEYS = frozenset({"driver", "replicas", "env", "rollout"})
"""Keys that every target has. The others of a target's table belong to its driver."""

NAME = r"^[a-z]([a-z0-9-]{0,61}[a-z0-9])?$"
NAME_RULE = "at most 63 lowercase letters, digits and dashes, beginning with a letter, not ending with a dash"
VERSION = r"^[0-9A-Za-z]([0-9A-Za-z.+-]{0,62}[0-9A-Za-z])?$"
VERSION_RULE = "at most 64 letters, digits, dots, dashes and pluses, with a letter or digit at both ends"
VARIABLE = r"^[A-Za-z_][A-Za-z0-9_]*$"
VARIABLE_RULE = "a variable's name of letters, digits and underscores, not beginning with a digit"
DURATION = r"^(?=.)([0-9]+(\.[0-9]+)?h)?([0-9]+(\.[0-9]+)?m)?([0-9]+(\.[0-9]+)?s)?([0-9]+(\.[0-9]+)?ms)?$"
DURATION_RULE = 'a duration such as "50ms", "10s", "2m" or "1h30m"'
ENTRYPOINT = r"^[A-Za-z_][A-Za-z0-9_]*(\.[A-Za-z_][A-Za-z0-9_]*)*:[A-Za-z_][A-Za-z0-9_]*$"
ENTRYPOINT_RULE = "a module and a BentoML service in it"
HOOK_RULE = "a module and a function in it"
CLASS_RULE = "a module and a class in it"
SIZE = r"^[0-9]+(\.[0-9]+)?(B|kB|KB|MB|GB|KiB|MiB|GiB)$"
SIZE_RULE = 'a size such as "500kB", "64MB" or "1GiB"'
PYTHON = r"^3\.(1[1-9]|[2-9][0-9])$"
PYTHON_RULE = "a Python version from 3.11 on, without its third part"


def matches(pattern: str, text: str) -> bool:
    """True if the whole text has this form; a newline at the end is not let pass."""
    return re.fullmatch(pattern, text) is not None


def closest(word: str, known: list[str] | tuple[str, ...], *, cutoff: float = 0.6) -> str | None:
    """The known word that this one was most likely meant to be, or None."""
    import difflib

    by_lower = {name.lower().replace("-", "_"): name for name in known}
    found = difflib.get_close_matches(word[:100].lower().replace("-", "_"), by_lower, n=1, cutoff=cutoff)
    return by_lower[found[0]] if found else None
