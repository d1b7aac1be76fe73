"""Folders that several users and machines write to: permissions, locks, and what goes wrong there."""

from __future__ import annotations

import errno
import fcntl
import os
import stat
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from modeldeploy import files
from modeldeploy.errors import RegistryRefused, RegistryUnavailable

PATIENCE = 60.0
"""Seconds to wait for a lock whose holder shows no sign of life."""
_PAUSE = 0.02
_PASSING = frozenset({errno.EIO, errno.ESTALE, errno.ETIMEDOUT, errno.EAGAIN, errno.ENFILE, errno.EMFILE})
_DENIED = frozenset({errno.EACCES, errno.EPERM, errno.EROFS})


@contextmanager
def guarded(path: Path, doing: str) -> Iterator[None]:
    """Turns what the operating system says into what users read. ``doing`` is ``read`` or ``write``.

    Raises `DiskFull`, `RegistryUnavailable` where trying again may help, `RegistryRefused` where not.
    """
    try:
        yield
    except OSError as error:
        # No OSError of Python's own making (sockets, subprocesses) arises where this is used.
        place = Path(os.fsdecode(error.filename)) if isinstance(error.filename, (str, bytes)) else path
        raise files.disk_full(place, error) or _told(place, doing, error) from error


def _told(path: Path, doing: str, error: OSError) -> RegistryRefused | RegistryUnavailable:
    reason = error.strerror or str(error)
    if error.errno in _PASSING:
        return RegistryUnavailable(
            f"cannot {doing} {path} now: {reason}", hint="look at the drive, then run the same command again"
        )
    hint = "check [registry] url, and that the path is what you mean"
    if error.errno in _DENIED:
        hint = f"ask for the right to {doing} there, or set [registry] url to a place where you may"
    elif error.errno in {errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOSYS}:
        hint = "this file system has no locks; keep the registry on another one"
    return RegistryRefused(f"cannot {doing} {path}: {reason}", hint=hint)


def open_regular(path: Path) -> BinaryIO:
    """A file to read. A pipe or a device in its place is refused: reading it might never end."""
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise OSError(errno.EINVAL, "it is no file", str(path))
    return os.fdopen(descriptor, "rb")


def file_mode(root: Path) -> int:
    """The mode of files below a folder: whoever may write to the folder may write to them.

    A folder for a group is for all of the group, whatever the umask of whoever writes.
    """
    return root.stat().st_mode & 0o666


def make_folders(root: Path, folder: Path) -> None:
    """Make a folder below ``root``, and those between them, with the rights that ``root`` has."""
    root.mkdir(parents=True, exist_ok=True)
    mode = root.stat().st_mode & 0o2777
    for each in reversed((folder, *folder.parents)):
        if each != root and each.is_relative_to(root) and not each.is_dir():
            with suppress(FileExistsError):
                each.mkdir()
                _give_mode(each, mode)


def _give_mode(folder: Path, mode: int) -> None:
    """Not by its name: somebody else who may write there may have put a link in its place by now."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        os.fchmod(descriptor, mode)
    finally:
        os.close(descriptor)


def open_with_mode(path: Path, mode: int) -> int:
    """A descriptor to read and write a file, made with this mode if it is not there."""
    flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
    descriptor = os.open(path, flags, mode)
    if os.fstat(descriptor).st_nlink > 1:  # what else it is called may be a file of ours
        os.close(descriptor)
        raise OSError(errno.EMLINK, "it is a second name of another file", str(path))
    if os.fstat(descriptor).st_mode & 0o777 != mode:
        with suppress(OSError):  # somebody else's file, who gave it its mode
            os.fchmod(descriptor, mode)
    return descriptor


def try_lock(descriptor: int) -> bool:
    """Take an exclusive lock on an open file if nobody has it; it ends with the descriptor."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


@contextmanager
def held(path: Path, mode: int) -> Iterator[None]:
    """Hold the lock file at a path. Raises `RegistryUnavailable` if another keeps it for a minute."""
    try:
        descriptor = open_with_mode(path, mode)
    except PermissionError:  # another user's; to lock it, it need not be written
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        deadline = time.monotonic() + PATIENCE
        while not try_lock(descriptor):
            if time.monotonic() > deadline:
                raise busy(path)
            time.sleep(_PAUSE)
        yield
    finally:
        os.close(descriptor)


def busy(path: Path) -> RegistryUnavailable:
    """Another process keeps a lock and does nothing."""
    return RegistryUnavailable(
        f"another process has kept {path} locked for {PATIENCE:.0f} s",
        hint=f"look which one it is (fuser -v '{path}'), then run the same command again",
    )


def sync_folder(folder: Path) -> None:
    """Bring a folder's names to stable storage."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
