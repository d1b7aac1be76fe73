"""Reads Debian packages: https://manpages.debian.org/deb.5. Nothing in them is run."""

from __future__ import annotations

import gzip
import lzma
import tarfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, BinaryIO, cast

from modeldeploy.errors import BundleError
from modeldeploy.image.base.tree import Tree

LARGEST = 8 << 30
"""Bytes of a package when unpacked; more is taken for a bomb."""
_MOST = 500_000
"""Entries of a package."""
_CONTROL = 4 << 20
_MAGIC = b"!<arch>\n"
_HEADER = 60


@dataclass(frozen=True, slots=True)
class Control:
    """What a package says about itself, and the scripts that it would run when it is installed."""

    text: str
    scripts: tuple[str, ...]


def unpack(path: Path, name: str, tree: Tree) -> Control:
    """Put a package's files into a tree. ``name`` names it in messages. Raises `BundleError`."""
    try:
        with path.open("rb") as stream:
            members = _members(stream)
            control = _control(stream, members, name)
            with _tar(stream, members, "data.tar", name) as archive:
                _files(archive, name, tree)
            return control
    except (tarfile.TarError, lzma.LZMAError, EOFError, ValueError, gzip.BadGzipFile) as error:
        raise BundleError(f"{name} is damaged: {type(error).__name__}: {error}") from error


def _members(stream: BinaryIO) -> dict[str, tuple[int, int]]:
    """Offset and size of each file in the ``ar`` archive."""
    if stream.read(len(_MAGIC)) != _MAGIC:
        raise ValueError("no Debian package")
    members: dict[str, tuple[int, int]] = {}
    while header := stream.read(_HEADER):
        if len(header) != _HEADER or header[58:] != b"`\n" or not header[48:58].strip().isdigit():
            raise ValueError("a header is cut or wrong")
        size = int(header[48:58])
        members[header[:16].decode("ascii").strip().rstrip("/")] = (stream.tell(), size)
        stream.seek(size + size % 2, 1)
    if not members or next(iter(members)) != "debian-binary":
        raise ValueError("no Debian package")
    return members


@contextmanager
def _tar(
    stream: BinaryIO, members: dict[str, tuple[int, int]], prefix: str, name: str
) -> Iterator[tarfile.TarFile]:
    member = next((each for each in members if each == prefix or each.startswith(f"{prefix}.")), None)
    if not member:
        raise ValueError(f"it has no {prefix}")
    window = cast("BinaryIO", _Window(stream, *members[member]))
    kind = member.removeprefix(prefix)
    if kind not in (".xz", ".gz", ""):
        raise BundleError(f"{name} is compressed as {kind}, which packages of Debian are not")
    with ExitStack() as held:
        opened: IO[bytes] = window
        if kind == ".xz":
            opened = held.enter_context(lzma.LZMAFile(window))
        elif kind == ".gz":
            opened = cast("IO[bytes]", held.enter_context(gzip.GzipFile(fileobj=window)))
        yield held.enter_context(tarfile.open(fileobj=opened, mode="r|", errorlevel=2))


class _Window:
    """A part of a file, to read from its beginning to its end."""

    def __init__(self, stream: BinaryIO, offset: int, size: int) -> None:
        self._stream = stream
        self._left = size
        self._at = offset

    def read(self, size: int = -1) -> bytes:
        self._stream.seek(self._at)
        content = self._stream.read(self._left if size < 0 else min(size, self._left))
        self._at += len(content)
        self._left -= len(content)
        return content

    def seekable(self) -> bool:
        return False

    def readable(self) -> bool:
        return True

    @property
    def closed(self) -> bool:
        return False


def _control(stream: BinaryIO, members: dict[str, tuple[int, int]], name: str) -> Control:
    text, scripts = "", []
    with _tar(stream, members, "control.tar", name) as archive:
        for info in archive:
            path = info.name.removeprefix("./")
            if path in ("preinst", "postinst"):
                scripts.append(path)
            content = archive.extractfile(info) if path == "control" and info.isreg() else None
            if content and info.size <= _CONTROL:
                text = content.read().decode()
    if not text:
        raise ValueError("it has no control file")
    return Control(text, tuple(scripts))


def _files(archive: tarfile.TarFile, name: str, tree: Tree) -> None:
    total = 0
    for number, info in enumerate(archive):
        total += info.size
        if total > LARGEST or number > _MOST:
            raise BundleError(f"{name} unpacks to more than {LARGEST >> 30} GB or {_MOST:,} files: a bomb")
        _file(archive, info, name, tree)


def _file(archive: tarfile.TarFile, info: tarfile.TarInfo, name: str, tree: Tree) -> None:
    if info.isdir():
        tree.folder(info.name, name)
    elif info.issym():
        tree.link(info.name, info.linkname, name)
    elif info.islnk():
        tree.same(info.name, info.linkname, name)
    elif info.isreg() and (content := archive.extractfile(info)):
        # Neither set-user-ID bits nor owners: everything belongs to root, and everybody may read it.
        tree.file(info.name, content, name, executable=bool(info.mode & 0o111))
    else:
        raise BundleError(
            f"{name}: {info.name[:100]!r} is a device, a pipe or a socket, which no image needs"
        )
