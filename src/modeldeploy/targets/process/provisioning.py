"""How a bundle becomes a running worker: its environment, its command, and what it may see of ours."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Protocol

from modeldeploy.model import RevisionSpec
from modeldeploy.targets.process.lifeline import Command

_HARMLESS = ("PATH", "HOME", "USER", "LOGNAME", "LANG", "LC_ALL", "LC_CTYPE", "TZ", "TMPDIR")
_FOR_INSTALLING = ("UV_", "PIP_", "SSL_CERT_", "XDG_CACHE_HOME", "NETRC", "REQUESTS_CA_BUNDLE")
_PROXIES = ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY")


class Provisioning(Protocol):
    """What the supervisor must know about bundles."""

    def preparation(self, spec: RevisionSpec) -> Command | None:
        """What has to run before the revision's workers can; None when they can.

        Raises `ModelDeployError` for a bundle that is not usable.
        """

    def worker(self, spec: RevisionSpec, socket: Path) -> Command:
        """One worker that serves HTTP on that unix socket. Raises `ModelDeployError`."""


class BundleProvisioning:
    """Real bundles: an environment made from the bundle's lock, one serving process per worker."""

    def preparation(self, spec: RevisionSpec) -> Command | None:
        from modeldeploy.bundle.environment import Environment

        if Environment.of(Path(spec.bundle_path)).ready:
            return None
        module = "modeldeploy.bundle.environment"
        return Command([sys.executable, "-P", "-m", module, spec.bundle_path], supervisor_environment())

    def worker(self, spec: RevisionSpec, socket: Path) -> Command:
        from modeldeploy.bundle import launch

        argv, env = launch.command(Path(spec.bundle_path), socket=socket)
        return Command(argv, {**worker_environment(), **env, **spec.env})


def worker_environment() -> dict[str, str]:
    """What a worker gets of our environment: where things are and how people write, no secrets."""
    return {name: os.environ[name] for name in _HARMLESS if name in os.environ}


def supervisor_environment(environment: Mapping[str, str] | None = None) -> dict[str, str]:
    """What the supervisor gets of a user's: besides, what finding and installing packages needs."""
    own = ("MDEPLOY_", "PYTHONPATH", *_FOR_INSTALLING)
    return {
        name: value
        for name, value in (os.environ if environment is None else environment).items()
        if name in _HARMLESS or name.startswith(own) or name.upper() in _PROXIES
    }
