"""Ways to the registries that bases are in, with the project's own settings for its own."""

from __future__ import annotations

from urllib.parse import urlsplit

from modeldeploy.config.settings import RegistrySettings
from modeldeploy.errors import RegistryError
from modeldeploy.image.base.choose import Held
from modeldeploy.image.base.reference import Connect, InRegistry
from modeldeploy.oci.descriptor import Blob, Descriptor
from modeldeploy.registry.base import Repository


def anywhere(own: RegistrySettings | None = None) -> Connect:
    """A way to any registry; credentials are those that docker and podman have, too.

    The project's ``own`` is reached by its settings, and what is in it can be mounted there.
    """

    def connect(host: str, name: str) -> tuple[Repository, tuple[str, ...]]:
        from modeldeploy.registry.remote import RemoteRegistry

        prefix = _prefix(own, host)
        if own is None or prefix is None:
            return RemoteRegistry(f"{_scheme(host)}://{host}").repository(name), ()
        known = own.credentials()
        registry = RemoteRegistry(
            own.url.removesuffix("/").removesuffix(prefix),
            ca=own.ca,
            username=known.get("username"),
            password=known.get("password"),
        )
        inside = name.removeprefix(f"{prefix.strip('/')}/") if prefix else name
        return registry.repository(name), (inside if not prefix or inside != name else f"/{name}",)

    return connect


def held_in(repository: Repository) -> Held:
    """Finds layers in a repository. One that does not answer has none: an image can do without it."""

    def held(descriptor: Descriptor) -> Blob | None:
        try:
            there = repository.has_blob(descriptor.digest)
        except RegistryError:
            return None
        return InRegistry(repository).blob(descriptor) if there else None

    return held


def _prefix(own: RegistrySettings | None, host: str) -> str | None:
    """The path of the project's registry with a slash before it, if it is on that host."""
    parts = urlsplit(own.url) if own and own.url.startswith(("http://", "https://")) else None
    if not parts or parts.netloc != host:
        return None
    return parts.path.rstrip("/")


def _scheme(host: str) -> str:
    """Without encryption only on this machine, as docker does."""
    name = host.rsplit(":", 1)[0] if not host.endswith("]") else host
    return "http" if name in ("localhost", "127.0.0.1", "[::1]") else "https"
