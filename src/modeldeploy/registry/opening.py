"""From the project's settings to its registry. What another kind of registry needs is not loaded."""

from __future__ import annotations

from pathlib import Path

from modeldeploy.config.places import not_a_registry
from modeldeploy.config.settings import RegistrySettings
from modeldeploy.errors import ConfigError
from modeldeploy.registry.base import Registry


def open_registry(settings: RegistrySettings) -> Registry:
    """The registry that these settings name. Nothing of it is touched or asked yet.

    Secrets are looked up here. Raises `ConfigError` for an address that is none, and for a secret or a
    certificate that is not there.
    """
    reason = not_a_registry(settings.url)
    if reason:
        raise ConfigError(
            f"[registry] url: {reason}",
            hint='such as "./registry", "s3://bucket/team" or "https://host/team"',
        )
    if settings.is_folder:
        from modeldeploy.registry.folder import FolderRegistry

        return FolderRegistry(Path(settings.url))
    if settings.url.startswith("s3://"):
        return _bucket(settings)
    return _remote(settings)


def _bucket(settings: RegistrySettings) -> Registry:
    from modeldeploy.registry.s3 import S3Registry

    return S3Registry(
        settings.url, profile=settings.profile, region=settings.region, endpoint=settings.endpoint
    )


def _remote(settings: RegistrySettings) -> Registry:
    from modeldeploy.registry.remote import RemoteRegistry

    known = settings.credentials()
    return RemoteRegistry(
        settings.url, ca=settings.ca, username=known.get("username"), password=known.get("password")
    )
