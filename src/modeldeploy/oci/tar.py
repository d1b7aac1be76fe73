"""Tar streams that are the same on every machine, made while they are read and kept nowhere.

A layer is a list of headers, files and padding. Its stream can be opened at any byte, any number of times;
a file of 10 GB passes through in pieces. Owner and group are 0, times are one constant, entries are sorted
by path: two layers of the same paths, modes and contents are the same bytes, whoever makes them.

Written by hand and not by `tarfile`, whose output may change with the version of Python. The form is ustar,
with a pax header before an entry whose path, link or size does not fit (POSIX.1-2001).
"""

from __future__ import annotations

import bisect
import hashlib
import io
import os
import stat
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from enum import Enum
from itertools import accumulate
from pathlib import Path
from typing import BinaryIO

from modeldeploy.errors import BundleError
from modeldeploy.oci.descriptor import Blob, Descriptor
from modeldeploy.oci.manifest import LAYER_TAR
from modeldeploy.oci.remember import remembered

MTIME = 315_532_800
"""Unix seconds that every entry was changed at: the first of 1980, as in a wheel."""
BLOCK = 512
_END = bytes(2 * BLOCK)
_LONGEST_NAME = 100
_LARGEST_OCTAL = 0o77777777777
"""Bytes; 8 GiB less one, the most that a ustar header can say."""
_CHUNK = 1 << 20
_REMEMBER_FROM = 1 << 20
_SETTLED = 2_000_000_000
"""Nanoseconds after which a further change is sure to alter a file's times, on every file system."""


class Kind(str, Enum):
    """What an entry is; the value is its type flag in the header."""

    FILE = "0"
    FOLDER = "5"
    SYMLINK = "2"


@dataclass(frozen=True, slots=True)
class Entry:
    """One thing in a layer. ``path`` is relative, with forward slashes and without one at its end."""

    path: str
    kind: Kind
    mode: int
    size: int = 0
    source: Path | bytes = b""
    """Where a file's content is, or the content itself."""
    link: str = ""
    """What a symbolic link points to."""
    sha256: str = ""
    """64 hexadecimal digits of a file's content, where they are known and checked: saves reading it."""

    @classmethod
    def file(cls, path: str, source: Path | bytes, *, mode: int = 0o644, sha256: str = "") -> Entry:
        """A file with this content. Raises OSError where a source cannot be looked at."""
        size = len(source) if isinstance(source, bytes) else _regular(source).st_size
        return cls(path, Kind.FILE, mode, size, source, sha256=sha256)

    @classmethod
    def folder(cls, path: str, *, mode: int = 0o755) -> Entry:
        """A folder."""
        return cls(path, Kind.FOLDER, mode)

    @classmethod
    def symlink(cls, path: str, link: str) -> Entry:
        """A symbolic link."""
        return cls(path, Kind.SYMLINK, 0o777, link=link)


@dataclass(frozen=True, slots=True)
class _Part:
    """A piece of the stream: bytes, or a whole file."""

    size: int
    source: Path | bytes
    stamp: str = ""


@dataclass(frozen=True, slots=True)
class Layer:
    """A tar stream, named by the digest of its bytes. As it is not compressed, that is its diff id too."""

    name: str
    """For people and progress bars: ``code``, or the path of a model's file."""
    digest: str
    size: int
    parts: tuple[_Part, ...]
    annotations: tuple[tuple[str, str], ...] = ()

    def descriptor(self) -> Descriptor:
        """What names it in a manifest."""
        return Descriptor(LAYER_TAR, self.digest, self.size, dict(self.annotations))

    def open(self, start: int = 0) -> BinaryIO:
        """The stream from a byte offset. Reading raises `BundleError` if a file has changed since."""
        return _opened(self.parts, start)

    def blob(self, sources: tuple[str, ...] = ()) -> Blob:
        """The same, to be sent; ``sources`` are repositories that may have it already."""
        return Blob(self.descriptor(), self.open, sources)


def layer_of(
    entries: Iterable[Entry],
    *,
    name: str,
    annotations: tuple[tuple[str, str], ...] = (),
    read: Callable[[int], None] = lambda _: None,
) -> Layer:
    """The layer of these entries, in the order of their paths. Reads every file once, unless remembered.

    ``read`` is told of each piece that was read, in bytes.
    Raises `BundleError` for a file that is gone or changes meanwhile, ValueError for paths that no layer
    can have: absolute, with ``..``, or twice.
    """
    ordered = sorted(entries, key=lambda entry: entry.path.encode())
    _check(ordered)
    parts = tuple(_parts(ordered))
    size = sum(part.size for part in parts)

    def compute() -> str:
        return _digest_of(_opened(parts, 0), read)

    key = _key(ordered, parts) if size >= _REMEMBER_FROM else ""
    digest = remembered(key, compute) if key else compute()
    return Layer(name, digest, size, parts, annotations)


def header(path: str, kind: Kind, *, mode: int, size: int = 0, link: str = "") -> bytes:
    """The blocks before an entry's content: one, or three and more where a pax header is needed."""
    name = path + ("/" if kind is Kind.FOLDER else "")
    special = {
        key: value
        for key, value, fits in (
            ("path", name, _fits(name)),
            ("linkpath", link, _fits(link)),
            ("size", str(size), size <= _LARGEST_OCTAL),
        )
        if not fits
    }
    before = b""
    if special:
        content = b"".join(_pax_record(key, value) for key, value in special.items())
        before = _block("././@PaxHeader", "x", 0o644, len(content)) + content + padding(len(content))
    return before + _block(name, kind.value, mode, size if "size" not in special else 0, link)


def padding(size: int) -> bytes:
    """What fills the last block of a content of this size."""
    return bytes(-size % BLOCK)


def size_of(entries: Iterable[Entry]) -> int:
    """How long the stream of these entries is, in bytes, without reading any file."""
    return sum(len(_header(entry)) + entry.size + -entry.size % BLOCK for entry in entries) + len(_END)


def _header(entry: Entry) -> bytes:
    return header(entry.path, entry.kind, mode=entry.mode, size=entry.size, link=entry.link)


def _fits(name: str) -> bool:
    return name.isascii() and len(name) <= _LONGEST_NAME


def _pax_record(key: str, value: str) -> bytes:
    """``LENGTH key=value`` and a newline, where the length counts its own digits."""
    rest = f" {key}={value}\n".encode()
    length = len(rest) + len(str(len(rest)))
    if len(str(length)) + len(rest) != length:
        length = len(rest) + len(str(length))
    return f"{length}".encode() + rest


def _block(name: str, flag: str, mode: int, size: int, link: str = "") -> bytes:
    fields = (
        _text(name),
        f"{mode & 0o7777:07o}\0".encode(),
        b"0000000\0" * 2,
        f"{size:011o}\0".encode(),
        f"{MTIME:011o}\0".encode(),
        b" " * 8,
        flag.encode(),
        _text(link),
        b"ustar\x0000" + bytes(64) + b"0000000\0" * 2,
    )
    block = b"".join(fields).ljust(BLOCK, b"\0")
    return block[:148] + f"{sum(block):06o}\0 ".encode() + block[156:]


def _text(name: str) -> bytes:
    """A name for readers that do not know pax headers: cut, unknown letters replaced."""
    return name.encode("ascii", "replace")[:_LONGEST_NAME].ljust(_LONGEST_NAME, b"\0")


def _check(entries: Sequence[Entry]) -> None:
    seen: set[str] = set()
    for entry in entries:
        parts = entry.path.split("/")
        if {"", ".", ".."} & set(parts) or not set("\0\n").isdisjoint(entry.path + entry.link):
            raise ValueError(f"{entry.path[:100]!r} can be no path of a layer")
        if entry.path in seen:
            raise ValueError(f"{entry.path[:100]!r} is twice in a layer")
        seen.add(entry.path)


def _parts(entries: Iterable[Entry]) -> Iterable[_Part]:
    """Headers and paddings that follow each other are one piece."""
    pending = b""
    for entry in entries:
        pending += _header(entry)
        if isinstance(entry.source, bytes):
            pending += entry.source
        elif entry.size:
            yield _Part(len(pending), pending)
            pending = b""
            yield _Part(entry.size, entry.source, _stamp_of(entry.source, entry.size))
        pending += padding(entry.size)
    yield _Part(len(pending) + len(_END), pending + _END)


def _stamp_of(path: Path, size: int) -> str:
    try:
        status = _regular(path)
    except OSError as error:
        raise _changed(path, error.strerror or str(error)) from error
    if status.st_size != size:
        raise _changed(path)
    return _stamp(status)


def _regular(path: Path) -> os.stat_result:
    status = path.stat()
    if not stat.S_ISREG(status.st_mode):
        raise OSError(0, "not a regular file", str(path))
    return status


def _stamp(status: os.stat_result) -> str:
    # Not the change time: a link from another bundle to the same file alters it.
    return f"{status.st_size}:{status.st_mtime_ns}:{status.st_ino}:{status.st_dev}"


def _key(entries: Sequence[Entry], parts: Sequence[_Part]) -> str:
    """Changes with every byte of the stream: file contents by their digest, or else by path and stamp.

    Empty where a file was changed so lately that its next change might not show.
    """
    known = {str(entry.source): entry.sha256 for entry in entries if isinstance(entry.source, Path)}
    state = hashlib.sha256()
    for part in parts:
        if isinstance(part.source, bytes):
            text = part.source
        else:
            told = known[str(part.source)] or _look(part.source)
            if not told:
                return ""
            text = os.fsencode(f"{part.size}:{told}")
        state.update(len(text).to_bytes(8, "big") + text)
    return f"tar:{state.hexdigest()}"


def _look(path: Path) -> str:
    status = path.stat()
    settled = time.time_ns() - status.st_ctime_ns > _SETTLED
    return f"{path.absolute()}:{_stamp(status)}:{status.st_ctime_ns}" if settled else ""


def _digest_of(stream: BinaryIO, read: Callable[[int], None]) -> str:
    state = hashlib.sha256()
    with stream:
        while piece := stream.read(_CHUNK):
            state.update(piece)
            read(len(piece))
    return f"sha256:{state.hexdigest()}"


def _changed(path: Path, how: str = "it changed while it was read") -> BundleError:
    return BundleError(
        f"cannot put {path} into a layer: {how}",
        hint="wait until nothing writes to it, then run the same command again",
    )


def _opened(parts: Sequence[_Part], start: int) -> BinaryIO:
    return io.BufferedReader(_Stream(parts, start), _CHUNK)


class _Stream(io.RawIOBase):
    """The pieces one after the other. Holds one file open at a time."""

    def __init__(self, parts: Sequence[_Part], start: int) -> None:
        self._parts = parts
        self._ends = list(accumulate(part.size for part in parts))
        self._position = min(max(start, 0), self._ends[-1])
        self._file: tuple[int, BinaryIO] | None = None

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._position

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._position, io.SEEK_END: self._ends[-1]}[whence]
        self._position = min(max(base + offset, 0), self._ends[-1])
        return self._position

    def readinto(self, buffer: bytearray | memoryview) -> int:  # type: ignore[override]  # what io passes
        index = bisect.bisect_right(self._ends, self._position)
        if index == len(self._parts):
            return 0
        part = self._parts[index]
        inner = self._position - (self._ends[index] - part.size)
        room = min(len(buffer), part.size - inner)
        if isinstance(part.source, bytes):
            buffer[:room] = part.source[inner : inner + room]
        else:
            room = self._from_file(index, part.source, inner, memoryview(buffer)[:room])
        self._position += room
        return room

    def _from_file(self, index: int, path: Path, inner: int, buffer: memoryview) -> int:
        part = self._parts[index]
        try:
            if self._file is None or self._file[0] != index:
                self._drop()
                self._file = (index, path.open("rb", buffering=0))
            stream = self._file[1]
            stream.seek(inner)
            count = stream.readinto(buffer)  # type: ignore[attr-defined]  # a raw file has it
            done = inner + count == part.size
            if not count or ((inner == 0 or done) and _stamp(os.fstat(stream.fileno())) != part.stamp):
                raise _changed(path)
        except OSError as error:
            raise _changed(path, error.strerror or str(error)) from error
        return int(count)

    def _drop(self) -> None:
        if self._file:
            self._file[1].close()
            self._file = None

    def close(self) -> None:
        self._drop()
        super().close()
