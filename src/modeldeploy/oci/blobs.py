"""Content in a folder, each piece in a file named by its digest: whole, checked, or not there.

::

    blobs/sha256/<hex>           content; appears by one rename and never changes
    uploads/<hex>.<user id>      content that is being written, locked by its writer. What a writer that
                                 died has left is where the next one goes on
"""

from __future__ import annotations

import hashlib
import os
import secrets
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from modeldeploy.errors import RegistryRefused
from modeldeploy.oci import disk
from modeldeploy.oci.descriptor import DIGEST, Blob, Descriptor, digest_of, short

_CHUNK = 1 << 20
_PAUSE = 0.05


class WrongContent(RegistryRefused):
    """What was to be kept is not what its digest says. Nothing of it is kept."""


class Blobs:
    """The content below one folder. ``root`` is the folder whose rights all that is made here has."""

    def __init__(self, folder: Path, *, root: Path | None = None) -> None:
        self.folder = folder
        self.root = root or folder
        self._kept = folder / "blobs" / "sha256"
        self._uploads = folder / "uploads"

    def path(self, digest: str) -> Path:
        """Where content of that digest is, or would be. Raises ValueError for what is no digest."""
        if not DIGEST.fullmatch(digest):
            raise ValueError(f"{digest!r:.100} is no digest")
        return self._kept / digest.removeprefix("sha256:")

    def has(self, digest: str, size: int | None = None) -> bool:
        """True if it is there; of this size, where one is given."""
        path = self.path(digest)
        with disk.guarded(path, "read"):
            try:
                return path.is_file() and size in (None, path.stat().st_size)
            except FileNotFoundError:
                return False

    def open(self, descriptor: Descriptor, start: int = 0) -> BinaryIO:
        """The content from a byte offset. Whoever reads it checks its digest.

        Raises `RegistryRefused` where it is not there or is not of the size that it should be.
        """
        path = self.path(descriptor.digest)
        with disk.guarded(path, "read"):
            try:
                stream = disk.open_regular(path)
            except FileNotFoundError:
                raise self.missing(descriptor.digest) from None
            found = os.fstat(stream.fileno()).st_size
            if found != descriptor.size:
                stream.close()
                raise damaged(path, f"it has {found} bytes, not {descriptor.size}")
            stream.seek(start)
            return stream

    def read(self, digest: str, *, largest: int) -> bytes:
        """Small content, its digest checked. Raises `RegistryRefused`."""
        path = self.path(digest)
        with disk.guarded(path, "read"):
            try:
                with disk.open_regular(path) as stream:
                    content = stream.read(largest + 1)
            except FileNotFoundError:
                raise self.missing(digest) from None
        if len(content) > largest:
            raise RegistryRefused(f"{path} has more than the {largest} bytes that are read")
        if digest_of(content) != digest:
            raise damaged(path, "its content is not what its digest says")
        return content

    def write(self, content: bytes, digest: str) -> None:
        """Keep small content."""
        if not self.has(digest, len(content)):
            import io

            descriptor = Descriptor("", digest, len(content))
            self.add(Blob(descriptor, lambda start: io.BytesIO(content[start:])), moved=lambda _: None)

    def add(self, blob: Blob, *, moved: Callable[[int], None]) -> int:
        """Keep content unless it is there; returns how many bytes were written.

        Goes on where an earlier attempt ended. Raises `WrongContent` for content that is not what its
        digest says.
        """
        descriptor = blob.descriptor
        with self._upload(descriptor) as upload:
            if upload is None:
                return 0
            writing = _Writing(upload, blob, moved)
            if not writing.fill() and not (writing.resumed and writing.fill(anew=True)):
                with suppress(OSError):
                    upload.path.unlink()
                raise _other_content(descriptor)
            with disk.guarded(upload.path, "write"):
                os.fchmod(upload.descriptor, disk.file_mode(self.root) & 0o444)
                os.fsync(upload.descriptor)
                upload.path.replace(self.path(descriptor.digest))
                disk.sync_folder(self._kept)
            return writing.sent

    def link(self, descriptor: Descriptor, candidates: Iterable[Path]) -> bool:
        """Take content over from files that may hold it, without a copy. False if none does.

        Each file must be one that is never written to again. What it holds is checked.
        """
        for path in candidates:
            try:
                if path.stat().st_size == descriptor.size and self._linked(path, descriptor):
                    return True
            except OSError:  # not there, not readable, another file system: then it is copied
                continue
        return False

    def missing(self, digest: str) -> RegistryRefused:
        """The error for content that is not there."""
        return RegistryRefused(
            f"{self.folder} does not have {short(digest)}",
            hint="push it again from a machine that has it: mdeploy push",
            details={"digest": digest},
        )

    def _linked(self, path: Path, descriptor: Descriptor) -> bool:
        self._prepare()
        place = self._uploads / f"{secrets.token_hex(8)}.link"
        try:
            os.link(path, place)
            if _sha256(place) != descriptor.digest:
                return False
            place.replace(self.path(descriptor.digest))
            disk.sync_folder(self._kept)
        finally:
            place.unlink(missing_ok=True)  # still there too where both were links to one file
        return True

    def _prepare(self) -> None:
        with disk.guarded(self.folder, "write"):
            disk.make_folders(self.root, self._kept)
            disk.make_folders(self.root, self._uploads)

    @contextmanager
    def _upload(self, descriptor: Descriptor) -> Iterator[_Upload | None]:
        """The file that this content is written to, locked; None once somebody else has finished it."""
        self._prepare()
        path = self._uploads / f"{self.path(descriptor.digest).name}.{os.geteuid()}"
        last, deadline = -1, 0.0
        while not self.has(descriptor.digest, descriptor.size):
            with _opened(path, disk.file_mode(self.root)) as upload:
                if upload.locked():
                    yield upload
                    return
                size = os.fstat(upload.descriptor).st_size
            if size != last:
                last, deadline = size, time.monotonic() + disk.PATIENCE
            elif time.monotonic() > deadline:
                raise disk.busy(path)
            time.sleep(_PAUSE)
        yield None


@dataclass(frozen=True, slots=True)
class _Upload:
    path: Path
    descriptor: int

    def locked(self) -> bool:
        """Take the lock. False if another has it, or if he finished and took the file away meanwhile."""
        with disk.guarded(self.path, "write"):
            if not disk.try_lock(self.descriptor):
                return False
            with suppress(FileNotFoundError):
                return os.path.samestat(os.fstat(self.descriptor), self.path.stat())
            return False


@contextmanager
def _opened(path: Path, mode: int) -> Iterator[_Upload]:
    with disk.guarded(path, "write"):
        descriptor = disk.open_with_mode(path, mode)
    try:
        yield _Upload(path, descriptor)
    finally:
        os.close(descriptor)


class _Writing:
    """Brings a blob into a file, from where the file ends."""

    def __init__(self, upload: _Upload, blob: Blob, moved: Callable[[int], None]) -> None:
        self._upload, self._blob, self._moved = upload, blob, moved
        self.sent = 0
        """Bytes that were written and count."""
        self.resumed = False
        """The file held something at the beginning."""

    def fill(self, *, anew: bool = False) -> bool:
        """Write until the content ends; False if it is not what its digest says."""
        wanted = self._blob.descriptor
        state = hashlib.sha256()
        have = 0 if anew else self._known(state)
        if anew or have > wanted.size:
            self._begin_anew()
            state, have = hashlib.sha256(), 0
        self.resumed = have > 0
        with self._blob.open(have) as source:
            while have <= wanted.size and (piece := source.read(_CHUNK)):
                state.update(piece)
                self._write(piece)
                have += len(piece)
        if have == wanted.size and f"sha256:{state.hexdigest()}" == wanted.digest:
            return True
        self._moved(-self.sent)
        self.sent = 0
        return False

    def _known(self, state: hashlib._Hash) -> int:
        have = 0
        with disk.guarded(self._upload.path, "read"):
            while piece := os.pread(self._upload.descriptor, _CHUNK, have):
                state.update(piece)
                have += len(piece)
            os.lseek(self._upload.descriptor, have, os.SEEK_SET)
        return have

    def _begin_anew(self) -> None:
        with disk.guarded(self._upload.path, "write"):
            os.ftruncate(self._upload.descriptor, 0)
            os.lseek(self._upload.descriptor, 0, os.SEEK_SET)

    def _write(self, piece: bytes) -> None:
        with disk.guarded(self._upload.path, "write"):
            view = memoryview(piece)
            while view:
                view = view[os.write(self._upload.descriptor, view) :]
        self.sent += len(piece)
        self._moved(len(piece))


def damaged(path: Path, how: str) -> RegistryRefused:
    """The error for a file that is not what its name says."""
    return RegistryRefused(
        f"{path} is damaged: {how}",
        hint=f"delete it (rm -f '{path}') and push again from a machine that has it: mdeploy push",
        details={"path": str(path)},
    )


def _other_content(descriptor: Descriptor) -> WrongContent:
    return WrongContent(
        f"content that should have been {short(descriptor.digest)} ({descriptor.size} bytes) was not: "
        "nothing of it is kept",
        hint="run the same command again; if it stays so, what it is read from is damaged",
        details={"digest": descriptor.digest, "size": descriptor.size},
    )


def _sha256(path: Path) -> str:
    state = hashlib.sha256()
    with disk.open_regular(path) as stream:
        while piece := stream.read(_CHUNK):
            state.update(piece)
    return f"sha256:{state.hexdigest()}"
