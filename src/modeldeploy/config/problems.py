"""What is wrong with a project file, in words: where, which key, what was expected, what was meant."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from pydantic_core import ErrorDetails

from modeldeploy.config import describe
from modeldeploy.config.names import PROCESS, closest
from modeldeploy.config.overlay import Place
from modeldeploy.config.positions import KeyPath
from modeldeploy.config.schema import PLUGIN, ProcessTargetTable
from modeldeploy.config.values import REFUSED
from modeldeploy.errors import ConfigError

_KEY_MARK = "[key]"
"""Ends pydantic's location of a key that is refused for its own name."""
_LONGEST_SHOWN = 60
MOST_TOLD = 50
"""Problems that are told at once; a file of that many others is not one that somebody would mend by hand."""
_MEANT = {
    "gpu": "cuda",
    "scikit-learn": "sklearn",
    "pytorch": "torch",
    "keras": "tensorflow",
    "average": "mean",
    "majority": "vote",
}
"""Other names of what keys take, which are spelt like none of them, or like the wrong one."""
_MAY_BE_SECRET = {("registry", "username"), ("registry", "password"), ("signing", "key")}
_TARGET_KEYS = {(name,) for name in ProcessTargetTable.model_fields}


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing that is wrong, with everything but the place of the file."""

    key: KeyPath
    message: str
    expected: str = ""
    nearest: str | None = None

    def sentence(self) -> str:
        """The message, what was expected, and what was probably meant."""
        parts = [self.message]
        if self.expected:
            parts.append(f"expected {self.expected}")
        if self.nearest:
            parts.append(f"did you mean '{self.nearest}'?")
        return "; ".join(parts)


def error(
    problems: Sequence[Problem], file: str, place: Callable[[KeyPath], Place], *, untold: int = 0
) -> ConfigError:
    """All problems as one error, in the order of the files; ``untold`` more are only counted."""
    placed = sorted(
        ((place(problem.key), problem) for problem in problems),
        key=lambda pair: (pair[0].file != file, pair[0].file, pair[0].line),
    )
    lines = [f"{at.file}:{at.line}: {dotted(at.key)}: {problem.sentence()}" for at, problem in placed]
    details = [
        {**asdict(problem), "file": at.file, "line": at.line, "key": dotted(at.key)} for at, problem in placed
    ]
    count = len(lines) + untold
    more = [f"and {untold} more"] if untold else []
    message = lines[0] if count == 1 else "\n  ".join([f"{file} has {count} problems:", *lines, *more])
    return ConfigError(message, details={"problems": details})


def dotted(path: KeyPath) -> str:
    """A key path as one would write it in TOML: ``targets.local.rollout.steps[2]``.

    >>> dotted(("build", "include", 0)), dotted(("targets", "a b"))
    ('build.include[0]', 'targets."a b"')
    """
    text = ""
    for part in path:
        if isinstance(part, int):
            text += f"[{part}]"
        else:
            plain = re.fullmatch(r"[A-Za-z0-9_-]+", part) is not None
            text += ("." if text else "") + _short(part if plain else json.dumps(part))
    return text


def explain(fault: ErrorDetails, veiled: Collection[KeyPath] = ()) -> Problem:
    """One of pydantic's errors in the words of the project file; ``veiled`` keys' values are not shown."""
    problem = _explained(fault)
    if problem.key not in veiled:
        return problem
    node = describe.at(problem.key, form=_place(fault)[1])
    told = "what the environment variable gives is not what is needed here"
    return Problem(problem.key, told, _expected_with_example(node))


def _explained(fault: ErrorDetails) -> Problem:
    path, form, about_key = _place(fault)
    kind, node = fault["type"], describe.at(path, form=form)
    if kind == "extra_forbidden":
        return unknown_key(path, form)
    if kind == "missing":
        shown = describe.example(node)
        return Problem(path, "missing", describe.expected(node) + (f", such as {shown}" if shown else ""))
    if about_key:
        names = describe.at(path[:-1], form=form).get("propertyNames", {})
        return _refused(path, fault, describe.expected(names))
    if kind == REFUSED:
        return _refused(path, fault, _expected_with_example(node), shown=_shown(path, fault["input"]))
    return _wrong_value(path, fault, node)


def _place(fault: ErrorDetails) -> tuple[KeyPath, str, bool]:
    """The key path without pydantic's own marks; the target's form; whether the key itself is at fault."""
    path: KeyPath = tuple(fault["loc"])
    about_key = path[-1:] == (_KEY_MARK,) and fault["type"] == REFUSED
    path = path[:-1] if about_key else path
    form = PROCESS
    if path[:1] == ("targets",) and len(path) > 2 and path[2] in (PROCESS, PLUGIN):
        form = str(path[2])
        path = path[:2] + path[3:]
    return path, form, about_key


def unknown_key(path: KeyPath, form: str, prefix: KeyPath = ()) -> Problem:
    """A key that the schema does not know; ``prefix`` is where the whole table stands."""
    known = describe.keys(path[:-1], form=form)
    word = str(path[-1])
    return Problem(
        (*prefix, *path),
        "unknown key",
        f"one of {', '.join(sorted(known))}",
        closest(word, known, cutoff=0.7) or _elsewhere(path),
    )


def _elsewhere(path: KeyPath) -> str | None:
    """The full name of a key that is (nearly) right but stands in the wrong table."""
    known = {key.path[-1]: key.path for key in reversed(list(describe.every_key()))}
    found = closest(str(path[-1]), list(known), cutoff=0.8)
    if found is None:
        return None
    right = known[found]
    same_target = right[:1] == path[:1] == ("targets",) and len(path) > 2
    return dotted((*path[:2], *right[2:]) if same_target else right)


def _refused(path: KeyPath, fault: ErrorDetails, expected: str, shown: str = "") -> Problem:
    context = fault["ctx"]
    reason = f"{shown}: {context['reason']}" if shown else context["reason"]
    known = "expected" in context["reason"]
    return Problem(path, reason, "" if known else expected, context["nearest"])


def _wrong_value(path: KeyPath, fault: ErrorDetails, node: Mapping[str, Any]) -> Problem:
    value, known = fault["input"], [str(word) for word in node.get("enum", [node.get("const", "")])]
    subject = _shown(path, value) or "the value"
    if str(fault["type"]).endswith("_type"):
        expected = _expected_with_example(node)
        quoted = "text in quotes: " if fault["type"] == "string_type" and "$comment" in node else ""
        # [targets] with a target's keys right below it: the target's name was forgotten.
        named = (
            ("targets", "local", path[-1]) if path[:1] == ("targets",) and path[1:] in _TARGET_KEYS else None
        )
        return Problem(
            path, f"{subject} is {describe.kind(value)}", quoted + expected, named and dotted(named)
        )
    if fault["type"] == "literal_error":
        nearest = _nearest(value, known) if isinstance(value, str) else None
        return Problem(path, f"{subject} is not known", describe.expected(node), nearest)
    return Problem(path, f"{subject} is out of range", _expected_with_example(node))


def _nearest(value: str, known: list[str]) -> str | None:
    """What was meant: the same thing by another of its names, or one that is spelt nearly so."""
    meant = _MEANT.get(value.lower())
    return meant if meant in known else closest(value, known)


def _expected_with_example(node: Mapping[str, Any]) -> str:
    shown = describe.example(node)
    expected = describe.expected(node)
    plain = not shown or shown in expected or "such as" in expected or "const" in node
    return expected if plain else f"{expected}, such as {shown}"


def _shown(path: KeyPath, value: object) -> str:
    """The value as the file has it; nothing for one that is, or may hold, a secret, or that is a table."""
    if "env" in path or path[:2] in _MAY_BE_SECRET or not isinstance(value, str | int | float):
        return ""
    if isinstance(value, str) and re.search(r"://[^/\s]*@", value):
        return ""
    if isinstance(value, int) and value.bit_length() > 64:
        return "a number of many digits"
    return _short(describe.toml(value))


def _short(text: str) -> str:
    return text if len(text) <= _LONGEST_SHOWN else f"{text[:_LONGEST_SHOWN]}..."
