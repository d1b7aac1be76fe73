"""SHA-256 of files, remembered for big ones as long as the kernel says that they did not change."""

from __future__ import annotations

import contextlib
import hashlib
import os
import time
from dataclasses import dataclass
from pathlib import Path

from modeldeploy import files
from modeldeploy.errors import ModelDeployError

REMEMBER_FROM = 1 << 20
"""Bytes from which a file's digest is remembered: smaller ones are hashed in milliseconds."""
_CHUNK = 1 << 20
_COARSE, _FINE = 2_000_000_000, 20_000_000
"""Nanoseconds that must lie between a change and a look at it for the next change to show."""


@dataclass(frozen=True, slots=True)
class Content:
    """What was in a file: 64 hexadecimal digits, bytes, and a stamp that any later change alters."""

    sha256: str
    size: int
    stamp: str


def content_of(path: Path) -> Content:
    """Digest of a file, from memory if it is big and untouched since. Raises OSError."""
    status = path.stat()
    stamp = _stamp(status)
    if status.st_size < REMEMBER_FROM:
        return Content(sha256_of(path), status.st_size, stamp)
    note = _note(path)
    known = _remembered(note, stamp)
    if known is None:
        seen_at = time.time_ns()
        known = sha256_of(path)
        if _stamp(path.stat()) == stamp and _settled(status, seen_at):
            _remember(note, stamp, known)
    return Content(known, status.st_size, stamp)


def vouch(path: Path, sha256: str) -> None:
    """Remember a big file's digest without reading it: it has just been put there, or linked once more."""
    with contextlib.suppress(OSError):
        _remember(_note(path), _stamp(path.stat()), sha256)


def forget(path: Path) -> None:
    """Remember nothing of a file: it was found to be other than it should."""
    with contextlib.suppress(OSError, ModelDeployError):
        _note(path).unlink(missing_ok=True)


def unchanged(path: Path, content: Content) -> bool:
    """True if nobody wrote to the file since `content_of` looked at it."""
    return _stamp(path.stat()) == content.stamp


def sha256_of(path: Path) -> str:
    """64 hexadecimal digits, read from the file now."""
    digest = hashlib.sha256()
    with path.open("rb", buffering=0) as stream:
        while block := stream.read(_CHUNK):
            digest.update(block)
    return digest.hexdigest()


def _stamp(status: os.stat_result) -> str:
    # The change time cannot be set from outside as the modification time can: cp -p, tar, touch -r.
    fields = (status.st_size, status.st_mtime_ns, status.st_ctime_ns, status.st_ino, status.st_dev)
    return ":".join(str(field) for field in fields)


def _settled(status: os.stat_result, seen_at: int) -> bool:
    """False right after a change: another one within the file system's clock tick would not show."""
    tick = _FINE if status.st_ctime_ns % 1_000_000_000 else _COARSE
    return seen_at - status.st_ctime_ns > tick


def _note(path: Path) -> Path:
    name = hashlib.sha256(os.fsencode(path.resolve())).hexdigest()[:32]
    return files.home() / "cache" / "digests" / name


def _remembered(note: Path, stamp: str) -> str | None:
    try:
        found, sha256 = note.read_text().split()
    except (OSError, ValueError):
        return None
    return sha256 if found == stamp and len(sha256) == 64 else None


def _remember(note: Path, stamp: str, sha256: str) -> None:
    with contextlib.suppress(
        OSError, ModelDeployError
    ):  # a cache that cannot be written costs time, nothing else
        files.private(note.parent)
        files.write_atomic(note, f"{stamp} {sha256}\n".encode())
