"""An OCI image layout: a folder that podman, skopeo and others read, with tags that move by compare-and-swap.

::

    oci-layout                   says what this is
    index.json                   what each tag points to; replaced by rename, under index.lock
    blobs/sha256/<hex>           all content, manifests too
    uploads/                     content in the making (no part of the specification; others ignore it)

Source: https://github.com/opencontainers/image-spec/blob/v1.1.1/image-layout.md
"""

from __future__ import annotations

import re
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

from modeldeploy import files
from modeldeploy.errors import RegistryRefused
from modeldeploy.oci import disk
from modeldeploy.oci import manifest as manifests
from modeldeploy.oci.blobs import Blobs, damaged
from modeldeploy.oci.descriptor import Descriptor
from modeldeploy.oci.manifest import REF_NAME, Manifest, canonical, read_object

TAG = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}")
"""What a tag can be, by the distribution specification."""
_MARKER, _VERSION = "oci-layout", "1.0.0"
_INDEX = "index.json"
_LARGEST_INDEX = 64 << 20
_LITTER_AGE = 3600.0
"""Seconds after which a temporary file is sure to be that of a process that died."""


class Layout:
    """One layout. Nothing is made before something is kept in it."""

    def __init__(self, folder: Path, *, root: Path | None = None) -> None:
        self.folder = folder
        self.root = root or folder
        self.blobs = Blobs(folder, root=self.root)

    def tags(self) -> list[str]:
        """All tags, sorted."""
        return sorted(self._tagged())

    def tag(self, tag: str) -> Descriptor | None:
        """Where a tag points."""
        return self._tagged().get(tag)

    def set_tag(self, tag: str, to: Descriptor, *, was: str | None) -> tuple[bool, Descriptor | None]:
        """Point a tag to a manifest that is there, if it points to the digest ``was`` (None: if it is new).

        Returns whether it did, and what the tag pointed to before. Raises `RegistryRefused` for a tag or a
        manifest that cannot be.
        """
        if not TAG.fullmatch(tag):
            raise RegistryRefused(f"{tag!r:.140} can be no tag", hint="letters, digits, '_', '.' and '-'")
        if not self.blobs.has(to.digest, to.size):
            raise self.blobs.missing(to.digest)
        with self._changing() as value:
            before = _tags_of(value).get(tag)
            if (before.digest if before else None) != was:
                return False, before
            named = replace(to, annotations={**to.annotations, REF_NAME: tag})
            others = [each for each in value["manifests"] if _name_of(each) != tag]
            self._write({**value, "manifests": [*others, named.to_json()]})
        return True, before

    def put_manifest(self, content: bytes, media_type: str) -> Descriptor:
        """Keep a manifest. Raises `RegistryRefused` for nonsense, and where what it names is not there."""
        try:
            found = manifests.parse(content, media_type)
        except ValueError as error:
            raise RegistryRefused(f"{self.folder}: not a manifest: {error}") from error
        needed = found.content() if isinstance(found, Manifest) else found.manifests
        for each in needed:
            if not self.blobs.has(each.digest, each.size):
                raise self.blobs.missing(each.digest)
        descriptor = Descriptor.of(content, media_type)
        self.blobs.write(content, descriptor.digest)
        return descriptor

    def manifest(self, digest: str) -> bytes:
        """A manifest's bytes, of which the digest was checked. Raises `RegistryRefused`."""
        return self.blobs.read(digest, largest=manifests.LARGEST)

    @contextmanager
    def _changing(self) -> Iterator[dict[str, Any]]:
        """The index, which nobody else changes meanwhile."""
        with disk.guarded(self.folder, "write"):
            disk.make_folders(self.root, self.folder)
            mode = disk.file_mode(self.root)
            with disk.held(self.folder / "index.lock", mode):
                yield self._read()

    def _write(self, value: Mapping[str, Any]) -> None:
        self._sweep()
        mode = disk.file_mode(self.root)
        if not (self.folder / _MARKER).exists():
            files.write_atomic(self.folder / _MARKER, canonical({"imageLayoutVersion": _VERSION}), mode=mode)
        files.write_atomic(self.folder / _INDEX, canonical(value) + b"\n", mode=mode)

    def _sweep(self) -> None:
        """Remove what writers of the index that were killed have left. Called under the lock."""
        for litter in self.folder.glob(f".{_INDEX}.*"):
            with suppress(OSError):
                if litter.stat().st_mtime < time.time() - _LITTER_AGE:
                    litter.unlink()

    def _tagged(self) -> dict[str, Descriptor]:
        return _tags_of(self._read())

    def _read(self) -> dict[str, Any]:
        """The index as it is now; an empty one where there is none."""
        path = self.folder / _INDEX
        with disk.guarded(path, "read"):
            try:
                with disk.open_regular(path) as stream:
                    content = stream.read(_LARGEST_INDEX + 1)
            except FileNotFoundError:
                return {"schemaVersion": 2, "mediaType": manifests.IMAGE_INDEX, "manifests": []}
            self._check_marker()
        try:
            value = read_object(content, largest=_LARGEST_INDEX)
            _tags_of(value)
        except ValueError as error:
            raise _no_index(path, str(error)) from error
        return value

    def _check_marker(self) -> None:
        """Refuse a folder of another form than the one that is read here."""
        path = self.folder / _MARKER
        with suppress(FileNotFoundError, ValueError):
            with disk.open_regular(path) as stream:
                found = read_object(stream.read(4097), largest=4096).get("imageLayoutVersion")
            if found == _VERSION:
                return
        raise damaged(path, f"it does not say imageLayoutVersion {_VERSION}")


def _name_of(entry: object) -> str | None:
    annotations = entry.get("annotations") if isinstance(entry, dict) else None
    name = annotations.get(REF_NAME) if isinstance(annotations, dict) else None
    return name if isinstance(name, str) else None


def _tags_of(value: Mapping[str, Any]) -> dict[str, Descriptor]:
    """The tags of an index. Raises ValueError for nonsense, and for a tag that points to two places."""
    entries = value.get("manifests")
    if not isinstance(entries, list):
        raise manifests.Malformed("'manifests' is no list")
    found: dict[str, Descriptor] = {}
    for entry in entries:
        name = _name_of(entry)
        if name is None:
            continue  # another tool's manifest without a name
        if name in found:
            raise manifests.Malformed(f"the tag {name!r:.140} is there twice")
        descriptor = Descriptor.from_json(entry)
        kept = {key: text for key, text in descriptor.annotations.items() if key != REF_NAME}
        found[name] = replace(descriptor, annotations=kept)
    return found


def _no_index(path: Path, why: str) -> RegistryRefused:
    return RegistryRefused(
        f"{path} is no index of an OCI image layout: {why}",
        hint="put it back from a backup: the blobs beside it are whole, but their names are in this file",
    )
