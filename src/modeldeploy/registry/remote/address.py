"""Where a registry is: ``https://host[:port]/prefix``, and ``http://`` only on this machine."""

from __future__ import annotations

from dataclasses import dataclass
from urllib.parse import SplitResult, urlsplit

from modeldeploy.config.places import is_loopback
from modeldeploy.errors import ConfigError, RegistryRefused
from modeldeploy.registry.names import insist_on_name

HUB = "registry-1.docker.io"
"""What Docker Hub's registry is called on the network; people write docker.io."""
_HUB_NAMES = ("docker.io", "index.docker.io", HUB)


@dataclass(frozen=True, slots=True)
class Address:
    """A registry, or one prefix of it."""

    scheme: str
    host: str
    """With the port, where one was given; lower case."""
    prefix: str
    """Without slashes at its ends; may be empty."""

    @classmethod
    def parse(cls, url: str) -> Address:
        """Read a URL of a project file. Raises `ConfigError`, and never shows a password in it."""
        parts = _split(url)
        host = _host(parts)
        if parts.scheme == "http" and not is_loopback(parts.hostname or ""):
            raise ConfigError(
                f"the registry {host} has a URL without encryption, which mdeploy uses only on this machine",
                hint=f"write https://{host}{parts.path}; for a private certificate set registry.ca",
            )
        prefix = parts.path.strip("/")
        if prefix and not is_name(prefix):
            raise ConfigError(
                f"a registry cannot have the path {prefix!r:.80}",
                hint="use lower-case letters, digits, and . _ - between them, such as https://host/team",
            )
        return cls(parts.scheme, HUB if host in _HUB_NAMES else host, prefix)

    @property
    def origin(self) -> str:
        """Scheme and host: credentials go nowhere else."""
        return f"{self.scheme}://{self.host}"

    def __str__(self) -> str:
        return f"{self.origin}/{self.prefix}".rstrip("/")


def _split(url: str) -> SplitResult:
    try:
        parts = urlsplit(url)
        _ = parts.port
    except ValueError:
        parts = SplitResult("", "", "", "", "")
    if parts.scheme not in ("http", "https") or not parts.hostname or parts.query or parts.fragment:
        raise ConfigError(
            "the URL of the registry cannot be understood",
            hint="write registry.url as https://host/team or http://127.0.0.1:5000/team",
        )
    if parts.username or parts.password:
        raise ConfigError(
            f"the URL of the registry {parts.hostname} holds a user or a password",
            hint=f'docker login {parts.hostname}; or registry.password = "secret:env:NAME"',
        )
    return parts


def _host(parts: SplitResult) -> str:
    name = (parts.hostname or "").lower()
    name = f"[{name}]" if ":" in name else name
    default = {"http": 80, "https": 443}[parts.scheme]
    return name if parts.port in (None, default) else f"{name}:{parts.port}"


def is_name(name: str) -> bool:
    """Whether a repository may be called that."""
    try:
        insist_on_name(name)
    except RegistryRefused:
        return False
    return True


def origin_of(url: str) -> str:
    """Scheme and host of a URL, comparable to `Address.origin`. Raises ValueError for nonsense."""
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ValueError("no http(s) URL")
    return f"{parts.scheme}://{_host(parts)}"


def shown(url: str) -> str:
    """A URL for people: without user, password and query, which may carry signatures."""
    try:
        parts = urlsplit(url)
        return f"{parts.scheme}://{_host(parts)}{parts.path}"[:200]
    except (ValueError, KeyError):
        return "a URL that cannot be understood"
