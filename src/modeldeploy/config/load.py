"""Loading a project: its file, checked as a whole, all problems told at once."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from modeldeploy.config import advice, on_disk, problems, source
from modeldeploy.config.peek import Address, address, choose
from modeldeploy.config.positions import KeyPath, Positions, locate
from modeldeploy.config.schema import ProjectFile, TargetTable
from modeldeploy.config.source import Source
from modeldeploy.model import Finding, Policy, Sealed


@dataclass(frozen=True)
class Project:
    """A project whose file was found good."""

    root: Path
    """The project's folder, absolute."""
    path: Path
    """Its project file."""
    file: ProjectFile
    _source: Source = field(kw_only=True, repr=False)
    _positions: Positions = field(kw_only=True, repr=False)
    _addresses: Mapping[str, Address] = field(kw_only=True, repr=False)

    def target(self, name: str | None = None) -> TargetTable:
        """A target's table; of the only one, where no name is given. Raises `ConfigError`."""
        return self.file.targets[choose(self._source, list(self.file.targets), name)]

    def address(self, name: str | None = None) -> Address:
        """The same as `peek` gives: project, target, driver and the driver's own keys."""
        return self._addresses[choose(self._source, list(self._addresses), name)]

    def policy(self, target: str | None = None) -> Policy:
        """How a revision takes over on this target. Raises `ConfigError` for one that is not there."""
        return self.target(target).rollout.policy()

    def env(self, target: str | None = None) -> Sealed:
        """The environment variables of this target's service."""
        return self.target(target).sealed_env()

    def findings(self) -> tuple[Finding, ...]:
        """What the file may say and yet is worth a thought; all warnings. Looks for files: not free."""
        return tuple(advice.give(self.file, self.root, self.locate))

    def locate(self, key: str | KeyPath) -> str:
        """``file:line`` of a key such as ``"model.path"``; of its table, for one that is not there.

        Keys that hold dots themselves are given as a tuple.
        """
        path = tuple(key.split(".")) if isinstance(key, str) else key
        return f"{self._source.shown}:{self._positions.line(path)}"


def load(folder: Path, *, may_be_missing: Collection[str] = ()) -> Project:
    """The project in this folder.

    ``may_be_missing`` names keys (``"model.golden"``) whose files need not be there yet. Raises
    `ConfigError` with all problems at once, each with file, line, key and what was expected.
    """
    file = source.read(folder)
    values = source.parse(file)
    try:
        positions = locate(file.text)
    except RecursionError:
        raise source.too_deep(file) from None
    root = file.path.parent
    checked, faults = _checked(values)
    told = [problems.explain(fault) for fault in faults[: problems.MOST_TOLD]]
    known = {problem.key for problem in told}
    told += [found for found in on_disk.check(root, values, may_be_missing) if found.key not in known]
    if checked is None or told:
        untold = max(0, len(faults) - problems.MOST_TOLD)
        raise problems.error(told, file.shown, positions, untold=untold)
    return Project(
        root,
        file.path,
        checked,
        _source=file,
        _positions=positions,
        _addresses={name: address(file, values, name) for name in checked.targets},
    )


def _checked(values: Mapping[str, Any]) -> tuple[ProjectFile | None, list[ErrorDetails]]:
    # The validation error itself goes no further: it holds the values, and some of them are secrets.
    try:
        return ProjectFile.model_validate(values), []
    except ValidationError as error:
        return None, error.errors(include_url=False)
