"""From what a project says to its bases: by the lock, or locked now."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

from modeldeploy.bundle.progress import image_step
from modeldeploy.errors import BundleError, ModelDeployError
from modeldeploy.events import Emit
from modeldeploy.image.base import compiler as compilers
from modeldeploy.image.base import debian, interpreter, reference, registry_base
from modeldeploy.image.base.compiler import Compiler
from modeldeploy.image.base.lockfile import FILENAME, Compressor, DebianBase, ImageLock, ReferencedBase
from modeldeploy.image.base.model import Base
from modeldeploy.image.base.reference import Connect, Reference
from modeldeploy.image.cache import ImageCache
from modeldeploy.oci.descriptor import Blob, Descriptor, Platform

DEBIAN = "debian"

Held = Callable[[Descriptor], Blob | None]
"""Finds a layer in the project's registry; None where it is not there."""


@dataclass(frozen=True, slots=True)
class Wish:
    """What a project says about the base of its images."""

    root: Path
    """The project's folder."""
    base: str
    """``debian``, ``debian:bookworm``, ``host/repository[:tag][@sha256:...]`` or ``oci:FOLDER[:tag]``."""
    python: str
    """What the bundle's lock is for, e.g. ``3.11``."""
    packages: tuple[str, ...] = ()
    """Debian packages beyond those of every base."""
    interpreter: str = ""
    """Path of Python in a base by reference that does not say it itself."""

    @property
    def is_debian(self) -> bool:
        """True for a base that mdeploy makes itself."""
        return self.base.partition(":")[0] == DEBIAN

    @property
    def portable(self) -> str:
        """``base`` without a path of this machine, for the lock."""
        folder = self.base.removeprefix(reference.LAYOUT)
        if folder == self.base or not Path(folder).is_absolute():
            return self.base
        return reference.LAYOUT + Path(os.path.relpath(folder, self.root)).as_posix()


@dataclass(frozen=True, slots=True)
class Chosen:
    """The bases of an image, one per platform in the order asked for, and what goes with them."""

    lock: ImageLock
    """As it is now; write it if it is not what it was."""
    bases: tuple[Base, ...]
    compiler: Compiler


@dataclass(frozen=True, slots=True)
class Chooser:
    """Where bases and their parts come from."""

    cache: ImageCache
    emit: Emit
    connect: Connect
    held: Held = lambda _: None

    def choose(
        self, wish: Wish, platforms: Sequence[Platform], former: ImageLock | None, *, upgrade: bool = False
    ) -> Chosen:
        """The bases, by the former lock as far as it fits the wish; with ``upgrade`` all is locked anew.

        Raises `BundleError` for what cannot be had, with what to do instead.
        """
        lock = self._locked(wish, platforms, None if upgrade else former)
        _insist_on_compressor(lock.compressor)
        compiler = Compiler(lock.compiler, prepare=lambda: self._compiler(wish, lock))
        bases = []
        for platform in platforms:
            base, entry = self._base(wish, lock.platforms[str(platform)], platform, compiler)
            lock = lock.with_platform(str(platform), entry)
            bases.append(base)
        return Chosen(lock, tuple(bases), compiler)

    def _locked(self, wish: Wish, platforms: Sequence[Platform], former: ImageLock | None) -> ImageLock:
        """The lock with an entry for every platform; those that it has are taken as they are."""
        packages = tuple(sorted(set(wish.packages)))
        asked = (wish.portable, packages, wish.python)
        lock = former if former and (former.base, former.packages, former.python) == asked else None
        known = lock.platforms if lock else {}
        wanted = [platform for platform in _with_own(wish, platforms, lock) if str(platform) not in known]
        if not wanted and lock:
            return lock
        with image_step(self.emit, "base", f"locking the base {wish.portable}") as told:
            found = {str(platform): self._resolve(wish, platform) for platform in wanted}
            told["message"] = f"locked the base {wish.portable} for {', '.join(found)}"
        if not lock:
            exact = next(iter(found.values())).python
            compiler = exact if wish.is_debian else _compiler_like(exact).version
            lock = ImageLock(wish.portable, packages, wish.python, compiler, Compressor.here())
        return replace(lock, platforms={**known, **found})

    def _resolve(self, wish: Wish, platform: Platform) -> DebianBase | ReferencedBase:
        if wish.is_debian:
            return debian.resolve(debian.suite_of(wish.base, wish.python), wish.packages, platform)
        if wish.packages:
            raise BundleError(
                f"[image] packages cannot be added to the base {wish.portable}: its files are not ours",
                hint='take [image] base = "debian", or [image] engine = "docker"',
            )
        name = Reference.parse(wish.base)
        place = reference.place_of(name, wish.root, self.connect)
        return registry_base.resolve(name, place, platform, python=wish.python, interpreter=wish.interpreter)

    def _base(
        self, wish: Wish, locked: DebianBase | ReferencedBase, platform: Platform, compiler: Compiler
    ) -> tuple[Base, DebianBase | ReferencedBase]:
        if isinstance(locked, ReferencedBase):
            name = Reference.parse(wish.base)
            place = reference.place_of(name, wish.root, self.connect)
            return registry_base.base_of(locked, name, place, platform), locked
        if locked.layer and not self.cache.has(locked.layer.descriptor):
            blob = self.held(locked.layer.descriptor)
            if blob:
                return debian.base_of(locked, locked.layer, platform, blob), locked
        return self._debian().make(locked, platform, compiler)

    def _compiler(self, wish: Wish, lock: ImageLock) -> Compiler:
        """The locked CPython: that of a Debian base for this machine, else one that is installed here."""
        own = interpreter.here()
        if wish.is_debian and own.os == "linux":
            with suppress(BundleError):
                locked = lock.platforms.get(str(own)) or self._resolve(wish, own)
                if isinstance(locked, DebianBase) and locked.python == lock.compiler:
                    return self._debian().compiler(locked)
        return compilers.installed(lock.compiler)

    def _debian(self) -> debian.Debian:
        return debian.Debian(self.cache, Compressor.here().label, self.emit)


def _with_own(wish: Wish, platforms: Sequence[Platform], lock: ImageLock | None) -> tuple[Platform, ...]:
    """A new lock of Debian packages has this machine's platform too: its Python compiles for the others."""
    own = interpreter.here()
    if lock or not wish.is_debian or str(own) not in ("linux/amd64", "linux/arm64"):
        return tuple(platforms)
    return tuple(dict.fromkeys((*platforms, own)))


def _compiler_like(python: str) -> Compiler:
    """A CPython of this machine for a base by reference: of its patch release where that is here."""
    try:
        return compilers.installed(python)
    except ModelDeployError:
        return compilers.installed(".".join(python.split(".")[:2]))


def _insist_on_compressor(locked: Compressor) -> None:
    here = Compressor.here()
    if here != locked:
        raise BundleError(
            f"{FILENAME} was made with {locked.label}, and this installation has {here.label}, which may "
            "write other bytes",
            hint=f"pip install {locked.name}=={locked.version}, or lock anew: mdeploy image --upgrade",
        )
