"""What an image stands on, for all its platforms: bases, compiler and compressor, by the image lock."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path

from modeldeploy.config.settings import ImageSettings
from modeldeploy.errors import ConfigError
from modeldeploy.events import Emit
from modeldeploy.image.base import lockfile
from modeldeploy.image.base.choose import Chooser, Held, Wish
from modeldeploy.image.base.compiler import Compiler
from modeldeploy.image.base.model import Base
from modeldeploy.image.base.reference import Connect
from modeldeploy.image.cache import ImageCache
from modeldeploy.oci.descriptor import Platform

PLATFORMS = ("linux/amd64", "linux/arm64")


@dataclass(frozen=True, slots=True)
class Foundation:
    """Bases in the order of the platforms, and what compiles and compresses."""

    bases: tuple[Base, ...]
    compiler: Compiler
    compressor: str


@dataclass(frozen=True, slots=True)
class Ground:
    """Of a project, what its image's foundation is laid by."""

    root: Path
    """The project's folder, with its image lock."""
    settings: ImageSettings
    connect: Connect
    """The way to the registry that the base is in."""
    held: Held = lambda _: None
    """Finds a base's layer in the project's registry, so that it need not be made here."""

    def lay(self, python: str, cache: ImageCache, *, emit: Emit, upgrade: bool = False) -> Foundation:
        """The foundation that the lock names. What it does not name yet is resolved, and locked.

        Raises `BundleError` for a base that cannot be had or has another Python.
        """
        former = lockfile.read(self.root)
        wish = Wish(self.root, self.settings.base, python, packages=self._packages)
        chooser = Chooser(cache, emit=emit, connect=self.connect, held=self.held)
        chosen = chooser.choose(wish, platforms(self.settings.platforms), former, upgrade=upgrade)
        lockfile.write(self.root, chosen.lock)
        return Foundation(chosen.bases, chosen.compiler, chosen.lock.compressor.label)

    @property
    def _packages(self) -> tuple[str, ...]:
        """Debian packages for our own base; on another base, an engine installs them."""
        own = self.settings.base.partition(":")[0] == "debian"
        return self.settings.packages if own or self.settings.engine == "none" else ()


def platforms(names: Sequence[str]) -> tuple[Platform, ...]:
    """Platforms by name, each once. Raises `ConfigError` for one that images are not made for."""
    found = []
    for name in dict.fromkeys(names):
        if name not in PLATFORMS:
            near = get_close_matches(name, PLATFORMS, n=1)
            raise ConfigError(
                f"'{name}' is no platform of images; there are {', '.join(PLATFORMS)}",
                hint=f"did you mean {near[0]}?" if near else None,
            )
        system, _, machine = name.partition("/")
        found.append(Platform(system, machine))
    return tuple(found)
