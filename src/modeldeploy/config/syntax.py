"""Bad syntax in words, with the line it is in: loaded only once there is some.

A line of the file is shown only where it cannot hold the value of an environment variable: those may be
secrets, and a forgotten quote is no reason to print one.
"""

from __future__ import annotations

import re
import tomllib

from modeldeploy.config.source import MOST_PARTS, Source
from modeldeploy.errors import ConfigError

_STRINGS_AND_COMMENTS = re.compile(
    r'"""(?:[^"\\]|\\.|"(?!""))*+"""'
    r"|'''(?:[^']|'(?!''))*+'''"
    r'|"(?:[^"\\\n]|\\[^\n])*+"'
    r"|'[^'\n]*+'"
    r"|#[^\n]*+",
    re.DOTALL,
)
_TOO_MANY_PARTS = re.compile(rf"(?<![\w-])[\w-]++(?:[ \t]*+\.[ \t]*+[\w-]++){{{MOST_PARTS}}}")
_PLACE = re.compile(r" \(at (?:line (\d+), column (\d+)|end of document)\)$")
_HEADER = re.compile(r"\s*\[[\w\s.\"'\[\]-]*(?:#.*)?")
_KEY = re.compile(r"\s*([\w-]+)\s*=")
_ENV = re.compile(r"\benv\b")
_LONGEST_SHOWN = 200
# Keys whose values are no secrets, so that a line that begins with one may be shown.
_HARMLESS = frozenset(
    [
        "name",
        "version",
        "path",
        "framework",
        "golden",
        "tolerance",
        "entrypoint",
        "python",
        "include",
        "exclude",
        "driver",
        "host",
        "port",
        "envoy",
        "replicas",
        "strategy",
        "steps",
        "soak",
        "keep",
        "ready_timeout",
        "drain_timeout",
        "on_interrupt",
        "error_rate",
        "p50",
        "p95",
        "p99",
        "max_error_increase",
        "max_p95_ratio",
        "min_requests",
        "patience",
    ]
)


def has_overlong_key(text: str) -> bool:
    """True if a dotted key has more parts than `tomllib` should be given."""
    return _TOO_MANY_PARTS.search(_STRINGS_AND_COMMENTS.sub("s", text)) is not None


def explain(source: Source, error: ValueError) -> ConfigError:
    """What `tomllib` said, with the line it means and a mark under the column."""
    lines = source.text.split("\n")
    reason, line, column = _understood(error, len(source.text.rstrip("\n").split("\n")))
    excerpt = presentable(lines, line)
    if excerpt and 0 < column <= len(excerpt) + 1:
        excerpt += f"\n    {' ' * (column - 1)}^"
    where = f"{source.shown}:{line}" + (f":{column}" if column else "")
    message = f"not valid TOML: {reason}"
    problem = {
        "file": source.shown,
        "line": line,
        "column": column,
        "key": "",
        "message": message,
        "expected": "TOML 1.0",
        "nearest": None,
    }
    shown = f"\n    {excerpt}" if excerpt else ""
    hint = "text needs quotes" if reason == "Invalid value" else None
    return ConfigError(f"{where}: {message}{shown}", hint=hint, details={"problems": [problem]})


def _understood(error: ValueError, last_line: int) -> tuple[str, int, int]:
    """Reason, line and column; column 0 where it is not known."""
    if not isinstance(error, tomllib.TOMLDecodeError):
        return "a number has too many digits", 1, 0
    found = _PLACE.search(str(error))
    reason = _PLACE.sub("", str(error))
    return (reason, int(found[1]), int(found[2])) if found and found[1] else (reason, last_line, 0)


def presentable(lines: list[str], line: int) -> str:
    """That line of the file (counted from 1) if it cannot hold a secret; else its key, or nothing."""
    text = lines[line - 1].rstrip() if line <= len(lines) else ""
    before = lines[: line - 1]
    if len(text) > _LONGEST_SHOWN or not text.isprintable() or _inside_long_string(before):
        return ""
    if _HEADER.fullmatch(text):
        return text
    key = _KEY.match(text)
    if key is None:
        return ""
    harmless = key[1] in _HARMLESS and not any(_ENV.search(near) for near in (*_table(before), text))
    return text if harmless else f"{key[0]} ***"


def _table(lines: list[str]) -> list[str]:
    """The last table header among these lines and what follows it."""
    for index in range(len(lines) - 1, -1, -1):
        if _HEADER.fullmatch(lines[index]):
            return lines[index:]
    return lines


def _inside_long_string(lines: list[str]) -> bool:
    """True if these lines may end inside a string of several lines, whose lines look like anything."""
    return any(quotes in text for text in lines for quotes in ('"""', "'''"))
