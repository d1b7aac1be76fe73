"""A client of the OCI distribution protocol: any registry that speaks it keeps bundles and images.

Source: https://github.com/opencontainers/distribution-spec/blob/v1.1.1/spec.md
"""

from modeldeploy.registry.remote.repository import RemoteRegistry, RemoteRepository

__all__ = ["RemoteRegistry", "RemoteRepository"]
