"""The schema as data: the JSON Schema for editors, and what is expected at a place in the file."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

from modeldeploy.config import amounts, durations
from modeldeploy.config.names import DURATION, NAME_RULE, PROCESS, SIZE
from modeldeploy.config.overlay import NOT_OVERLAID, TABLE
from modeldeploy.config.schema import PLUGIN, ProjectFile

Node = Mapping[str, Any]

_KINDS = {
    "string": "text in quotes",
    "boolean": "true or false",
    "array": "a list in brackets",
    "object": "a table",
}
_FORM_WORDS: Mapping[type, str] = {
    str: "text",
    int: "a whole number",
    float: "a number with a fraction",
    list: "a list",
    dict: "a table",
}
_OVERLAY = "Overlay"
"""Begins the names of definitions for the tables of an environment."""
NAMED = ("models", "policy", "targets", TABLE)
"""Tables of tables, whose names are the user's."""
# Which of the forms in a `oneOf` each tag of a target means.
_FORMS = {PROCESS: 0, PLUGIN: 1}


@cache
def json_schema() -> dict[str, Any]:
    """JSON Schema (2020-12) of the project file, for editors: no titles, no null (TOML has none)."""
    schema = _tidy(ProjectFile.model_json_schema())
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "mdeploy project file",
        **_with_overlays(schema),
    }


def _with_overlays(schema: dict[str, Any]) -> dict[str, Any]:
    """The schema, with the tables of an environment: the same ones, of which every key may be left out."""
    own = {key: value for key, value in schema["properties"].items() if key not in NOT_OVERLAID}
    partial = {f"{_OVERLAY}{name}": _partial(node) for name, node in schema["$defs"].items()}
    overlay = {"type": "object", "additionalProperties": False, "properties": _partial(own)}
    environments = {
        **schema["properties"][TABLE],
        "additionalProperties": {"$ref": f"#/$defs/{_OVERLAY}ProjectFile"},
    }
    return {
        **schema,
        "properties": {**schema["properties"], TABLE: environments},
        "$defs": {**schema["$defs"], **partial, f"{_OVERLAY}ProjectFile": overlay},
    }


def _partial(node: Any) -> Any:
    """The same, without anything that must be there; values that replace others are as they were."""
    if isinstance(node, list):
        return [_partial(item) for item in node]
    if not isinstance(node, dict):
        return node
    kept = {key: _partial(value) for key, value in node.items() if key not in ("required", "default")}
    if isinstance(kept.get("$ref"), str):
        kept["$ref"] = kept["$ref"].replace("#/$defs/", f"#/$defs/{_OVERLAY}")
    if "oneOf" in kept:
        kept["anyOf"] = kept.pop("oneOf")
        kept.pop("discriminator", None)
    return kept


def _tidy(node: Any) -> Any:
    if isinstance(node, list):
        return [_tidy(item) for item in node]
    if not isinstance(node, dict):
        return node
    if isinstance(node.get("anyOf"), list):
        present = [option for option in node["anyOf"] if option != {"type": "null"}]
        node = {**present[0], **{key: value for key, value in node.items() if key != "anyOf"}}
    if "patternProperties" in node:
        ((pattern, values),) = node["patternProperties"].items()
        names = {
            "propertyNames": {"pattern": pattern, "$comment": NAME_RULE},
            "additionalProperties": values,
        }
        node = {key: value for key, value in node.items() if key != "patternProperties"} | names
    tidy = {key: _tidy(value) for key, value in node.items() if _wanted(key, value)}
    if tidy.get("pattern") == DURATION and isinstance(tidy.get("default"), float):
        tidy["default"] = durations.show(tidy["default"])
    if tidy.get("pattern") == SIZE and isinstance(tidy.get("default"), int):
        tidy["default"] = amounts.show(tidy["default"])
    return tidy


def _wanted(key: str, value: object) -> bool:
    return not (key == "title" and isinstance(value, str)) and not (key == "default" and value is None)


def at(path: Sequence[str | int], *, form: str = PROCESS) -> Node:
    """What the schema says about a key path; an empty mapping for a key that it does not know."""
    node: Node = json_schema()
    for part in path:
        node = _step(node, part, form)
    return _resolved(node, form)


def _step(node: Node, part: str | int, form: str) -> Node:
    node = _resolved(node, form)
    if isinstance(part, int):
        below = node.get("items", {})
    else:
        below = node.get("properties", {}).get(part, node.get("additionalProperties"))
    return below if isinstance(below, Mapping) else {}


def _resolved(node: Node, form: str) -> Node:
    """Follows references, keeping what stands beside them, and chooses a target's form."""
    while "$ref" in node or "oneOf" in node:
        if "oneOf" in node:
            node = node["oneOf"][_FORMS[form]]
        beside = {key: value for key, value in node.items() if key != "$ref"}
        name = str(node.get("$ref", "")).rpartition("/")[2]
        node = {**json_schema()["$defs"].get(name, {}), **beside}
    return node


def keys(path: Sequence[str | int], *, form: str = PROCESS) -> list[str]:
    """Keys that the table at this path may have, in the order of the schema."""
    return list(at(path, form=form).get("properties", {}))


def expected(node: Node) -> str:
    """What a value must be, in words."""
    if "$comment" in node:
        return str(node["$comment"])
    if "const" in node:
        return json.dumps(node["const"])
    if "enum" in node:
        return "one of " + ", ".join(json.dumps(value) for value in node["enum"])
    return _of_type(str(node.get("type", "")), node)


def _of_type(form: str, node: Node) -> str:
    if form in ("integer", "number"):
        return _number(node)
    if form == "array":
        return f"a list in brackets, each {expected(_resolved(node['items'], PROCESS))}"
    if node.get("required"):
        return f"a table with {' and '.join(node['required'])}"
    return _KINDS.get(form, "a value")


def kind(value: object) -> str:
    """What a value of a TOML file is, in words."""
    if isinstance(value, bool):
        return "a boolean"
    for form, words in _FORM_WORDS.items():
        if isinstance(value, form):
            return words
    return "a date or time"


def _number(node: Node) -> str:
    noun = "a whole number" if node["type"] == "integer" else "a number"
    low, high = node.get("minimum"), node.get("maximum")
    if low is None:
        return noun
    return f"{noun} of at least {low:g}" if high is None else f"{noun} from {low:,} to {high:,}"


def example(node: Node) -> str:
    """A value that would do, as TOML; empty where the schema gives none."""
    examples = node.get("examples")
    return toml(examples[0]) if examples else ""


def toml(value: object) -> str:
    """A value as TOML on one line: text, numbers, booleans, lists and tables of them."""
    if isinstance(value, Mapping):
        return "{ " + ", ".join(f"{_toml_key(key)} = {toml(item)}" for key, item in value.items()) + " }"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(toml(item) for item in value) + "]"
    if isinstance(value, float):
        return repr(value).replace("e-0", "e-")
    return json.dumps(value, ensure_ascii=False)


def _toml_key(key: str) -> str:
    return key if re.fullmatch(r"[A-Za-z0-9_-]+", key) else json.dumps(key, ensure_ascii=False)


@dataclass(frozen=True)
class Key:
    """One key of the project file."""

    path: tuple[str, ...]
    """Keys from the top; ``NAME`` stands for the user's own name of a target, say."""
    node: Node
    required: bool

    @property
    def is_table(self) -> bool:
        """True for a table with keys of its own that are described too."""
        return "properties" in self.node or "oneOf" in self.node or self.path[:-1] == ()


def every_key(path: tuple[str, ...] = (), *, form: str = PROCESS) -> Iterator[Key]:
    """All keys below this table, depth first, in the order of the schema."""
    if len(path) == 1 and path[0] in NAMED:
        yield from every_key((*path, "NAME"), form=form)
        return
    named = len(path) > 1 and path[0] in NAMED
    if named and path[0] == TABLE:
        return  # its keys are those of all the other tables
    table = at((path[0], "name", *path[2:]) if named else path, form=form)
    for name in table.get("properties", {}):
        key = Key((*path, name), _step_resolved(table, name, form), name in table.get("required", ()))
        yield key
        if key.is_table:
            yield from every_key(key.path, form=form)


def _step_resolved(table: Node, name: str, form: str) -> Node:
    return _resolved(_step(table, name, form), form)
