"""The only place where tar archives become files. Two ways, for two kinds of trust.

`files` is for bundles: nothing but the regular files that a manifest lists, each with the content that it
says. Whatever else the archive holds is refused, and no name from it ever reaches the file system that was
not expected.

`rootfs` is for images that are to be run without an engine: folders, files and links in any order, layers
over each other. Every path is resolved inside the folder, as if that were ``/``.

Both raise `Malformed`; whoever knows where an archive came from says so to users.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
import stat
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from modeldeploy import files as paths
from modeldeploy.oci.checked import Checked, Limited, unpacked
from modeldeploy.oci.descriptor import Descriptor
from modeldeploy.oci.manifest import Malformed
from modeldeploy.oci.untar import FOLDER, HARD_LINK, SYMLINK, Content, Member, Readable, members

MOST_BYTES = 64 << 30
"""What the layers of an image may unpack to, unless the caller says otherwise."""
MOST_ENTRIES = 2_000_000
_GROWTH = 200
"""How many times its size a compressed layer may grow; real ones grow 2 to 10 times."""
_SMALL = 100 << 20
"""A layer may grow to this whatever its size."""
_MOST_LINKS = 40
_WHITEOUT, _OPAQUE = ".wh.", ".wh..wh..opq"


@dataclass(frozen=True, slots=True)
class Wanted:
    """What a file must be."""

    sha256: str
    """64 hexadecimal digits."""
    size: int
    executable: bool = False


def files(
    stream: Readable, descriptor: Descriptor, folder: Path | None, wanted: Mapping[str, Wanted], *, below: str
) -> frozenset[str]:
    """Unpack a layer that may hold nothing but wanted files, each once; returns their paths.

    ``wanted`` names them by their paths below ``below`` in the archive, which become paths below ``folder``,
    a folder that only this process writes to; without one, all is checked and nothing written. Files are
    made read-only, and never replace one. Raises `Malformed`, and `DiskFull`.
    """
    checked = Checked(stream, descriptor)
    archive = Limited(unpacked(checked, descriptor.media_type), room(wanted))
    written: set[str] = set()
    folders = {parent for path in wanted for parent in _parents(f"{below}/{path}")}
    for member, content in members(archive, most=len(wanted) + len(folders)):
        if member.flag == FOLDER and member.path.rstrip("/") in folders:
            continue
        path = member.path.removeprefix(f"{below}/")
        if not member.is_file or path not in wanted or path in written or path == member.path:
            raise Malformed(f"{member.path[:100]!r} (type {member.flag!r}) should not be in the archive")
        if member.size != wanted[path].size or member.mode & 0o7000:
            raise Malformed(f"{path[:100]!r} has another size or mode in the archive than it should")
        found = _written(folder / path, content, wanted[path]) if folder else _sha256(content)
        if found != wanted[path].sha256:
            raise Malformed(f"{path[:100]!r} is not what its digest says")
        written.add(path)
    checked.finish()
    return frozenset(written)


def rootfs(
    layers: Iterable[tuple[Readable, Descriptor]],
    folder: Path,
    *,
    most_bytes: int = MOST_BYTES,
    most_entries: int = MOST_ENTRIES,
) -> None:
    """Unpack an image's layers over each other into an empty folder, with their whiteouts.

    Owners and times are not kept, set-user-id bits neither. Raises `Malformed` for what is no layer, for
    links out of the image and for devices, and `DiskFull`.
    """
    root = _Root(folder)
    for stream, descriptor in layers:
        checked = Checked(stream, descriptor)
        most = min(most_bytes, max(descriptor.size * _GROWTH, _SMALL))
        archive = Limited(unpacked(checked, descriptor.media_type), most)
        root.begin_layer()
        for member, content in members(archive, most=most_entries):
            most_entries -= 1
            root.put(member, content)
        most_bytes -= most - archive.left
        checked.finish()


def room(wanted: Mapping[str, Wanted]) -> int:
    """More bytes than any archive of these files has, with all headers."""
    return sum(each.size + 8192 + 4 * len(path) for path, each in wanted.items()) + (1 << 16)


def _parents(path: str) -> Iterable[str]:
    while "/" in path:
        path = path.rpartition("/")[0]
        yield path


def _sha256(content: Content) -> str:
    state = hashlib.sha256()
    for piece in content.pieces():
        state.update(piece)
    return state.hexdigest()


def _written(place: Path, content: Content, wanted: Wanted) -> str:
    """Make a file; the digest of what was written."""
    state = hashlib.sha256()
    try:
        place.parent.mkdir(parents=True, exist_ok=True)
        with _created(place, 0o555 if wanted.executable else 0o444) as descriptor:
            for piece in content.pieces():
                state.update(piece)
                _write_all(descriptor, piece)
    except (FileExistsError, NotADirectoryError):
        raise Malformed(f"{place.name[:100]!r} stands for two things in the archive") from None
    except OSError as error:
        raise paths.disk_full(place, error) or error from error
    return state.hexdigest()


@contextlib.contextmanager
def _created(place: Path, mode: int) -> Iterator[int]:
    descriptor = os.open(place, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    try:
        yield descriptor
        os.fchmod(descriptor, mode)
    finally:
        os.close(descriptor)


def _write_all(descriptor: int, piece: bytes) -> None:
    view = memoryview(piece)
    while view:
        view = view[os.write(descriptor, view) :]


class _Root:
    """A folder that stands for ``/``: nothing that is put into it comes to lie outside of it."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._mine: set[Path] = set()

    def begin_layer(self) -> None:
        """What is put from now on is not hidden by this layer's own whiteouts."""
        self._mine.clear()

    def put(self, member: Member, content: Content) -> None:
        """One entry of a layer."""
        parts = _inside(member.path)
        if not parts:
            return  # the root itself
        try:
            place = self._resolved(parts[:-1]) / parts[-1]
            if parts[-1].startswith(_WHITEOUT):
                self._hide(place, parts[-1])
                return
            self._make(member, content, place)
            self._mine.add(place)
        except OSError as error:
            full = paths.disk_full(self._folder, error)
            raise full or Malformed(f"cannot unpack {member.path[:100]!r}: {error.strerror}") from error

    def _make(self, member: Member, content: Content, place: Path) -> None:
        there = _status(place)
        if there is not None and not (stat.S_ISDIR(there.st_mode) and member.flag == FOLDER):
            _remove(place)
        if member.flag == FOLDER:
            place.mkdir(exist_ok=True)
            place.chmod(member.mode & 0o1777 | 0o700)
        elif member.is_file:
            with _created(place, member.mode & 0o777) as descriptor:
                for piece in content.pieces():
                    _write_all(descriptor, piece)
        elif member.flag == SYMLINK:
            self._insist_on_inner(member)
            place.symlink_to(member.link)
        elif member.flag == HARD_LINK:
            self._link(member, place)
        else:
            raise Malformed(f"{member.path[:100]!r} is a device, a pipe or something else that is no file")

    def _link(self, member: Member, place: Path) -> None:
        parts = _inside(member.link)
        source = self._resolved(parts[:-1]) / parts[-1] if parts else self._folder
        there = _status(source)
        if there is None or not stat.S_ISREG(there.st_mode):
            raise Malformed(f"{member.path[:100]!r} is a link to {member.link[:100]!r}, which is no file")
        os.link(source, place, follow_symlinks=False)

    def _hide(self, place: Path, name: str) -> None:
        """A whiteout: what the layers below have there is gone."""
        bare = name.removeprefix(_WHITEOUT)
        if name != _OPAQUE and bare in {"", ".", ".."}:
            raise Malformed(f"{name[:100]!r} hides nothing that can be")
        hidden = list(place.parent.iterdir()) if name == _OPAQUE else [place.parent / bare]
        for each in hidden:
            if not self._is_mine(each):
                _remove(each)

    def _is_mine(self, path: Path) -> bool:
        return path in self._mine or any(path in mine.parents for mine in self._mine)

    def _insist_on_inner(self, member: Member) -> None:
        """Refuse a relative link that climbs out; an absolute one begins at this root when it is used."""
        if not member.link or member.link.startswith("/"):
            return
        depth = len(_inside(member.path)) - 1
        for part in member.link.split("/"):
            depth += {"..": -1, ".": 0, "": 0}.get(part, 1)
            if depth < 0:
                raise Malformed(f"{member.path[:100]!r} is a link out of the image: {member.link[:100]!r}")

    def _resolved(self, parts: Iterable[str]) -> Path:
        """The folder of that path, links followed inside the root, made where it is not there."""
        waiting, found, links = list(parts), list[str](), 0
        while waiting:
            part = waiting.pop(0)
            if part in {"", ".", ".."}:  # only links bring these
                found = found[:-1] if part == ".." else found
                continue
            path = self._folder.joinpath(*found, part)
            there = _status(path)
            if there is not None and stat.S_ISLNK(there.st_mode):
                links += 1
                if links > _MOST_LINKS:
                    raise Malformed("links in the image lead in a circle")
                target = str(path.readlink())
                found = [] if target.startswith("/") else found
                waiting = [*target.split("/"), *waiting]
                continue
            if there is None:
                path.mkdir(mode=0o755)
            elif not stat.S_ISDIR(there.st_mode):
                raise Malformed(f"{part[:100]!r} is a file, and a folder in the same image")
            found.append(part)
        return self._folder.joinpath(*found)


def _inside(path: str) -> list[str]:
    """The parts of a path of a layer. Raises `Malformed` for one that is absolute or climbs."""
    parts = path.split("/")
    if path.startswith("/") or ".." in parts:
        raise Malformed(f"the path {path[:100]!r} leads out of the image")
    return [part for part in parts if part not in {"", "."}]


def _status(path: Path) -> os.stat_result | None:
    try:
        return path.lstat()
    except FileNotFoundError:
        return None


def _remove(path: Path) -> None:
    there = _status(path)
    if there is None:
        return
    if stat.S_ISDIR(there.st_mode):
        shutil.rmtree(path)
    else:
        path.unlink()
