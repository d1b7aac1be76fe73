"""The lines of ``--json``: events as they come, then one result or one error.

Described for users in docs/reference/json-output.md.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from enum import Enum
from math import isfinite
from pathlib import PurePath
from typing import Any

from modeldeploy.errors import ModelDeployError
from modeldeploy.events import Event
from modeldeploy.model import Sealed


def plain(value: object) -> Any:
    """The value as JSON values: dataclasses as objects, paths as text, secrets as ``***``."""
    match value:
        case Sealed():
            told: Any = dict.fromkeys(value, "***")
        case Enum():
            told = value.value
        case Mapping():
            told = {str(key): plain(item) for key, item in value.items()}
        case list() | tuple() | set() | frozenset():
            told = [plain(item) for item in value]
        case float() if not isfinite(value):
            told = None
        case None | str() | int() | float():
            told = value
        case PurePath():
            told = str(value)
        case bytes():
            told = value.decode(errors="replace")
        case _ if is_dataclass(value) and not isinstance(value, type):
            told = {field.name: plain(getattr(value, field.name)) for field in fields(value)}
        case _:
            raise TypeError(f"{type(value).__name__} has no form in JSON")
    return told


def event_line(event: Event) -> str:
    """One event as a line."""
    return _line(type="event", kind=event.kind, at=event.at, message=event.message, data=plain(event.data))


def log_line(text: str) -> str:
    """One line of a revision's log as a line."""
    return _line(type="log", line=text)


def result_line(command: str, result: object, *, ok: bool, code: int) -> str:
    """The last line of a command that gave an answer, if perhaps an unwelcome one."""
    return _line(type="result", ok=ok, command=command, exit_code=code, result=plain(result))


def error_line(command: str, error: ModelDeployError, *, kind: str, code: int) -> str:
    """The last line of a command that failed."""
    told = {"kind": kind, "message": error.message, "hint": error.hint, "exit_code": code}
    details = plain(error.details)
    if findings := getattr(error, "findings", ()):
        details["findings"] = plain(findings)
    return _line(type="error", ok=False, command=command, error={**told, "details": details})


def _line(**values: object) -> str:
    return json.dumps(values)
