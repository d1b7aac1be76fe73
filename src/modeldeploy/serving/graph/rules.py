"""The language of rules: ``age < 18 and (country == 'FR' or not member == true)``.

Its own lexer and parser, so that a rule can do nothing but compare: no call, no attribute, no arithmetic.

::

    rule       = all {"or" all}
    all        = part {"and" part}
    part       = "not" part | "(" rule ")" | comparison
    comparison = input operator constant | constant operator input
    input      = name ["[" column "]"]         name: a plain word, or anything in `backticks`
    operator   = "<" | "<=" | ">" | ">=" | "==" | "!="
    constant   = number | 'text' | "text" | true | false

Standard library only: the project file is checked with it too.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass

Constant = float | int | str | bool

LONGEST = 1000
_DEEPEST = 20
"""Parentheses and ``not`` inside each other."""
_TOKENS = re.compile(
    r"(?P<space>[ \t]+)"
    r"|(?P<number>[+-]?(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)(?:[eE][+-]?[0-9]+)?(?![\w.]))"
    r"|(?P<name>[^\W\d]\w*)"
    r"|`(?P<quoted>[^`]+)`"
    r"|'(?P<single>[^']*)'"
    r'|"(?P<double>[^"]*)"'
    r"|(?P<sign><=|>=|==|!=|<|>|\(|\)|\[|\])"
)
_LONGEST_COLUMN = 9
_OPERATORS = ("<", "<=", ">", ">=", "==", "!=")
_TURNED = {"<": ">", "<=": ">=", ">": "<", ">=": "<=", "==": "==", "!=": "!="}
_WORDS = ("and", "or", "not", "true", "false")
_MEANT = {
    "=": "==",
    "&&": "and",
    "||": "or",
    "!": "not",
    "&": "and",
    "|": "or",
    "=>": ">=",
    "=<": "<=",
}


class RuleError(ValueError):
    """A rule that is none. ``column`` counts from 1."""

    def __init__(self, column: int, reason: str, expected: str = "", nearest: str | None = None) -> None:
        super().__init__(
            "; ".join(filter(None, (f"column {column}: {reason}", expected and f"expected {expected}")))
        )
        self.column = column
        self.reason = reason
        self.expected = expected
        self.nearest = nearest


@dataclass(frozen=True, slots=True)
class Comparison:
    """An input, or one column of it, on the left of a constant."""

    name: str
    column: int | None
    """Counts from 0; None for an input with one value in each row."""
    operator: str
    constant: Constant
    at: int = 1
    """Where in the rule the input stands, from 1."""

    def __str__(self) -> str:
        """As one writes it."""
        name = (
            self.name
            if re.fullmatch(r"[^\W\d]\w*", self.name) and self.name not in _WORDS
            else f"`{self.name}`"
        )
        index = "" if self.column is None else f"[{self.column}]"
        return f"{name}{index} {self.operator} {_written(self.constant)}"


@dataclass(frozen=True, slots=True)
class Not:
    """What holds where the other does not."""

    inner: Rule

    def __str__(self) -> str:
        """As one writes it."""
        return f"not ({self.inner})"


@dataclass(frozen=True, slots=True)
class All:
    """What holds where all parts do."""

    parts: tuple[Rule, ...]

    def __str__(self) -> str:
        """As one writes it."""
        return " and ".join(f"({part})" for part in self.parts)


@dataclass(frozen=True, slots=True)
class Some:
    """What holds where any part does."""

    parts: tuple[Rule, ...]

    def __str__(self) -> str:
        """As one writes it."""
        return " or ".join(f"({part})" for part in self.parts)


Rule = Comparison | Not | All | Some


def parse_rule(text: str) -> Rule:
    """The rule in a text. Raises `RuleError` with the column of what is wrong.

    >>> print(parse_rule("not age < 18"))
    not (age < 18)
    """
    if len(text) > LONGEST:
        raise RuleError(LONGEST, f"the rule is longer than {LONGEST} characters")
    return _Parser(text).whole()


def comparisons(rule: Rule) -> Iterator[Comparison]:
    """All comparisons in a rule, in its order."""
    if isinstance(rule, Comparison):
        yield rule
    elif isinstance(rule, Not):
        yield from comparisons(rule.inner)
    else:
        for part in rule.parts:
            yield from comparisons(part)


def _written(constant: Constant) -> str:
    if isinstance(constant, bool):
        return str(constant).lower()
    if isinstance(constant, str):
        return f'"{constant}"' if "'" in constant else f"'{constant}'"
    return repr(constant)


@dataclass(frozen=True, slots=True)
class _Token:
    kind: str
    text: str
    at: int


def _tokens(text: str) -> Iterator[_Token]:
    at = 0
    while at < len(text):
        found = _TOKENS.match(text, at)
        if found is None:
            raise _unreadable(text, at)
        if found.lastgroup != "space":
            kind = str(found.lastgroup)
            yield _Token(kind, found[kind], at + 1)
        at = found.end()
    yield _Token("end", "", len(text) + 1)


def _unreadable(text: str, at: int) -> RuleError:
    if text[at] in "'\"`":
        return RuleError(at + 1, f"the {text[at]} is never closed")
    odd = next(
        (sign for sign in sorted(_MEANT, key=len, reverse=True) if text.startswith(sign, at)), text[at]
    )
    what = (
        "a comparison, and, or, not" if odd in _MEANT else "a name, a number, text in quotes or a comparison"
    )
    return RuleError(at + 1, f"{odd!r} means nothing here", what, _MEANT.get(odd))


@dataclass(frozen=True, slots=True)
class _Input:
    name: str
    column: int | None
    at: int


class _Parser:
    """Reads one rule from left to right, one token ahead."""

    def __init__(self, text: str) -> None:
        self._tokens = _tokens(text)
        self._next = next(self._tokens)
        self._depth = 0

    def whole(self) -> Rule:
        rule = self._rule()
        if self._next.kind != "end":
            raise self._unexpected("and, or, or nothing more")
        return rule

    def _rule(self) -> Rule:
        parts = [self._all()]
        while self._took("name", "or"):
            parts.append(self._all())
        return parts[0] if len(parts) == 1 else Some(tuple(parts))

    def _all(self) -> Rule:
        parts = [self._part()]
        while self._took("name", "and"):
            parts.append(self._part())
        return parts[0] if len(parts) == 1 else All(tuple(parts))

    def _part(self) -> Rule:
        at = self._next.at
        if self._took("name", "not"):
            return Not(self._deeper(at, self._part))
        if self._took("sign", "("):
            inner = self._deeper(at, self._rule)
            if not self._took("sign", ")"):
                raise self._unexpected(f"the ) that belongs to the ( in column {at}")
            return inner
        return self._comparison()

    def _deeper(self, at: int, read: Callable[[], Rule]) -> Rule:
        self._depth += 1
        if self._depth > _DEEPEST:
            raise RuleError(at, f"more than {_DEEPEST} parentheses and nots inside each other")
        rule = read()
        self._depth -= 1
        return rule

    def _comparison(self) -> Comparison:
        at, first = self._next.at, self._operand()
        sign = self._next.text
        if self._next.kind != "sign" or sign not in _OPERATORS:
            expected = f"one of {' '.join(_OPERATORS)}"
            raise self._unexpected(expected if isinstance(first, _Input) else f"{expected} and an input")
        self._step()
        second = self._operand()
        if isinstance(first, _Input) and not isinstance(second, _Input):
            return Comparison(first.name, first.column, sign, second, first.at)
        if isinstance(second, _Input) and not isinstance(first, _Input):
            return Comparison(second.name, second.column, _TURNED[sign], first, second.at)
        what = "inputs" if isinstance(first, _Input) else "constants"
        raise RuleError(at, f"two {what} are compared with each other", "an input and a constant")

    def _operand(self) -> _Input | Constant:
        token = self._next
        if token.kind == "number":
            self._step()
            return _number(token)
        if token.kind in ("single", "double"):
            self._step()
            return token.text
        if token.kind == "name" and token.text in ("true", "false"):
            self._step()
            return token.text == "true"
        if token.kind == "quoted" or (token.kind == "name" and token.text not in _WORDS):
            self._step()
            return _Input(token.text, self._column(), token.at)
        raise self._unexpected("an input, a number or text in quotes")

    def _column(self) -> int | None:
        if not self._took("sign", "["):
            return None
        token = self._next
        if token.kind != "number" or not token.text.isdecimal() or len(token.text) > _LONGEST_COLUMN:
            raise self._unexpected("the number of a column, from 0")
        self._step()
        if not self._took("sign", "]"):
            raise self._unexpected("]")
        return int(token.text)

    def _took(self, kind: str, text: str) -> bool:
        if (self._next.kind, self._next.text) != (kind, text):
            return False
        self._step()
        return True

    def _step(self) -> None:
        self._next = next(self._tokens)

    def _unexpected(self, expected: str) -> RuleError:
        token = self._next
        if token.kind == "end":
            return RuleError(token.at, "the rule ends here", expected)
        lower = token.text.lower()
        nearest = lower if lower != token.text and lower in _WORDS else None
        return RuleError(token.at, f"{token.text[:40]!r} cannot stand here", expected, nearest)


def _number(token: _Token) -> float | int:
    if re.fullmatch(r"[+-]?[0-9]{1,18}", token.text):
        return int(token.text)
    value = float(token.text)
    if not math.isfinite(value):
        raise RuleError(token.at, "a number of that size is infinite")
    return value
