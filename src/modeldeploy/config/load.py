"""Loading a project: its file, checked as a whole, all problems told at once."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from modeldeploy.config import (
    advice,
    cross,
    cross_service,
    interpolate,
    on_disk,
    outlines,
    overlay,
    problems,
    secrets,
    settings,
    source,
)
from modeldeploy.config.interpolate import Expanded
from modeldeploy.config.overlay import Overlaid
from modeldeploy.config.peek import Address, address, choose
from modeldeploy.config.positions import KeyPath
from modeldeploy.config.problems import Problem
from modeldeploy.config.release import PolicyTable
from modeldeploy.config.schema import ProjectFile, TargetTable
from modeldeploy.config.settings import (
    Identity,
    ImageSettings,
    PolicySettings,
    RegistrySettings,
    ScanSettings,
    SigningSettings,
)
from modeldeploy.errors import ConfigError
from modeldeploy.model import Finding, Policy, Sealed


@dataclass(frozen=True)
class Project:
    """A project whose file was found good."""

    root: Path
    """The project's folder, absolute."""
    path: Path
    """Its project file."""
    file: ProjectFile
    env_name: str | None
    """The environment that was laid over it; None where there is none."""
    _overlaid: Overlaid = field(kw_only=True, repr=False)
    _addresses: Mapping[str, Address] = field(kw_only=True, repr=False)

    def target(self, name: str | None = None) -> TargetTable:
        """A target's table; of the only one, where no name is given. Raises `ConfigError`."""
        return self.file.targets[choose(self._overlaid.source, list(self.file.targets), name)]

    def address(self, name: str | None = None) -> Address:
        """The same as `peek` gives: project, target, driver and the driver's own keys."""
        return self._addresses[choose(self._overlaid.source, list(self._addresses), name)]

    def policy(self, target: str | None = None) -> Policy:
        """How a revision takes over on this target. Raises `ConfigError` for one that is not there."""
        return self.target(target).rollout.policy()

    def env(self, target: str | None = None) -> Sealed:
        """The environment variables of this target's service, secrets looked up now.

        Raises `ConfigError` for a secret that is not there, naming its key and never its value.
        """
        name = choose(self._overlaid.source, list(self.file.targets), target)
        values = self.file.targets[name].sealed_env()
        found = {}
        for variable, value in values.items():
            try:
                found[variable] = secrets.resolve(value, self.root) if secrets.is_reference(value) else value
            except ConfigError as error:
                key = ("targets", name, "env", variable)
                message = f"{self.locate(key)}: {problems.dotted(key)}: {error.message}"
                raise ConfigError(message, hint=error.hint) from None
        return Sealed(found)

    def registry(self) -> RegistrySettings:
        """Where bundles and images are kept. Raises `ConfigError` for a home that cannot be used."""
        table = self.file.registry.model_dump(exclude={"username", "password"}, exclude_none=True)
        hidden = {"username": self.file.registry.username, "password": self.file.registry.password}
        return settings.registry(
            table | {name: value.get_secret_value() for name, value in hidden.items() if value}, self.root
        )

    def image(self) -> ImageSettings:
        """How the bundle becomes an image."""
        image = self.file.image
        base = f"oci:{self.root / image.base[4:]}" if image.base.startswith("oci:") else image.base
        platforms = image.platforms or self.file.build.platforms[:1]
        return ImageSettings(base, image.packages, platforms, image.engine, image.run, image.user)

    def signing(self) -> SigningSettings:
        """Who signs, and whose signatures count."""
        signing = self.file.signing
        return SigningSettings(
            self.root,
            settings.key(signing.key, self.root) if signing.key else None,
            tuple(settings.key(text, self.root) for text in signing.public_keys),
            tuple(Identity(one.subject, one.issuer) for one in signing.identities),
        )

    def promotion(self, target: str | None = None) -> PolicySettings:
        """What a bundle must have behind it for this target; nothing, where there is no policy.

        Raises `ConfigError` for a target that is not there.
        """
        name = choose(self._overlaid.source, list(self.file.targets), target)
        table = self.file.policy.get(name, PolicyTable())
        return settings.policy(name, table.sources, table.require, table.min_age or 0.0)

    def scan(self) -> ScanSettings:
        """How known vulnerabilities are looked for."""
        scan = self.file.scan
        return ScanSettings(self.root / scan.database if scan.database else None, scan.ignore, scan.trust)

    def findings(self) -> tuple[Finding, ...]:
        """What the file may say and yet is worth a thought; all warnings. Looks for files: not free."""
        return tuple(advice.give(self.file, self.root, self.locate, self._overlaid.values.get(overlay.TABLE)))

    def locate(self, key: str | KeyPath) -> str:
        """``file:line`` of a key such as ``"model.path"``; of its table, for one that is not there.

        Keys that hold dots themselves are given as a tuple.
        """
        path = tuple(key.split(".")) if isinstance(key, str) else key
        place = self._overlaid.place(path)
        return f"{place.file}:{place.line}"


def load(folder: Path, *, may_be_missing: Collection[str] = (), env: str | None = None) -> Project:
    """The project in this folder.

    ``may_be_missing`` names keys (``"model.golden"``) whose files need not be there yet; ``env`` is the
    environment to lay over the file, otherwise ``MDEPLOY_ENV`` says so. Raises `ConfigError` with all
    problems at once, each with file, line, key and what was expected.
    """
    file = source.read(folder)
    try:
        overlaid = overlay.lay(file, source.parse(file), env)
        expanded, values = _filled(overlaid)
        checked, told, untold = _judged(overlaid, values, expanded, may_be_missing)
        if checked is None or told:
            raise problems.error(told, file.shown, overlaid.place, untold=untold)
    except RecursionError:
        raise source.too_deep(file) from None
    addresses = {name: address(file, values, name) for name in checked.targets}
    return Project(
        file.path.parent, file.path, checked, overlaid.env, _overlaid=overlaid, _addresses=addresses
    )


def _filled(overlaid: Overlaid) -> tuple[Expanded, dict[str, Any]]:
    """The values with their variables filled in, without those of environments. Raises `ConfigError`."""
    expanded = Expanded()
    own = {key: value for key, value in overlaid.values.items() if key != overlay.TABLE}
    values: dict[str, Any] = expanded.expand(own)
    if expanded.faults:
        told = [Problem(fault.key, fault.reason) for fault in expanded.faults[: problems.MOST_TOLD]]
        error = problems.error(told, overlaid.source.shown, overlaid.place)
        error.hint = interpolate.hint(expanded.faults)
        raise error
    return expanded, values


def _judged(
    overlaid: Overlaid, values: Mapping[str, Any], expanded: Expanded, may_be_missing: Collection[str]
) -> tuple[ProjectFile | None, list[Problem], int]:
    """The checked file, if it is good; the problems to tell; how many more there are."""
    environments = overlaid.values.get(overlay.TABLE)
    whole = values if environments is None else {**values, overlay.TABLE: environments}
    checked, faults = _checked(whole)
    told = [problems.explain(fault, expanded.filled) for fault in faults[: problems.MOST_TOLD]]
    known = {problem.key for problem in told}
    root = overlaid.source.path.parent
    further = [
        *on_disk.check(root, values, may_be_missing),
        *cross.check(values),
        *cross_service.check(values),
        *outlines.check(overlaid),
    ]
    told += [problem for problem in further if problem.key not in known]
    return checked, told, max(0, len(faults) - problems.MOST_TOLD)


def _checked(values: Mapping[str, Any]) -> tuple[ProjectFile | None, list[ErrorDetails]]:
    # The validation error itself goes no further: it holds the values, and some of them are secrets.
    try:
        return ProjectFile.model_validate(values), []
    except ValidationError as error:
        return None, error.errors(include_url=False)
