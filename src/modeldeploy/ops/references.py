"""From what users call a bundle to the bundle: on this machine, or in the registry.

A reference is ``NAME:VERSION``, ``VERSION``, ``sha256:…`` (8 digits or more) or ``@ALIAS``. Aliases are
in the registry alone; everything else is looked for on this machine first.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from difflib import get_close_matches
from pathlib import Path

from modeldeploy.bundle import artifact, fetching
from modeldeploy.bundle.artifact import Packed
from modeldeploy.bundle.build import Built
from modeldeploy.bundle.store import BundleStore
from modeldeploy.config import settings
from modeldeploy.config.names import NAME, matches
from modeldeploy.config.peek import peek_registry
from modeldeploy.config.places import REGISTRY_RULE, nearest_registry, not_a_registry
from modeldeploy.errors import BundleError, ConfigError, RegistryRefused, RegistryUnavailable
from modeldeploy.events import Emit
from modeldeploy.oci.descriptor import short
from modeldeploy.registry.base import Repository
from modeldeploy.registry.opening import open_registry

_DIGITS = 8
_SHOWN = 8


@dataclass(frozen=True, slots=True)
class Reference:
    """What a user calls a bundle, taken apart."""

    name: str
    """Of the bundle, and so of its repository."""
    version: str = ""
    digest: str = ""
    """``sha256:`` and 8 digits or more."""
    alias: str = ""

    @classmethod
    def of(cls, text: str, project: str) -> Reference:
        """Take a reference apart; ``project`` is the name where none is given. Raises `ConfigError`."""
        if text.startswith("@"):
            return cls(project, alias=alias_name(text))
        if text.startswith("sha256:"):
            return cls(project, digest=text.lower())
        name, colon, version = text.rpartition(":")
        if not version or (colon and not matches(NAME, name)):
            raise ConfigError(
                f"'{text[:80]}' is no reference to a bundle",
                hint="such as 1.0.0, digits:1.0.0, sha256:… (8 digits or more) or @prod",
            )
        return cls(name or project, version=version)

    def __str__(self) -> str:
        return f"@{self.alias}" if self.alias else self.digest or f"{self.name}:{self.version}"


def alias_name(text: str) -> str:
    """An alias without its @. Raises `ConfigError` for what can be none."""
    name = text.removeprefix("@")
    if matches(NAME, name):
        return name
    raise ConfigError(
        f"'{text[:80]}' can be no alias",
        hint="lowercase letters, digits and dashes, beginning with a letter: @staging",
    )


def repository_at(root: Path, name: str, url: str | None = None) -> Repository:
    """A repository of the project's registry, or of the one at an address. Raises `ConfigError`.

    Of another registry the project's credentials are not sent to it, unless it is on the same host.
    """
    own = peek_registry(root)
    if url is None:
        return open_registry(own).repository(name)
    reason = not_a_registry(url)
    if reason:
        raise ConfigError(f"registry '{_shown(url)}': {reason}", hint=_instead_of(url))
    other = settings.registry({"url": url}, Path.cwd())
    if other.is_folder and not url.startswith((".", "/")) and not Path(url).is_dir():
        raise ConfigError(f"there is no folder '{url}' here", hint=f"for a new one, write ./{url}")
    if not other.is_folder and _host(other.url) == _host(own.url):
        other = replace(own, url=other.url)
    return open_registry(other).repository(name)


def locate(repository: Repository, ref: Reference) -> Packed | None:
    """The bundle of a reference in a repository; None where there is none. Raises `RegistryError`."""
    tag = _tag_of(repository, ref)
    found = repository.tag(tag) if tag else None
    if found is None:
        return None
    packed = artifact.read(repository, found)
    _insist_on_same(repository, ref, packed)
    return packed


def insist(repository: Repository, ref: Reference) -> Packed:
    """The same. Raises `BundleError`, naming what there is, where there is none."""
    return locate(repository, ref) or _fail(repository, ref)


def obtain(root: Path, project: str, text: str, *, emit: Emit) -> Built:
    """The bundle of a reference, fetched from the project's registry if it is not on this machine.

    Raises `BundleError` where it is in neither, `RegistryUnavailable` where the registry has to tell.
    """
    ref = Reference.of(text, project)
    if ref.alias:
        return pull_into_store(repository_at(root, ref.name), ref, emit=emit)
    try:
        found = BundleStore().find(ref.name, ref.digest or ref.version)
        return Built(found.ref, found.path, unchanged=True)
    except BundleError as error:
        return _from_registry(root, ref, error, emit)


def pull_into_store(repository: Repository, ref: Reference, *, emit: Emit) -> Built:
    """Fetch a bundle that is in a repository. Raises `BundleError`."""
    stored, new = fetching.fetch(insist(repository, ref), repository, BundleStore(), emit=emit)
    return Built(stored.ref, stored.path, unchanged=not new)


def _from_registry(root: Path, ref: Reference, missing: BundleError, emit: Emit) -> Built:
    """What is not on this machine, from the registry; where that cannot help, what the store said."""
    try:
        repository = repository_at(root, ref.name)
        packed = locate(repository, ref)
    except RegistryUnavailable as error:
        raise RegistryUnavailable(
            f"{missing.message}; and the registry did not answer: {error.message}", hint=error.hint
        ) from error
    if packed is None:
        raise BundleError(
            f"{missing.message}; nor is it in {repository.where}", hint=missing.hint, details=missing.details
        ) from missing
    stored, new = fetching.fetch(packed, repository, BundleStore(), emit=emit)
    return Built(stored.ref, stored.path, unchanged=not new)


def _tag_of(repository: Repository, ref: Reference) -> str | None:
    if ref.alias or ref.version:
        return artifact.bundle_tag(ref.alias or ref.version)
    digits = ref.digest.removeprefix("sha256:")
    if len(digits) == 64:
        return artifact.digest_tag(ref.digest)
    start = f"sha256-{digits}"
    found = [tag for tag in repository.tags() if tag.startswith(start) and tag.endswith(".bundle")]
    if len(digits) < _DIGITS or len(found) > 1:
        told = f"could be {len(found)} bundles in {repository.where}" if len(found) > 1 else "is too short"
        raise BundleError(
            f"{ref} {told}", hint=f"give {_DIGITS} digits or more, enough to tell bundles apart"
        )
    return found[0] if found else None


def _insist_on_same(repository: Repository, ref: Reference, packed: Packed) -> None:
    """A tag moves by its name only: what it points to must be the bundle of that name."""
    found = packed.ref
    wrong = (
        found.name != ref.name
        or (ref.version and found.version != ref.version)
        or (ref.digest and not found.digest.startswith(ref.digest))
    )
    if wrong:
        raise RegistryRefused(
            f"{repository.where} gives {found} ({short(found.digest)}) for {ref}: "
            "somebody has moved its tags",
            hint="find out who: mdeploy audit; then pull it by its digest",
            details={"wanted": str(ref), "found": found.digest},
        )


def _fail(repository: Repository, ref: Reference) -> Packed:
    tags = repository.tags()
    versions, names = versions_in(tags), candidates_in(tags)
    if ref.alias:
        near = get_close_matches(ref.alias, names, n=1)
        raise BundleError(
            f"there is no alias @{ref.alias} in {repository.where}{_also(near, '@')}",
            hint="mdeploy alias"
            if near
            else f"mdeploy alias @{ref.alias} {versions[-1] if versions else 'VERSION'}",
        )
    near = get_close_matches(ref.version, versions, n=1) if ref.version else []
    there = f"; there are {', '.join(versions[-_SHOWN:])}" if versions else ", which has no bundle yet"
    raise BundleError(
        f"{ref} is not in {repository.where}{there}{_also(near)}",
        hint=f"push it from the machine that has it: mdeploy push {'VERSION' if ref.digest else ref}",
    )


def versions_in(tags: Sequence[str]) -> list[str]:
    """What may be versions among a repository's tags, in their order."""
    return [
        name.replace("_", "+")
        for name in (tag.removesuffix(".bundle") for tag in tags if tag.endswith(".bundle"))
        if not name.startswith(("sha256-", "_")) and not matches(NAME, name)
    ]


def candidates_in(tags: Sequence[str]) -> list[str]:
    """What may be aliases among a repository's tags: versions may have such names too."""
    return [
        name
        for name in (tag.removesuffix(".bundle") for tag in tags if tag.endswith(".bundle"))
        if matches(NAME, name) and not name.startswith("sha256-")
    ]


def _also(near: Sequence[str], before: str = "") -> str:
    return f"; did you mean {before}{near[0]}?" if near else ""


def _instead_of(url: str) -> str:
    near = nearest_registry(url)
    return f"did you mean {near}?" if near and near != url else f"give {REGISTRY_RULE}"


def _shown(url: str) -> str:
    """An address without the password or token that may be in it."""
    return re.sub(r"[^/\s]*@", "***@", re.split("[?#]", url)[0])[:200]


def _host(url: str) -> str:
    return url.partition("://")[2].partition("/")[0].lower()
