"""Drivers: the places where revisions run.

A driver is found by the name that the project file gives it. Those of other packages register a
factory ``(project: str, name: str, options: Mapping[str, object]) -> Target`` under the entry point
group ``modeldeploy.targets``.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping

from modeldeploy.errors import ConfigError
from modeldeploy.target import Target

ENTRY_POINTS = "modeldeploy.targets"

Factory = Callable[[str, str, Mapping[str, object]], Target]

# Listed here beside the entry points, because looking those up takes 20 ms that `status` can do without.
_OWN = {"process": ("modeldeploy.targets.process", "ProcessTarget")}


def open_target(driver: str, project: str, name: str, options: Mapping[str, object]) -> Target:
    """The target of that name, run by that driver. Reaches out to nothing yet.

    Raises `ConfigError` for a driver that is not installed.
    """
    return _factory(driver, name)(project, name, options)


def _factory(driver: str, name: str) -> Factory:
    if driver in _OWN:
        module, attribute = _OWN[driver]
        own: Factory = getattr(importlib.import_module(module), attribute)
        return own
    from importlib.metadata import entry_points

    for entry in entry_points(group=ENTRY_POINTS, name=driver):
        foreign: Factory = entry.load()
        return foreign
    raise ConfigError(
        f"targets.{name}.driver: there is no driver '{driver}'; there are: {', '.join(drivers())}",
        hint=f"install the package that brings the driver '{driver}', or use driver = \"process\"",
    )


def drivers() -> list[str]:
    """Names of all drivers that are installed."""
    from importlib.metadata import entry_points

    return sorted({*_OWN, *(entry.name for entry in entry_points(group=ENTRY_POINTS))})
