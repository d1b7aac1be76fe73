"""A root file system that is put together before it is written: no path of it ever touches this disk.

Contents go one after the other into one scratch file, names into memory. So a hostile package can neither
climb out nor write through a link, and the tar that comes out is sorted and the same everywhere.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import IO, BinaryIO

from modeldeploy.errors import BundleError
from modeldeploy.oci import tar
from modeldeploy.oci.tar import Kind

_MERGED = ("bin", "sbin", "lib", "lib32", "lib64", "libx32")
"""Folders of the root that are links into ``/usr``."""
_HOPS = 40
_PIECE = 1 << 20


@dataclass(frozen=True, slots=True)
class Entry:
    """One name. ``target`` is set for links, ``offset`` and ``size`` for files."""

    kind: Kind
    mode: int
    origin: str
    """Who brought it, for messages."""
    offset: int = 0
    size: int = 0
    target: str = ""


class Tree:
    """The entries by path, without a slash at the beginning. ``heap`` is an empty scratch file."""

    def __init__(self, heap: BinaryIO) -> None:
        self._heap = heap
        self._entries: dict[str, Entry] = {}

    def paths(self, under: str = "", suffix: str = "") -> list[str]:
        """Sorted paths that begin and end so."""
        return sorted(path for path in self._entries if path.startswith(under) and path.endswith(suffix))

    def files(self, under: str = "", suffix: str = "") -> list[str]:
        """The same, files only."""
        return [path for path in self.paths(under, suffix) if self._entries[path].kind is Kind.FILE]

    def has(self, path: str) -> bool:
        """True if there is anything of that name."""
        return path in self._entries

    def folder(self, path: str, origin: str, *, mode: int = 0o755) -> None:
        """Make a folder; one that is there already is fine."""
        path = place(path, origin)
        known = self._entries.get(path)
        if known and known.kind != Kind.FOLDER:
            raise _clash(path, known.origin, origin)
        if path and (not known or mode != 0o755):
            self._parents(path, origin)
            self._entries[path] = Entry(Kind.FOLDER, mode, origin)

    def link(self, path: str, target: str, origin: str) -> None:
        """Make a symbolic link. It is followed by what runs in the image, never here on disk."""
        name = path.removeprefix("./")
        path = place(path, origin)
        if name in _MERGED and target.lstrip("/") == path:
            self.folder(path, origin)  # one of the links of the root, which are made in the end
            return
        if not target or "\0" in target or len(target) > 4000:
            raise BundleError(f"{origin}: the link {path!r} leads nowhere")
        self._add(path, Entry(Kind.SYMLINK, 0o777, origin, target=target))

    def root_link(self, name: str, target: str, origin: str) -> None:
        """Make one of the links of the root into ``usr``; the one kind of name that `place` does not move."""
        self._entries[name] = Entry(Kind.SYMLINK, 0o777, origin, target=target)

    def file(self, path: str, content: IO[bytes] | bytes, origin: str, *, executable: bool = False) -> None:
        """Add a file, from its bytes or from a stream that ends with it."""
        path = place(path, origin)
        offset = self._heap.seek(0, 2)
        if isinstance(content, bytes):
            self._heap.write(content)
        else:
            shutil.copyfileobj(content, self._heap, _PIECE)
        mode = 0o755 if executable else 0o644
        self._add(path, Entry(Kind.FILE, mode, origin, offset, self._heap.tell() - offset))

    def same(self, path: str, other: str, origin: str) -> None:
        """A second name of a file that is there, as a file of its own."""
        known = self._entries.get(place(other, origin))
        if not known or known.kind != Kind.FILE:
            raise BundleError(
                f"{origin}: {path!r} is a hard link to {other!r}, which is no file of the package"
            )
        self._add(place(path, origin), known)

    def read(self, path: str) -> bytes:
        """A file's content, links followed. Raises `BundleError` where there is none."""
        entry = self._entries[self.resolve(path)]
        self._heap.seek(entry.offset)
        return self._heap.read(entry.size)

    def resolve(self, path: str) -> str:
        """The path of the file behind a name, links followed within the tree."""
        pending, hops = list(reversed(PurePosixPath(path).parts)), 0
        done: list[str] = []
        while pending:
            part = pending.pop()
            if part in ("/", "."):
                done = [] if part == "/" else done
            elif part == "..":
                done = done[:-1]
            else:
                done.append(part)
                entry = self._entries.get("/".join(done))
                if entry and entry.kind == Kind.SYMLINK:
                    hops += 1
                    done.pop()
                    pending.extend(reversed(PurePosixPath(entry.target).parts))
            if hops > _HOPS:
                break
        found = self._entries.get("/".join(done))
        if hops > _HOPS or not found or found.kind != Kind.FILE:
            raise BundleError(f"the base has no file {path!r}")
        return "/".join(done)

    def drop(self, unwanted: Callable[[str], bool]) -> None:
        """Take names out again, and folders that are empty then."""
        before = {path.rpartition("/")[0] for path in self._entries}
        self._entries = {
            path: entry
            for path, entry in self._entries.items()
            if entry.kind == Kind.FOLDER or not unwanted(path)
        }
        for path in sorted(before, key=len, reverse=True):
            if unwanted(f"{path}/") and not any(other.startswith(f"{path}/") for other in self._entries):
                self._entries.pop(path, None)

    def write(self, stream: BinaryIO) -> None:
        """Write all as a tar: sorted, without users' names or times, in the form that engines read."""
        for path in sorted(self._entries):
            entry = self._entries[path]
            size, link = entry.size, entry.target
            stream.write(tar.header(path, entry.kind, mode=entry.mode, size=size, link=link))
            stream.writelines(self._pieces(entry))
            stream.write(tar.padding(size))
        stream.write(bytes(2 * tar.BLOCK))

    def _pieces(self, entry: Entry) -> Iterator[bytes]:
        for start in range(0, entry.size, _PIECE):
            self._heap.seek(entry.offset + start)
            yield self._heap.read(min(_PIECE, entry.size - start))

    def _add(self, path: str, entry: Entry) -> None:
        known = self._entries.get(path)
        if not path or (known and not self._equal(known, entry)):
            raise _clash(path, known.origin if known else "the root", entry.origin)
        self._parents(path, entry.origin)
        self._entries.setdefault(path, entry)

    def _equal(self, one: Entry, other: Entry) -> bool:
        if (one.kind, one.mode, one.size, one.target) != (other.kind, other.mode, other.size, other.target):
            return False
        return all(a == b for a, b in zip(self._pieces(one), self._pieces(other), strict=True))

    def _parents(self, path: str, origin: str) -> None:
        parent = path.rpartition("/")[0]
        known = self._entries.get(parent)
        if known and known.kind != Kind.FOLDER:
            raise _clash(parent, known.origin, origin)
        if parent and not known:
            self._parents(parent, origin)
            self._entries[parent] = Entry(Kind.FOLDER, 0o755, origin)


def place(path: str, origin: str) -> str:
    """Where a name of a package lies: relative, and under ``usr`` where the root has links to there.

    Raises `BundleError` for a name that leads out of the root or that cannot be written.
    """
    parts = [part for part in path.removesuffix("/").split("/") if part != "."]
    try:
        path.encode()
        bad = path.startswith("/") or "\0" in path or ".." in parts or (parts != [""] and "" in parts)
    except UnicodeEncodeError:
        bad = True
    if bad:
        raise BundleError(f"{origin}: the path {path[:100]!r} leads out of the image, or is none")
    if parts and parts[0] in _MERGED:
        parts.insert(0, "usr")
    return "/".join(parts)


def _clash(path: str, one: str, other: str) -> BundleError:
    return BundleError(
        f"{one} and {other} both have {path!r}, and not the same",
        hint='leave one of the two out of [image] packages, or use [image] engine = "docker"',
    )
