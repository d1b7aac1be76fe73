"""A registry in a folder, on this machine or on a shared drive: one OCI image layout for each repository.

Every change is one rename: whoever is killed, at whatever instant, leaves what was there, and a piece of
content in the making that the next push goes on with. Tags move under a lock that the kernel drops when its
holder dies. What another repository of the registry holds is linked, not copied.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import BinaryIO

from modeldeploy.errors import RegistryRefused
from modeldeploy.oci import disk
from modeldeploy.oci.descriptor import Blob, Descriptor
from modeldeploy.oci.layout import Layout
from modeldeploy.registry.base import Moved, Sent, TagMoved
from modeldeploy.registry.names import insist_on_name, is_name

_OWN = frozenset({"blobs", "uploads", "index.json", "index.lock", "oci-layout"})
_MOST_NEIGHBOURS = 500


class FolderRegistry:
    """A registry below one folder, which is made when something is kept in it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.url = str(folder)

    def repository(self, name: str) -> FolderRepository:
        if _OWN & set(insist_on_name(name).split("/")):
            raise RegistryRefused(
                f"no repository in a folder can be called {name[:80]!r}: its layout has a file of that name",
                hint="give the project another name",
            )
        return FolderRepository(self.folder, name)


class FolderRepository:
    """One name in such a registry."""

    def __init__(self, root: Path, name: str) -> None:
        self.where = str(root / name)
        self._root = root
        self._name = name
        self.layout = Layout(root / name, root=root)

    def has_blob(self, digest: str) -> bool:
        return self.layout.blobs.has(digest)

    def push_blob(self, blob: Blob, *, moved: Moved) -> Sent:
        blobs, wanted = self.layout.blobs, blob.descriptor
        if blobs.has(wanted.digest, wanted.size):
            return Sent(0, "present")
        if blobs.link(wanted, self._elsewhere(blob)):
            return Sent(0, "mounted")
        sent = blobs.add(blob, moved=moved)
        return Sent(sent, "sent" if sent or not wanted.size else "present")

    def open_blob(self, descriptor: Descriptor, *, start: int = 0) -> BinaryIO:
        return self.layout.blobs.open(descriptor, start)

    def as_kept(self, digest: str, *, largest: int) -> bytes:
        """What is kept under a digest, also where it is not that: to find what somebody changed by hand."""
        path = self.layout.blobs.path(digest)
        with disk.guarded(path, "read"):
            try:
                with disk.open_regular(path) as stream:
                    return stream.read(largest)
            except FileNotFoundError:
                raise self.layout.blobs.missing(digest) from None

    def put_manifest(self, content: bytes, media_type: str) -> Descriptor:
        return self.layout.put_manifest(content, media_type)

    def manifest(self, digest: str) -> bytes:
        return self.layout.manifest(digest)

    def tags(self) -> Sequence[str]:
        return self.layout.tags()

    def tag(self, tag: str) -> Descriptor | None:
        return self.layout.tag(tag)

    def set_tag(self, tag: str, to: Descriptor, *, was: str | None) -> None:
        done, found = self.layout.set_tag(tag, to, was=was)
        if not done:
            raise TagMoved(tag, found)

    def _elsewhere(self, blob: Blob) -> Iterator[Path]:
        """Files of other repositories that may hold the same: those named, then all on the first level."""
        for name in dict.fromkeys((*blob.sources, *self._neighbours())):
            if name != self._name and is_name(name):
                yield Layout(self._root / name).blobs.path(blob.descriptor.digest)

    def _neighbours(self) -> list[str]:
        with disk.guarded(self._root, "read"):
            try:
                return sorted(path.name for path in self._root.iterdir())[:_MOST_NEIGHBOURS]
            except FileNotFoundError:
                return []
