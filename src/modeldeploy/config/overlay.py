"""One project, several environments: ``[env.NAME]`` of the project file, and ``modeldeploy.NAME.toml``.

The chosen environment's tables are laid over the project's own, the file's over those in the project file.
Tables are merged, key by key; everything else, lists too, is replaced. Standard library only.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from modeldeploy.config import source
from modeldeploy.config.names import NAME, PROJECT_FILE, closest, matches
from modeldeploy.config.positions import KeyPath, Positions, locate
from modeldeploy.config.source import Source
from modeldeploy.errors import ConfigError

VARIABLE = "MDEPLOY_ENV"
"""Chooses the environment where nothing else does."""
TABLE = "env"
NOT_OVERLAID = ("project", TABLE)
"""A project has one name and one version in all environments, and environments do not nest."""

Parse = Callable[[Source], dict[str, Any]]


@dataclass(frozen=True, slots=True)
class Place:
    """Where a key stands: the file as messages name it, the line from 1, and the key as it is there."""

    file: str
    line: int
    key: KeyPath
    order: int = 0
    """Of several files, the one that is laid over the others comes last."""


@dataclass(frozen=True, slots=True)
class Layer:
    """One of the texts that values come from."""

    source: Source
    prefix: KeyPath = ()
    """Where in that text its tables stand."""


@dataclass(frozen=True)
class Overlaid:
    """A project file with its environment laid over it."""

    source: Source
    """The project file itself."""
    values: dict[str, Any] = field(repr=False)
    env: str | None
    layers: tuple[Layer, ...]

    def place(self, path: KeyPath) -> Place:
        """Where the value of this key comes from; where its table stands, for one that is missing."""
        known = [(layer, _positions(layer.source)) for layer in self.layers]
        for length in range(len(path), 0, -1):
            # Of what is there, the last text decided; of what is missing, the first table lacks it.
            order = range(len(known)) if length < len(path) else reversed(range(len(known)))
            for index in order:
                layer, positions = known[index]
                whole = (*layer.prefix, *path[:length])
                if whole in positions.lines:
                    key = (*layer.prefix, *path)
                    return Place(layer.source.shown, positions.lines[whole], key, index)
        return Place(self.source.shown, 1, path)


def chosen(env: str | None) -> str | None:
    """The environment that was asked for: by name, else by ``MDEPLOY_ENV``; an empty name is none."""
    return (os.environ.get(VARIABLE) if env is None else env) or None


def lay(file: Source, values: dict[str, Any], env: str | None, parse: Parse = source.parse) -> Overlaid:
    """The values of a project file with those of an environment over them.

    Raises `ConfigError` for an environment that there is none of.
    """
    name = chosen(env)
    if name is None:
        return Overlaid(file, values, None, (Layer(file),))
    inline = _inline(values)
    beside = _beside(file.path)
    if name not in inline and name not in beside:
        raise _unknown(file, name, [*inline, *beside])
    layers, merged = [Layer(file)], values
    if name in inline:
        layers.append(Layer(file, (TABLE, name)))
        merged = merge(merged, _own(inline[name]))
    if name in beside:
        over = source.read(file.path.parent, beside[name])
        layers.append(Layer(over))
        merged = merge(merged, _own(parse(over)))
    return Overlaid(file, merged, name, tuple(layers))


def environments(folder: Path) -> list[str]:
    """Names of the project's environments, sorted. Raises `ConfigError` for a file that cannot be read."""
    file = source.read(folder)
    return sorted({*_inline(source.parse(file)), *_beside(file.path)})


def merge(below: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    """Both, key by key; where only one of two values is a table, or none, the one above holds."""
    merged = dict(below)
    for key, value in over.items():
        former = merged.get(key)
        if isinstance(former, dict) and isinstance(value, dict):
            merged[key] = merge(former, value)
        else:
            merged[key] = value
    return merged


def _own(values: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in values.items() if key not in NOT_OVERLAID}


def _inline(values: Mapping[str, Any]) -> dict[str, Mapping[str, Any]]:
    tables = values.get(TABLE)
    if not isinstance(tables, dict):
        return {}
    return {name: table for name, table in tables.items() if matches(NAME, name) and isinstance(table, dict)}


def _beside(project_file: Path) -> dict[str, str]:
    """Environments with a file of their own, and the names of those files."""
    stem, suffix = PROJECT_FILE.split(".")
    try:
        found = sorted(path.name for path in project_file.parent.glob(f"{stem}.*.{suffix}"))
    except OSError:
        return {}
    named = {file[len(stem) + 1 : -len(suffix) - 1]: file for file in found}
    return {name: file for name, file in named.items() if matches(NAME, name)}


def _unknown(file: Source, name: str, known: list[str]) -> ConfigError:
    known = sorted(set(known))
    near = closest(name, known)
    there = f"; there are {', '.join(known)}" if known else ": the project has none"
    add = f"add [env.{name}] to it, or a file modeldeploy.{name}.toml beside it"
    return ConfigError(
        f"{file.shown} has no environment '{name[:60]}'{there}",
        hint=f"did you mean '{near}'?" if near else add if matches(NAME, name) else None,
        details={"environments": known},
    )


def _positions(file: Source) -> Positions:
    try:
        return locate(file.text)
    except RecursionError:
        raise source.too_deep(file) from None
    except (ValueError, IndexError):  # text of which only parts could be read
        return Positions()
