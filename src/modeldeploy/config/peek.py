"""A quick look into the project file: enough to reach a target, and nothing more.

The commands for a bad night (`status`, `logs`, `rollback`) need only the project's name and the target's
address. They read them here: with the standard library, in milliseconds, and also while some other table
of the file has a typo.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from modeldeploy.config import interpolate, overlay, source
from modeldeploy.config.names import COMMON_KEYS, NAME, NAME_RULE, PROCESS, closest, matches
from modeldeploy.config.overlay import Overlaid
from modeldeploy.config.settings import RegistrySettings, registry
from modeldeploy.config.source import Source
from modeldeploy.errors import ConfigError


@dataclass(frozen=True, slots=True)
class Address:
    """Where a target is. ``options`` are its driver's own keys, as the file has them."""

    project: str
    target: str
    driver: str
    options: Mapping[str, object] = field(default_factory=dict, repr=False)
    """Paths to programs are made absolute. May hold a third-party driver's secrets: not in ``repr``."""


def peek(folder: Path, target: str | None = None, *, env: str | None = None) -> Address:
    """The address of a target; of the only one, where ``target`` is None.

    ``env`` is the environment to lay over the file; otherwise ``MDEPLOY_ENV`` says so. Tolerates every
    mistake in the file that does not touch this target's address. Raises `ConfigError`.
    """
    file = source.read(folder)
    overlaid = _overlaid(file, target, env)
    name = choose(file, list(_table(overlaid.values.get("targets"))), target)
    own = [key for key in _table(overlaid.values["targets"][name]) if key not in COMMON_KEYS]
    wanted = [("targets", name, key) for key in ("driver", *own)]
    return address(file, _filled(overlaid, ("project", "name"), *wanted), name)


def peek_registry(folder: Path, *, env: str | None = None) -> RegistrySettings:
    """Where the project keeps its bundles, as tolerantly as `peek`. Raises `ConfigError`."""
    file = source.read(folder)
    overlaid = _overlaid(file, None, env)
    return registry(_table(_filled(overlaid, ("registry",)).get("registry")), file.path.parent)


def project_name(folder: Path) -> str:
    """The name of the project, and so of its repository. Raises `ConfigError`."""
    file = source.read(folder)
    return _name(file, _filled(_overlaid(file, None, ""), ("project", "name")))


def target_names(folder: Path, *, env: str | None = None) -> list[str]:
    """Names of the project's targets, in the order of the file. Raises `ConfigError`."""
    values = _overlaid(source.read(folder), None, env).values
    return [name for name in _table(values.get("targets")) if matches(NAME, name)]


def address(file: Source, values: Mapping[str, Any], target: str | None) -> Address:
    """The address of a target, from the values of its project file. Raises `ConfigError`."""
    project = _name(file, values)
    targets = _table(values.get("targets"))
    name = choose(file, list(targets), target)
    options = dict(_table(targets[name]))
    driver = options.get("driver")
    if not isinstance(driver, str):
        raise ConfigError(f'{file.shown}: targets.{name}.driver: missing; expected text such as "process"')
    own = {key: value for key, value in options.items() if key not in COMMON_KEYS}
    return Address(project, name, driver, _with_absolute_paths(file.path.parent, driver, own))


def choose(file: Source, names: list[str], wanted: str | None) -> str:
    """The wanted target, or the only one. Raises `ConfigError` that lists what there is."""
    names = [name for name in names if matches(NAME, name)]
    if wanted is None and len(names) == 1:
        return names[0]
    if wanted in names:
        return wanted
    details = {"targets": names}
    if not names:
        raise ConfigError(
            f"{file.shown} has no target", hint='add [targets.local] with driver = "process"', details=details
        )
    if wanted is None:
        raise ConfigError(
            f"which target? {file.shown} has {', '.join(names)}",
            hint=f"name one behind the command, such as: {names[0]}",
            details=details,
        )
    near = closest(wanted, names)
    raise ConfigError(
        f"{file.shown} has no target '{wanted}'; it has {', '.join(names)}",
        hint=f"did you mean '{near}'?" if near else f"add [targets.{wanted}]",
        details=details,
    )


def _with_absolute_paths(root: Path, driver: str, options: dict[str, object]) -> dict[str, object]:
    envoy = options.get("envoy")
    if driver == PROCESS and isinstance(envoy, str) and "/" in envoy:
        options["envoy"] = str(root / envoy)
    return options


def _table(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}


def _name(file: Source, values: Mapping[str, Any]) -> str:
    project = _table(values.get("project")).get("name")
    if not isinstance(project, str) or not matches(NAME, project):
        raise ConfigError(f"{file.shown}: project.name: missing or not a name; expected {NAME_RULE}")
    return project


def _overlaid(file: Source, target: str | None, env: str | None) -> Overlaid:
    """The file and its environment; where the syntax of one is broken, those of its tables that are not."""

    def tolerant(text: Source) -> dict[str, Any]:
        try:
            return source.parse(text)
        except ConfigError:
            from modeldeploy.config.salvage import salvage

            salvaged = salvage(text, target, overlay.chosen(env))
            if salvaged is None:
                raise
            return salvaged

    return overlay.lay(file, tolerant(file), env, tolerant)


def _filled(overlaid: Overlaid, *paths: tuple[str, ...]) -> dict[str, Any]:
    """What stands at these paths, its variables filled in."""
    expanded = interpolate.Expanded()
    values: dict[str, Any] = expanded.expand(interpolate.picked(overlaid.values, *paths))
    if expanded.faults:
        fault = expanded.faults[0]
        place = overlaid.place(fault.key)
        key = ".".join(str(part) for part in place.key)
        raise ConfigError(
            f"{place.file}:{place.line}: {key}: {fault.reason}", hint=interpolate.hint(expanded.faults)
        )
    return values
