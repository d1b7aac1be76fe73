"""Fetching a bundle from a repository: only what is missing here, and on from where it was cut off.

What comes from a registry is not believed. Its manifest is named by its digest; that lists every file with
its digest, and a file is given its name in the store only after its content was found to be that.
"""

from __future__ import annotations

import io
import os
import shutil
import time
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO

from modeldeploy import files
from modeldeploy.bundle import layers
from modeldeploy.bundle.artifact import Packed, pull_facts
from modeldeploy.bundle.digests import sha256_of
from modeldeploy.bundle.layers import Group
from modeldeploy.bundle.manifest import BUILD_FACTS, MANIFEST, MTIME, File, Manifest
from modeldeploy.bundle.store import BundleStore, Stored
from modeldeploy.errors import BundleError, RegistryRefused
from modeldeploy.events import Emit
from modeldeploy.oci import unpack
from modeldeploy.oci.blobs import Blobs, WrongContent
from modeldeploy.oci.descriptor import Blob, Descriptor, short
from modeldeploy.oci.unpack import Wanted
from modeldeploy.registry.base import Moved, Repository
from modeldeploy.registry.transfer import Job, Stop, transfer

_STALE = 14 * 86400.0
"""Seconds after which a download that nobody went on with is forgotten."""
_CHUNK = 1 << 20
_NEIGHBOURS = 3
"""How many bundles of the same name are looked at for small files that need not be fetched."""


def fetch(packed: Packed, repository: Repository, store: BundleStore, *, emit: Emit) -> tuple[Stored, bool]:
    """Bring a bundle into the store; False if it was there already.

    Raises `BundleError` where its version means other content on this machine, `RegistryRefused` for
    content that is not what the manifest says, `DiskFull`.
    """
    ref = packed.ref
    _refuse_clash(packed, store, repository)
    cache = files.private(files.home() / "cache" / "pulls")
    with files.locked(cache / f"{ref.digest[7:39]}.lock"):  # of two who fetch the same, one does
        if known := _known(store, packed):
            return known, False
        _forget_old(cache)
        with store.workspace() as folder:
            fetching = _Fetching(packed, repository, store, Blobs(cache), folder)
            transfer(fetching.jobs(), emit=emit, direction="down")
            fetching.finish()
            stored, new = store.add(folder, packed.bundle)
            fetching.forget()
    return stored, new


class _Fetching:
    """The files of one bundle, on their way into a workspace of the store."""

    def __init__(
        self, packed: Packed, repository: Repository, store: BundleStore, downloads: Blobs, folder: Path
    ) -> None:
        self._packed, self._repository, self._store = packed, repository, store
        self._downloads, self._folder = downloads, folder
        self._copies: list[tuple[Path, Path]] = []
        self._used: list[str] = []

    def jobs(self) -> list[Job[str]]:
        """What has to be fetched; what is on this machine already is put in place at once."""
        groups, descriptors = layers.groups_of(self._packed.bundle), self._packed.manifest.layers
        if [layers.size_of(group) for group in groups] != [each.size for each in descriptors]:
            # Divided in another way, by another mdeploy: the files decide, not the layers.
            everything = Group("", tuple(file for group in groups for file in group.files))
            return [self._unpacking(everything, each) for each in descriptors]
        found: dict[str, Job[str]] = {}
        for group, descriptor in zip(groups, descriptors, strict=True):
            single = group.single
            if single is None:
                if not self._copied(group):
                    found[descriptor.digest] = self._unpacking(group, descriptor)
            elif single.sha256 in found:
                self._copies.append((self._place(single), self._first(groups, single.sha256)))
            elif not self._taken(single):
                found[single.sha256] = self._receiving(group, single, descriptor)
        return list(found.values())

    def finish(self) -> None:
        """See that every file is there, and give all the one time and the modes of the store."""
        facts = pull_facts(self._repository, self._packed.ref)
        if facts is not None:
            (self._folder / BUILD_FACTS).write_bytes(facts)
        for place, source in self._copies:
            place.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(source, place)
        listed = {file.path: file.executable for file in self._packed.bundle.files}
        for path in (*listed, MANIFEST, *([BUILD_FACTS] if facts is not None else [])):
            place = self._folder / path
            if not place.is_file():
                raise self._refused(f"{path} is in none of its layers")
            os.utime(place, ns=(MTIME, MTIME))
            place.chmod(0o555 if listed.get(path) else 0o444)

    def forget(self) -> None:
        """Let go of downloads that are in the store now."""
        for digest in self._used:
            with suppress(OSError):
                self._downloads.path(digest).unlink()

    def _receiving(self, group: Group, file: File, layer: Descriptor) -> Job[str]:
        """Fetch a file out of the middle of its layer, whose header and padding say nothing new."""
        wanted, begin = Descriptor("", f"sha256:{file.sha256}", file.size), layers.before(group)
        place = self._place(file)

        def work(moved: Moved, stop: Stop) -> str:
            def opened(start: int) -> BinaryIO:
                return _piece(self._repository, layer, begin + start, file.size - start)

            for _ in range(3):  # another process may take the same download for its own bundle
                self._download(file.path, stop.guarding(Blob(wanted, opened)), moved)
                with suppress(FileNotFoundError):
                    place.parent.mkdir(parents=True, exist_ok=True)
                    files.move(self._downloads.path(wanted.digest), place)
                    break
            return "received"

        return Job(group.name, file.size, work, str)

    def _unpacking(self, group: Group, layer: Descriptor) -> Job[str]:
        """Fetch a layer, and take out of it the files that it should hold."""
        wanted = {file.path: Wanted(file.sha256, file.size, file.executable) for file in group.files}
        if layer.size > unpack.room(wanted):
            raise self._refused(f"a layer has {layer.size} bytes, more than its files can be")
        self._used.append(layer.digest)

        def work(moved: Moved, stop: Stop) -> str:
            def opened(start: int) -> BinaryIO:
                return _piece(self._repository, layer, start, layer.size - start)

            self._download(group.name, stop.guarding(Blob(layer, opened)), moved)
            try:
                with self._downloads.open(layer) as stream:
                    unpack.files(stream, layer, self._folder, wanted, below=layers.FOLDER)
            except ValueError as error:
                raise self._refused(str(error)) from error
            return "received"

        return Job(group.name or short(layer.digest), layer.size, work, str)

    def _download(self, name: str, blob: Blob, moved: Moved) -> None:
        try:
            self._downloads.add(blob, moved=moved)
        except WrongContent as error:
            told = f"{name or short(blob.descriptor.digest)} has other content"
            raise self._refused(told) from error

    def _taken(self, file: File) -> bool:
        place = self._place(file)
        place.parent.mkdir(parents=True, exist_ok=True)
        return self._store.take(file, place)

    def _copied(self, group: Group) -> bool:
        """Take small files from another bundle of the same name here that has all of them."""
        for bundle in self._neighbours():
            with suppress(OSError, BundleError):
                if set(group.files) <= set(Manifest.read(bundle).files):
                    return all(self._copy(bundle, file) for file in group.files)
        return False

    def _copy(self, bundle: Path, file: File) -> bool:
        place = self._place(file)
        place.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(bundle / file.path, place)
        if sha256_of(place) == file.sha256:
            return True
        place.unlink()
        return False

    def _neighbours(self) -> list[Path]:
        found = [ref for ref in self._store.refs() if ref.name == self._packed.ref.name]
        return [self._store.path_of(ref.digest) for ref in reversed(found[-_NEIGHBOURS:])]

    def _first(self, groups: Iterable[Group], sha256: str) -> Path:
        return next(self._place(one.single) for one in groups if one.single and one.single.sha256 == sha256)

    def _place(self, file: File) -> Path:
        return self._folder / file.path

    def _refused(self, how: str) -> RegistryRefused:
        ref = self._packed.ref
        return RegistryRefused(
            f"{ref} in {self._repository.where} is not what its manifest says: {how}",
            hint="look which piece is damaged: mdeploy verify "
            f"{ref}; then push it again from a machine that has it",
            details={"digest": ref.digest},
        )


class _Piece(io.RawIOBase):
    """So many bytes of a repository's content, from an offset."""

    def __init__(self, repository: Repository, descriptor: Descriptor, start: int, size: int) -> None:
        self._opened = repository.open_blob(descriptor, start=start)
        self._stream = self._opened.__enter__()
        self._left = size

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: bytearray | memoryview) -> int:  # type: ignore[override]  # what io passes
        piece = self._stream.read(min(len(buffer), self._left))
        buffer[: len(piece)] = piece
        self._left -= len(piece)
        return len(piece)

    def close(self) -> None:
        if not self.closed:
            super().close()
            self._opened.__exit__(None, None, None)


def _piece(repository: Repository, descriptor: Descriptor, start: int, size: int) -> BinaryIO:
    return io.BufferedReader(_Piece(repository, descriptor, start, size), _CHUNK)


def _known(store: BundleStore, packed: Packed) -> Stored | None:
    """The bundle, if it is in the store, intact and under its version."""
    if store.digest_of(packed.ref.name, packed.ref.version) != packed.ref.digest:
        return None
    with suppress(BundleError):
        return store.find(packed.ref.name, packed.ref.digest)
    return None


def _refuse_clash(packed: Packed, store: BundleStore, repository: Repository) -> None:
    """Raises `BundleError` if the version was built with other content on this machine."""
    ref = packed.ref
    known = store.digest_of(ref.name, ref.version)
    if known in (None, ref.digest):
        return
    raise BundleError(
        f"{ref} was built on this machine with other content ({short(str(known))}) than "
        f"{repository.where} has ({short(ref.digest)})",
        hint="a version never changes. If yours was never shared, forget its name: "
        f"rm '{store.folder / 'refs' / ref.name / ref.version}'; then run the same command again",
        details={"existing": known, "registry": ref.digest},
    )


def _forget_old(cache: Path) -> None:
    """Remove downloads that nobody has gone on with for long."""
    for path in (*cache.glob("blobs/sha256/*"), *cache.glob("uploads/*")):
        with suppress(OSError):
            if path.stat().st_mtime < time.time() - _STALE:
                path.unlink()
