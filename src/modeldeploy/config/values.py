"""The forms that values of the project file have, each with its check and its JSON Schema.

``$comment`` is how error messages and the reference page say what is expected. Checks raise through
`refuse`, whose words reach the user as they are; what a value was is added elsewhere, and never for `env`.
"""

from __future__ import annotations

import ipaddress
import itertools
import json
import math
import re
from collections.abc import Callable
from pathlib import PurePosixPath
from typing import Annotated, Any, NoReturn

from pydantic import AfterValidator, BeforeValidator, Field, SecretStr, WithJsonSchema
from pydantic_core import PydanticCustomError

from modeldeploy.config import amounts, durations, names, places, secrets

PATH_RULE = "a path inside the project's folder, relative to it, with forward slashes"
PATTERN_RULE = "a file pattern inside the project's folder, relative to it, with forward slashes"
REQUIREMENT_RULE = "a requirement: a package, and the versions that will do"
HOST_RULE = "an IP address of this machine"
PORT_RULE = "a whole number from 1 to 65535"
STEPS_RULE = "ascending whole numbers from 1 to 99"
LONGEST_PATH = 500
_LARGEST_METADATA = 64_000
REFUSED = "mdeploy"
"""The error type of `refuse`."""

_REQUIREMENT = r"^[A-Za-z0-9]([A-Za-z0-9._-]*[A-Za-z0-9])?[ ]*(\[[A-Za-z0-9._, -]*\])?[ ]*([<>=!~;@(].*)?$"


def refuse(reason: str, *, nearest: str | None = None) -> NoReturn:
    """Refuse a value, for a reason in words; ``nearest`` is a valid value close to it."""
    raise PydanticCustomError(REFUSED, "{reason}", {"reason": reason, "nearest": nearest})


def once(value: tuple[str, ...]) -> tuple[str, ...]:
    """A list in which nothing is twice."""
    twice = [item for index, item in enumerate(value) if item in value[:index]]
    if twice:
        refuse(f"{twice[0]} is there twice")
    return value


def _name(value: str) -> str:
    if not names.matches(names.NAME, value):
        slug = re.sub(r"[^a-z0-9]+", "-", value[:200].lower()).strip("-0123456789")[:63].rstrip("-")
        refuse("not a name", nearest=slug or None)
    return value


def _version(value: str) -> str:
    if value.lower() == "latest":
        refuse('"latest" means the newest version, so no version can be called that')
    if not names.matches(names.VERSION, value):
        refuse("not a version")
    return value


def _named_in_module(kind: str) -> Callable[[str], str]:
    """A check that a text is ``module:name``; ``kind`` is what the name stands for."""

    def check(value: str) -> str:
        if not names.matches(names.ENTRYPOINT, value) or len(value) > LONGEST_PATH:
            refuse(f"not {kind}")
        return value

    return check


def _python(value: str) -> str:
    if not names.matches(names.PYTHON, value):
        refuse("not a Python version that a bundle can have")
    return value


def outside(path: str) -> str | None:
    """Why this is no path inside the project, by its words alone; None if it is one.

    That no link leads out is checked where the disk is looked at.
    """
    parts = PurePosixPath(path)
    if not path.strip() or not path.isprintable() or len(path) > LONGEST_PATH:
        return "not a path"
    if "\\" in path:
        return "a backslash does not separate folders here"
    if parts.is_absolute() or path.startswith("~"):
        return "leads out of the project's folder; put the file into it and give its path there"
    if ".." in parts.parts:
        return "leads out of the project's folder by '..'"
    return None


def _inside(value: str) -> str:
    reason = outside(value)
    if reason:
        refuse(reason, nearest=value.replace("\\", "/") if "\\" in value else None)
    return value


def _requirement(value: str) -> str:
    if value.startswith("-"):
        refuse("options of an installer are no requirements; where packages come from is set for uv itself")
    if re.search(r"://[^/\s]*@", value):
        refuse("an address with a password in it would go into every bundle; give uv the credentials instead")
    if not value.isprintable() or not names.matches(_REQUIREMENT, value):
        refuse("not a requirement")
    return value


def _duration(value: object) -> float:
    if isinstance(value, int | float) and not isinstance(value, bool):
        refuse("a bare number has no unit", nearest=f"{value}s" if 0 < value <= durations.LONGEST else None)
    if not isinstance(value, str):
        refuse("not a duration")
    try:
        return durations.parse(value)
    except ValueError as error:
        refuse(str(error))


def _size(value: object) -> int:
    if isinstance(value, int) and not isinstance(value, bool):
        refuse("a bare number has no unit", nearest=f"{value}B" if 0 < value <= amounts.LARGEST else None)
    if not isinstance(value, str):
        refuse("not a size")
    try:
        return amounts.parse(value)
    except ValueError as error:
        refuse(str(error))


def _steps(value: tuple[int, ...]) -> tuple[int, ...]:
    why = "stable has the rest, so that the two add up to 100"
    if not value:
        refuse('a canary needs at least one step; to move all traffic at once, use strategy = "blue-green"')
    for share in value:
        if share == 100:
            refuse("100 is not a step of its own: it follows by itself once the last step has passed")
        if not 1 <= share <= 99:
            refuse(
                f"{share if abs(share) < 10**6 else 'that'} cannot be the candidate's share in percent: {why}"
            )
    for before, after in itertools.pairwise(value):
        if after <= before:
            refuse(
                f"{after} comes after {before}, but each step is the candidate's whole share in percent "
                f"({why}) and must be higher than the one before"
            )
    return value


def _port(value: int) -> int:
    if value == 0:
        refuse("with 0 the system would pick any free port, and users could not know the endpoint")
    if not 1 <= value <= 65535:
        refuse("there is no such port")
    return value


def _host(value: str) -> str:
    try:
        address = ipaddress.ip_address(value)
    except ValueError:
        refuse("not an IP address", nearest="127.0.0.1" if value == "localhost" else None)
    if "%" in value or address.is_multicast:
        refuse("not an address to listen on")
    return value


def _program(value: str) -> str:
    if not value.strip() or not value.isprintable() or value.startswith("~") or len(value) > LONGEST_PATH:
        refuse("not a program; a path is absolute or relative to the project's folder")
    return value


def _variable(name: str) -> str:
    if not names.matches(names.VARIABLE, name):
        refuse(
            "not the name of an environment variable", nearest=re.sub(r"\W", "_", name[:60], flags=re.ASCII)
        )
    return name


def secret_reference(text: str) -> str:
    """The same text, if it is a reference to a secret that something can resolve; else refused."""
    fault = secrets.fault(text)
    if fault:
        refuse(fault.reason, nearest=fault.nearest)
    return text


def _variable_value(value: SecretStr) -> SecretStr:
    if secrets.is_reference(value.get_secret_value()):
        secret_reference(value.get_secret_value())
    if "\0" in value.get_secret_value():
        refuse("the value holds a zero byte, which no environment can pass on")
    if len(value.get_secret_value()) > 32_000:
        refuse("the value is longer than 32,000 characters; put it into a file")
    return value


def _license(value: str) -> str:
    from packaging.licenses import InvalidLicenseExpression, canonicalize_license_expression

    try:
        right = canonicalize_license_expression(value)
    except InvalidLicenseExpression:
        refuse("not an SPDX licence expression")
    if right != value:
        refuse("not as SPDX writes it", nearest=right)
    return value


def _metadata(value: dict[str, Any]) -> dict[str, Any]:
    fault = _not_json(value, depth=0)
    if fault:
        refuse(fault)
    if len(json.dumps(value)) > _LARGEST_METADATA:
        refuse("more than 64 KB; put it into a file of the bundle and name that here")
    return value


def _not_json(value: object, depth: int) -> str | None:
    """Why this cannot go into a manifest as it is; None if it can."""
    if depth > 8:
        return "nested too deeply"
    if isinstance(value, dict):
        return next((fault for item in value.values() if (fault := _not_json(item, depth + 1))), None)
    if isinstance(value, list):
        return next((fault for item in value if (fault := _not_json(item, depth + 1))), None)
    if isinstance(value, float) and not math.isfinite(value):
        return "a number that is infinite or none cannot go into a manifest"
    if isinstance(value, int) and value.bit_length() > 53:
        return "a number of that size is not the same for all who read it; write it as text"
    return None if isinstance(value, str | int | float) else "write dates and times as text, in quotes"


def text_of(pattern: str, rule: str) -> WithJsonSchema:
    """JSON Schema of text of a form."""
    return WithJsonSchema({"type": "string", "pattern": pattern, "$comment": rule})


def worded(rule: str) -> WithJsonSchema:
    """JSON Schema of text whose form only words can tell."""
    return WithJsonSchema({"type": "string", "minLength": 1, "$comment": rule})


Name = Annotated[str, AfterValidator(_name), text_of(names.NAME, names.NAME_RULE)]
Version = Annotated[str, AfterValidator(_version), text_of(names.VERSION, names.VERSION_RULE)]
Entrypoint = Annotated[
    str,
    AfterValidator(_named_in_module("an entry point")),
    text_of(names.ENTRYPOINT, names.ENTRYPOINT_RULE),
]
Hook = Annotated[
    str,
    AfterValidator(_named_in_module("a function of a module")),
    text_of(names.ENTRYPOINT, names.HOOK_RULE),
]
Class = Annotated[
    str,
    AfterValidator(_named_in_module("a class of a module")),
    text_of(names.ENTRYPOINT, names.CLASS_RULE),
]
Python = Annotated[str, AfterValidator(_python), text_of(names.PYTHON, names.PYTHON_RULE)]
InsidePath = Annotated[
    str, AfterValidator(_inside), WithJsonSchema({"type": "string", "minLength": 1, "$comment": PATH_RULE})
]
Pattern = Annotated[
    str, AfterValidator(_inside), WithJsonSchema({"type": "string", "minLength": 1, "$comment": PATTERN_RULE})
]
Requirement = Annotated[str, AfterValidator(_requirement), text_of(_REQUIREMENT, REQUIREMENT_RULE)]
Duration = Annotated[float, BeforeValidator(_duration), text_of(names.DURATION, names.DURATION_RULE)]
Size = Annotated[int, BeforeValidator(_size), text_of(names.SIZE, names.SIZE_RULE)]
"""Bytes."""
Share = Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)]
Steps = Annotated[
    tuple[int, ...],
    Field(strict=False),
    AfterValidator(_steps),
    WithJsonSchema(
        {
            "type": "array",
            "items": {"type": "integer", "minimum": 1, "maximum": 99},
            "minItems": 1,
            "uniqueItems": True,
            "$comment": STEPS_RULE,
        }
    ),
]
Port = Annotated[
    int,
    AfterValidator(_port),
    WithJsonSchema({"type": "integer", "minimum": 1, "maximum": 65535, "$comment": PORT_RULE}),
]
Host = Annotated[str, AfterValidator(_host), WithJsonSchema({"type": "string", "$comment": HOST_RULE})]
Program = Annotated[
    str,
    AfterValidator(_program),
    WithJsonSchema({"type": "string", "minLength": 1, "$comment": "a program's name, or the path to it"}),
]
Variables = Annotated[
    dict[Annotated[str, AfterValidator(_variable)], Annotated[SecretStr, AfterValidator(_variable_value)]],
    WithJsonSchema(
        {
            "type": "object",
            "propertyNames": {"pattern": names.VARIABLE, "$comment": names.VARIABLE_RULE},
            "additionalProperties": {"type": "string"},
        }
    ),
]

License = Annotated[str, AfterValidator(_license), worded(places.LICENSE_RULE)]
Metadata = Annotated[
    dict[str, Any],
    AfterValidator(_metadata),
    WithJsonSchema({"type": "object", "$comment": "a table of your own"}),
]
Environments = Annotated[
    # Their values are not kept: those of the chosen one are checked where they were laid over the others.
    dict[Name, Annotated[dict[str, Any], AfterValidator(lambda _: {})]],
    Field(repr=False),
]
