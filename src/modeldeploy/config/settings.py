"""What the tables of the project file mean to those who act on them: paths absolute, times in seconds.

Standard library only, so that everybody can import these without the schema.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from modeldeploy.config import places, secrets
from modeldeploy.errors import ConfigError
from modeldeploy.model import Sealed


@dataclass(frozen=True, slots=True)
class RegistrySettings:
    """Where bundles and images are kept."""

    url: str
    """An absolute path, ``s3://...``, ``https://...``, or ``http://...`` of this machine. No password."""
    root: Path
    """The project's folder: references to secrets are relative to it."""
    ca: Path | None = None
    profile: str | None = None
    region: str | None = None
    endpoint: str | None = None
    username: str | None = field(default=None, repr=False)
    """As in the file: a name, or a reference to a secret."""
    password: str | None = field(default=None, repr=False)
    """A reference to a secret."""

    @property
    def is_folder(self) -> bool:
        """True for a registry that is a folder."""
        return places.is_folder(self.url)

    def credentials(self) -> Sealed:
        """``username`` and ``password`` as far as the file names them, looked up now.

        Raises `ConfigError` for a secret that is not there.
        """
        named = {"username": self.username, "password": self.password}
        return secrets.resolve_all({name: text for name, text in named.items() if text}, self.root)


@dataclass(frozen=True, slots=True)
class ImageSettings:
    """How a bundle becomes an image."""

    base: str = places.DEBIAN
    """``debian``, ``HOST/NAME@sha256:...`` or ``oci:`` and an absolute path."""
    packages: tuple[str, ...] = ()
    platforms: tuple[str, ...] = (places.FIRST_PLATFORM,)
    engine: str = "none"
    run: tuple[str, ...] = ()
    user: int = 65532


@dataclass(frozen=True, slots=True)
class Identity:
    """Who may have signed without a key."""

    subject: str
    issuer: str


@dataclass(frozen=True, slots=True)
class SigningSettings:
    """Who signs, and whose signatures count."""

    root: Path
    key: str | None = None
    """An absolute path, ``env://VARIABLE``, a reference to a secret, ``PLUGIN://...`` or ``keyless``."""
    public_keys: tuple[str, ...] = ()
    """Absolute paths, or ``PLUGIN://...``."""
    identities: tuple[Identity, ...] = ()


@dataclass(frozen=True, slots=True)
class PolicySettings:
    """What a bundle must have behind it before it may go to a target."""

    target: str
    sources: tuple[str, ...] = ()
    """Targets, one of which must run it as stable; none: it may come from anywhere."""
    require: frozenset[str] = frozenset()
    """Of ``test``, ``golden``, ``signed``, ``scanned``."""
    approvals: int = 0
    min_age: float = 0.0
    """Seconds that it must have been stable there."""

    @property
    def asks_nothing(self) -> bool:
        """True where every bundle may go to the target."""
        return not (self.sources or self.require or self.approvals or self.min_age)


@dataclass(frozen=True, slots=True)
class ScanSettings:
    """How known vulnerabilities are looked for."""

    database: Path | None = None
    ignore: Mapping[str, str] = field(default_factory=dict)
    """Ids of vulnerabilities that do not matter here, each with the reason."""
    trust: Mapping[str, str] = field(default_factory=dict)
    """Files of the project whose code may be run, each with the reason."""


def registry(table: Mapping[str, Any], root: Path) -> RegistrySettings:
    """The registry of a project; ``table`` is its ``[registry]``, checked or just read.

    Raises `ConfigError` where the address is none.
    """
    url = _text(table, "url")
    reason = places.not_a_registry(url) if url else None
    if reason:
        raise ConfigError(f"registry.url: {reason}; expected {places.REGISTRY_RULE}")
    ca = _text(table, "ca")
    return RegistrySettings(
        url=_registry_url(url, root),
        root=root,
        ca=root / ca if ca else None,
        profile=_text(table, "profile"),
        region=_text(table, "region"),
        endpoint=_text(table, "endpoint"),
        username=_text(table, "username"),
        password=_text(table, "password"),
    )


def _registry_url(url: str | None, root: Path) -> str:
    if url is None:
        from modeldeploy import files  # loads json, which an address has no use for

        return str(files.home() / places.OWN_REGISTRY_FOLDER)
    return str((root / url).resolve()) if places.is_folder(url) else url.rstrip("/")


def policy(target: str, sources: tuple[str, ...], require: tuple[str, ...], min_age: float) -> PolicySettings:
    """A policy, with the number of approvals taken out of what it requires."""
    approvals = [int(item.partition(":")[2]) for item in require if item.startswith("approved:")]
    plain = frozenset(item for item in require if not item.startswith("approved:"))
    return PolicySettings(target, sources, plain, max(approvals, default=0), min_age)


def key(text: str, root: Path) -> str:
    """A key as the file names it, its path made absolute."""
    return text if text == places.KEYLESS or places.is_reference(text) else str(root / text)


def _text(table: Mapping[str, Any], name: str) -> str | None:
    value = table.get(name)
    return value if isinstance(value, str) and value else None
