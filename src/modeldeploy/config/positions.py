"""Where each key of a TOML text stands: the line numbers that error messages point at.

The text must be valid TOML (`tomllib` has read it), so this only has to find its way, not to judge.
A path is the keys from the top, with numbers for the elements of arrays: ``("build", "include", 0)``.
"""

from __future__ import annotations

import re
import tomllib
from bisect import bisect_right
from collections.abc import Mapping
from dataclasses import dataclass, field

KeyPath = tuple[str | int, ...]

_DEEPEST = 8
"""Longest path that is noted. Nothing in a project file is deeper; a hostile one could fill the memory."""

_BLANK = re.compile(r"(?:[ \t\r\n]|#[^\n]*)*")
_SPACE = re.compile(r"[ \t]*")
_BARE_KEY = re.compile(r"[A-Za-z0-9_-]+")
_BARE_VALUE = re.compile(r"[^,\]}#\n]*")
_BASIC = re.compile(r'"((?:[^"\\\n]|\\.)*)"')
_LITERAL = re.compile(r"'([^'\n]*)'")
# One or two quotes may stand right before the closing three.
_LONG_BASIC = re.compile(r'"""(?:[^"\\]|\\.|"(?!""))*""""{0,2}', re.DOTALL)
_LONG_LITERAL = re.compile(r"'''(?:[^']|'(?!''))*''''{0,2}")


@dataclass(frozen=True)
class Positions:
    """The lines of all keys, counted from 1."""

    lines: Mapping[KeyPath, int] = field(default_factory=dict)

    def line(self, path: KeyPath) -> int:
        """The line of this key; of the innermost table that is there, for one that is missing."""
        for length in range(len(path), 0, -1):
            if path[:length] in self.lines:
                return self.lines[path[:length]]
        return 1


def locate(text: str) -> Positions:
    """The positions of all keys and array elements in a valid TOML text whose lines end in LF."""
    return _Scanner(text).document()


class _Scanner:
    """Reads on from ``at``; each method leaves ``at`` behind what it has read."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.at = 0
        self.lines: dict[KeyPath, int] = {}
        self.elements: dict[KeyPath, int] = {}
        """How many elements each array of tables has so far."""
        self.ends = [match.start() for match in re.finditer("\n", text)]

    def document(self) -> Positions:
        table: KeyPath = ()
        while self.skip(_BLANK).at < len(self.text):
            if self.text[self.at] == "[":
                table = self.header()
            else:
                self.pair(table)
        return Positions(self.lines)

    def header(self) -> KeyPath:
        array = self.text.startswith("[[", self.at)
        self.at += 2 if array else 1
        keys = self.keys()
        self.skip(_SPACE).at += 2 if array else 1
        table = self.descend((), keys[:-1])
        if array:
            self.mark((*table, keys[-1]), first=True)
            table = (*table, keys[-1], self.count(table, keys[-1]))
            self.mark(table)
            return table
        table = self.descend(table, keys[-1:])
        # A header says more about where a table is than the sub-table that implied it before.
        self.mark(table)
        return table

    def mark(self, path: KeyPath, *, first: bool = False) -> None:
        """Notes that this path stands on this line; ``first``: unless it stood on one before."""
        if len(path) <= _DEEPEST and not (first and path in self.lines):
            self.lines[path] = bisect_right(self.ends, self.at - 1) + 1

    def count(self, table: KeyPath, key: str) -> int:
        path = (*table, key)
        self.elements[path] = self.elements.get(path, 0) + 1
        return self.elements[path] - 1

    def descend(self, table: KeyPath, keys: list[str]) -> KeyPath:
        """The table that dotted keys lead to; in an array of tables that is its last element."""
        for key in keys:
            table = (*table, key)
            self.mark(table, first=True)
            if table in self.elements:
                table = (*table, self.elements[table] - 1)
        return table

    def pair(self, table: KeyPath) -> None:
        keys = self.keys()
        path = (*self.descend(table, keys[:-1]), keys[-1])
        self.mark(path)
        self.skip(_SPACE).at += 1  # the equals sign
        self.skip(_SPACE).value(path)

    def value(self, path: KeyPath) -> None:
        start = self.text[self.at]
        if start == "[":
            self.array(path)
        elif start == "{":
            self.inline_table(path)
        elif start in "\"'":
            self.string()
        else:
            self.skip(_BARE_VALUE)

    def array(self, path: KeyPath) -> None:
        self.at += 1
        index = 0
        while self.skip(_BLANK).peek() != "]":
            self.mark((*path, index))
            self.value((*path, index))
            self.skip(_BLANK).skip_comma()
            index += 1
        self.at += 1

    def inline_table(self, path: KeyPath) -> None:
        self.at += 1
        while self.skip(_BLANK).peek() != "}":
            self.pair(path)
            self.skip(_BLANK).skip_comma()
        self.at += 1

    def keys(self) -> list[str]:
        keys = [self.skip(_SPACE).key()]
        while self.skip(_SPACE).peek() == ".":
            self.at += 1
            keys.append(self.skip(_SPACE).key())
        return keys

    def key(self) -> str:
        if self.peek() == '"':
            return str(tomllib.loads(f"key = {self.take(_BASIC)}")["key"])
        if self.peek() == "'":
            return self.take(_LITERAL)[1:-1]
        return self.take(_BARE_KEY)

    def string(self) -> None:
        if self.text.startswith('"""', self.at):
            self.take(_LONG_BASIC)
        elif self.text.startswith("'''", self.at):
            self.take(_LONG_LITERAL)
        else:
            self.take(_BASIC if self.peek() == '"' else _LITERAL)

    def take(self, pattern: re.Pattern[str]) -> str:
        found = pattern.match(self.text, self.at)
        if found is None:
            raise ValueError(f"not valid TOML at character {self.at}")
        self.at = found.end()
        return found.group()

    def skip(self, pattern: re.Pattern[str]) -> _Scanner:
        found = pattern.match(self.text, self.at)
        self.at = found.end() if found else self.at
        return self

    def skip_comma(self) -> None:
        if self.peek() == ",":
            self.at += 1

    def peek(self) -> str:
        if self.at >= len(self.text):
            raise ValueError("not valid TOML: it ends too early")
        return self.text[self.at]
