"""Images and their layers on this machine, by digest.

::

    images/blobs/sha256/<hex>            package layers, configurations, manifests, a base that was made here
    images/made/<hex>/<key>.json         the images of the bundle with that digest, and what they consist of
    images/work/<id>/                    what is being made; swept when its maker is gone

It has the form of an OCI image layout, but it is not a whole one: a bundle's own layers are streams of the
bundle's files, so that a model is on this disk once, and a base by reference stays in its registry.
`mdeploy image --output FOLDER` writes a whole one.
"""

from __future__ import annotations

import fcntl
import os
import re
import secrets
import shutil
from collections.abc import Collection, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from modeldeploy import files
from modeldeploy.oci.blobs import Blobs
from modeldeploy.oci.descriptor import Blob, Descriptor

_DIGEST = re.compile(r"sha256:([0-9a-f]{64})")


class ImageCache:
    """The images below one home folder (default: mdeploy's)."""

    def __init__(self, home: Path | None = None) -> None:
        self.folder = (home or files.home()) / "images"
        self.made = self.folder / "made"
        self._blobs = Blobs(self.folder)

    def path(self, digest: str) -> Path:
        """Where content of that digest is, or would be."""
        return self._blobs.path(digest)

    def has(self, descriptor: Descriptor) -> bool:
        """True if this content is here, in its whole length."""
        return self._blobs.has(descriptor.digest, descriptor.size)

    def blob(self, descriptor: Descriptor) -> Blob:
        """Content that is here, to be sent."""
        return Blob(descriptor, lambda start: self._blobs.open(descriptor, start))

    def put(self, content: bytes, descriptor: Descriptor) -> Blob:
        """Keep some bytes."""
        self._private()
        self._blobs.write(content, descriptor.digest)
        return self.blob(descriptor)

    def add_file(self, path: Path, descriptor: Descriptor) -> Blob:
        """Keep the content of a file. Raises `RegistryRefused` if the descriptor says otherwise."""

        def opened(start: int) -> BinaryIO:
            stream = path.open("rb")
            stream.seek(start)
            return stream

        self._private()
        self._blobs.add(Blob(descriptor, opened), moved=lambda _: None)
        return self.blob(descriptor)

    @contextmanager
    def scratch(self) -> Iterator[Path]:
        """An empty folder on the same disk, gone at the end; a maker that dies leaves it to `sweep`."""
        work = files.private(self.folder / "work")
        folder = work / secrets.token_hex(8)
        lock = work / f"{folder.name}.lock"
        with files.locked(lock):
            folder.mkdir(mode=0o700)
            try:
                yield folder
            finally:
                shutil.rmtree(folder, ignore_errors=True)
                lock.unlink(missing_ok=True)

    def sweep(self) -> None:
        """Remove what makers that died have left."""
        for lock in self.folder.glob("work/*.lock"):
            with suppress(FileNotFoundError):
                if not files.is_locked(lock):
                    shutil.rmtree(lock.with_suffix(""), ignore_errors=True)
                    lock.unlink(missing_ok=True)

    @contextmanager
    def in_use(self) -> Iterator[None]:
        """While an image is made, nothing is thrown away; any number of makers at once."""
        self._private()
        with self._lock(fcntl.LOCK_SH):
            yield

    def reclaim(self, keep: Collection[str], *, dry_run: bool = False) -> int:
        """Throw away the images of other bundles than these (digests), and content that no image needs.

        Returns how many bytes that is. What was thrown away is made again when it is wanted.
        Raises BlockingIOError while an image is being made.
        """
        if not self.folder.is_dir():
            return 0
        with self._lock(fcntl.LOCK_EX | fcntl.LOCK_NB):
            if not dry_run:
                self.sweep()
            wanted = {digest.removeprefix("sha256:") for digest in keep}
            kept = [path for path in self.made.glob("*/*.json") if path.parent.name in wanted]
            needed = {digest for path in kept for digest in _needed(path)}
            stale = [path for path in self.made.glob("*/*.json") if path.parent.name not in wanted]
            unused = [path for path in self.folder.glob("blobs/sha256/*") if path.name not in needed]
            size = sum(path.stat().st_size for path in (*stale, *unused))
            for path in () if dry_run else (*stale, *unused):
                path.unlink(missing_ok=True)
        return size

    @contextmanager
    def _lock(self, kind: int) -> Iterator[None]:
        descriptor = os.open(self.folder / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(descriptor, kind)
            yield
        finally:
            os.close(descriptor)

    def _private(self) -> None:
        files.private(self.folder)


def reclaim(keep: Collection[str], *, dry_run: bool = False) -> int:
    """`ImageCache.reclaim` for mdeploy's own home."""
    return ImageCache().reclaim(keep, dry_run=dry_run)


def _needed(record: Path) -> Iterator[str]:
    """The digests that a record of an image names, without their algorithm."""
    with suppress(OSError):
        yield from (match[1] for match in _DIGEST.finditer(record.read_text()))
