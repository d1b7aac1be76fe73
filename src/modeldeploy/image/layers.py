"""The layers of a bundle's packages: big wheels alone, other wheels with native code, pure Python.

A layer changes when one of its packages does, so what is big and seldom changes stands alone, and pure
Python is one layer that images for all platforms share. Layers are compressed once, kept in the image cache
by digest, and found again by two keys: the lock's (nothing is installed) and the content's (one package of
another layer changed).
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from modeldeploy import files
from modeldeploy.bundle.manifest import canonical
from modeldeploy.bundle.progress import image_step
from modeldeploy.events import Emit
from modeldeploy.image import gz
from modeldeploy.image.base.compiler import Compiler
from modeldeploy.image.cache import ImageCache
from modeldeploy.image.pyc import byte_code
from modeldeploy.image.wheels import Distribution, Entry, Installer, by_uv, distributions
from modeldeploy.oci import tar
from modeldeploy.oci.descriptor import Descriptor, Platform
from modeldeploy.oci.manifest import LAYER_GZIP

SITE = "opt/mdeploy/site-packages"
"""Folder of the packages in the image."""
FORMAT = 1
"""Grows when the same packages would become other layers."""
LARGE = 4_000_000
"""Bytes of files from which a package has a layer of its own."""
_MOST_ALONE = 48
"""Engines stop at 125 or so layers."""
_DEPENDENCIES, _LAYERS = f"image-packages-{FORMAT}", f"image-layers-{FORMAT}"


@dataclass(frozen=True, slots=True)
class Requirement:
    """One package in a layer, for the bill of materials."""

    name: str
    version: str
    licence: str


@dataclass(frozen=True, slots=True)
class PackageLayer:
    """A layer of packages, compressed and in the cache."""

    kind: str
    """``wheel``, ``binary`` or ``pure``."""
    name: str
    """For people: ``numpy 2.4.6``, ``14 packages with native code``."""
    descriptor: Descriptor
    diff_id: str
    packages: tuple[Requirement, ...]

    def to_json(self) -> dict[str, object]:
        """JSON values."""
        return {
            "kind": self.kind,
            "name": self.name,
            "descriptor": self.descriptor.to_json(),
            "diffId": self.diff_id,
            "packages": [[each.name, each.version, each.licence] for each in self.packages],
        }

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> PackageLayer:
        """Reads what `to_json` wrote."""
        packages = tuple(Requirement(*each) for each in value["packages"])
        descriptor = Descriptor.from_json(value["descriptor"])
        return cls(str(value["kind"]), str(value["name"]), descriptor, str(value["diffId"]), packages)


@dataclass(frozen=True, slots=True)
class PackageLayers:
    """All layers of a lock's packages for a platform, bottom first. ``built`` are digests made just now."""

    layers: tuple[PackageLayer, ...]
    built: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Wanted:
    """What decides over the layers, down to the last byte."""

    lock: str
    """The lock's text."""
    platform: Platform
    python: str
    """The exact Python in the image, by which the lock's markers are judged."""
    compiler: Compiler
    compressor: str

    @property
    def key(self) -> str:
        """64 hexadecimal digits."""
        parts = [FORMAT, self.lock, str(self.platform), self.python, self.compiler.version, self.compressor]
        return hashlib.sha256(canonical(parts)).hexdigest()


@dataclass(frozen=True, slots=True)
class Group:
    """The packages of a layer to be."""

    kind: str
    members: tuple[Distribution, ...]

    @property
    def name(self) -> str:
        """For people."""
        if self.kind == "wheel":
            return f"{self.members[0].name} {self.members[0].version}"
        what = "of pure Python" if self.kind == "pure" else "with native code"
        count = len(self.members)
        return f"{count} package{'' if count == 1 else 's'} {what}"

    def key(self, wanted: Wanted) -> str:
        """64 hexadecimal digits that tell the layer."""
        members = [member.key for member in self.members]
        parts = [FORMAT, members, wanted.compiler.version, wanted.compressor]
        return hashlib.sha256(canonical(parts)).hexdigest()


def package_layers(
    wanted: Wanted, cache: ImageCache, *, emit: Emit, installer: Installer = by_uv
) -> PackageLayers:
    """The layers of a lock's packages; at once where they were made before. Raises `BundleError`."""
    note = files.home() / "cache" / _DEPENDENCIES / f"{wanted.key}.json"
    known = _known(note, cache)
    if known:
        return PackageLayers(known)
    with image_step(emit, "packages", f"fetching the packages for {wanted.platform}") as told:
        with cache.scratch() as folder:
            found = _install(wanted, folder, installer)
            groups = partition(found)
            told |= {"packages": len(found), "platform": str(wanted.platform)}
            told["message"] = f"fetched {len(found)} packages for {wanted.platform}"
            made = _make_all(groups, wanted, cache)
        told["layers"] = len(made)
    _note(note, [layer.to_json() for layer, _ in made])
    built = frozenset(layer.descriptor.digest for layer, new in made if new)
    return PackageLayers(tuple(layer for layer, _ in made), built)


def partition(found: Sequence[Distribution]) -> list[Group]:
    """Which packages share a layer: big ones alone, by name; then native code; then pure Python."""
    by_size = sorted(found, key=lambda each: (-each.size, each.name))
    alone = {each.name for each in by_size[:_MOST_ALONE] if each.size >= LARGE}
    rest = [each for each in found if each.name not in alone]
    groups = [Group("wheel", (each,)) for each in found if each.name in alone]
    binary = tuple(each for each in rest if not each.pure)
    pure = tuple(each for each in rest if each.pure)
    shared = [Group(kind, members) for kind, members in (("binary", binary), ("pure", pure)) if members]
    return sorted(groups, key=lambda group: group.name) + shared


def _known(note: Path, cache: ImageCache) -> tuple[PackageLayer, ...] | None:
    try:
        found = tuple(PackageLayer.from_json(each) for each in files.read_json(note) or ())
    except (OSError, ValueError, KeyError, TypeError):
        return None  # a damaged note: they are made again
    return found if found and all(cache.has(layer.descriptor) for layer in found) else None


def _note(path: Path, value: object) -> None:
    files.private(path.parent)
    files.write_json(path, value)


def _install(wanted: Wanted, folder: Path, installer: Installer) -> tuple[Distribution, ...]:
    lock, site = folder / "lock.txt", folder / "site"
    lock.write_text(wanted.lock)
    site.mkdir()
    installer(lock, wanted.platform, wanted.python, site)
    return distributions(site)


def _make_all(groups: Sequence[Group], wanted: Wanted, cache: ImageCache) -> list[tuple[PackageLayer, bool]]:
    """Every group's layer, and whether it is new. Several at a time: hashing and compressing leave Python."""
    with ThreadPoolExecutor(max_workers=min(4, os.cpu_count() or 1)) as pool:
        biggest_first = sorted(groups, key=lambda group: -sum(member.size for member in group.members))
        waiting = {id(group): pool.submit(_make, group, wanted, cache) for group in biggest_first}
        try:
            return [waiting[id(group)].result() for group in groups]
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)  # Ctrl-C waits for those at work only
            raise


def _make(group: Group, wanted: Wanted, cache: ImageCache) -> tuple[PackageLayer, bool]:
    note = files.home() / "cache" / _LAYERS / f"{group.key(wanted)}.json"
    known = _known(note, cache)
    if known:
        return known[0], False
    entries = [entry for member in group.members for entry in member.entries]
    with cache.scratch() as folder:
        compiled = byte_code(wanted.compiler, entries, f"/{SITE}", folder)
        plain = tar.layer_of(tar_entries([*entries, *compiled]), name=group.name)
        descriptor = keep_compressed(plain, folder / "layer", cache)
    packages = tuple(Requirement(each.name, each.version, each.licence) for each in group.members)
    layer = PackageLayer(group.kind, group.name, descriptor, plain.digest, packages)
    _note(note, [layer.to_json()])
    return layer, True


def keep_compressed(plain: tar.Layer, place: Path, cache: ImageCache) -> Descriptor:
    """Compress a layer and put it into the cache; ``place`` is a file of the moment."""
    with plain.open() as stream, place.open("wb") as made:
        digest, size = gz.compress(stream, made)
    descriptor = Descriptor(LAYER_GZIP, digest, size)
    cache.add_file(place, descriptor)
    return descriptor


def tar_entries(entries: Sequence[Entry]) -> list[tar.Entry]:
    """The entries of a layer with these files and all folders above them."""
    found = [
        tar.Entry.file(
            f"{SITE}/{entry.path}",
            entry.source,
            mode=0o755 if entry.executable else 0o644,
            sha256=entry.sha256,
        )
        for entry in entries
    ]
    above = {str(parent) for entry in found for parent in PurePosixPath(entry.path).parents}
    return found + [tar.Entry.folder(path) for path in above - {"."}]
