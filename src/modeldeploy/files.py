"""Files that are whole or not there, locks that die with their holder, and mdeploy's home folder."""

from __future__ import annotations

import errno
import fcntl
import os
import stat
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, BinaryIO

from modeldeploy.errors import ConfigError, ModelDeployError

HOME_FORMAT = "1"
"""Layout of mdeploy's home folder; grows when an older mdeploy could not read it."""


class DiskFull(ModelDeployError):
    """There is no space left, or the quota is used up. Trying again helps once somebody has made room."""


def home() -> Path:
    """mdeploy's own folder: ``$MDEPLOY_HOME``, else ``~/.mdeploy``. Made if it is not there.

    Raises `ConfigError` for a folder that another version of mdeploy laid out or that is read-only.
    """
    path = Path(os.environ.get("MDEPLOY_HOME") or Path.home() / ".mdeploy").absolute()
    marker = path / "format"
    try:
        found = marker.read_text().strip()
    except FileNotFoundError:
        _lay_out(path, marker)
        return path
    except OSError as error:
        raise _unusable(path, error) from error
    _insist_on_own(path)
    if found != HOME_FORMAT:
        raise ConfigError(
            f"{path} has format {found[:40]!r}; this mdeploy reads format {HOME_FORMAT!r}",
            hint=f"keep it and start afresh beside it: mv '{path}' '{path}.old'",
        )
    return path


def _insist_on_own(path: Path) -> None:
    """Refuse a home that others own or may write to: programs and bundles in it are run as this user."""
    status = path.stat()
    if status.st_uid not in (os.geteuid(), 0):
        raise ConfigError(
            f"{path} belongs to another user, and mdeploy runs what is in it",
            hint="run mdeploy as the one who owns it, or set MDEPLOY_HOME to a folder of your own",
        )
    if status.st_mode & 0o022:
        who = "every user of this machine" if status.st_mode & 0o002 else "every user of its group"
        raise ConfigError(
            f"{who} may write to {path}, and mdeploy runs what is in it",
            hint=f"chmod 700 '{path}', after a look at what is in it; or set MDEPLOY_HOME elsewhere",
        )


def private(folder: Path) -> Path:
    """Make a folder, and those above it that are not there, for this user only. Returns it."""
    for each in reversed((folder, *folder.parents)):
        if not each.is_dir():
            each.mkdir(mode=0o700, exist_ok=True)
    return folder


def _lay_out(path: Path, marker: Path) -> None:
    try:
        private(path)
        _insist_on_own(path)
        others = [entry for entry in path.iterdir() if not entry.name.startswith(f".{marker.name}.")]
        if others and not marker.exists():  # another process that lays it out now writes the marker first
            raise ConfigError(
                f"{path} holds files but no 'format': an older mdeploy's folder, or not mdeploy's",
                hint=f"move it away (mv '{path}' '{path}.old'), or set MDEPLOY_HOME",
            )
        write_atomic(marker, HOME_FORMAT.encode())
    except OSError as error:
        raise _unusable(path, error) from error


def _unusable(path: Path, error: OSError) -> ConfigError:
    return ConfigError(
        f"cannot use {path}: {error.strerror or error}",
        hint="make it writable, or set MDEPLOY_HOME to a folder that is",
    )


def write_atomic(path: Path, content: bytes, *, mode: int = 0o600) -> None:
    """Replace a file's content: a reader sees the old or the new, also after a power cut.

    Raises `DiskFull` where there is no space left; the old content stays.
    """
    import tempfile  # loads OpenSSL and three compressors, which a reader of files has no use for

    try:
        descriptor, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
        try:
            with os.fdopen(descriptor, "wb") as stream:
                stream.write(content)
                stream.flush()
                os.fsync(stream.fileno())
            Path(temporary).chmod(mode)
            Path(temporary).replace(path)
        except BaseException:
            Path(temporary).unlink()
            raise
    except OSError as error:
        raise disk_full(path, error) or error from error
    _sync_folder(path.parent)


def append_durable(path: Path, line: bytes) -> None:
    """Add a line to a file, on stable storage on return. Cuts a torn last line off first."""
    try:
        with appending(path) as stream:
            _cut_torn_line(stream.fileno())
            stream.write(line + b"\n")
            stream.flush()
            os.fsync(stream.fileno())
    except OSError as error:
        raise disk_full(path, error) or error from error


def appending(path: Path) -> BinaryIO:
    """A file to read and to add to; one that is made is for this user only, whatever the umask."""
    flags = os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC
    return os.fdopen(os.open(path, flags, 0o600), "ab+")


def _cut_torn_line(descriptor: int) -> None:
    size = os.fstat(descriptor).st_size
    if not size or os.pread(descriptor, 1, size - 1) == b"\n":
        return
    whole = os.pread(descriptor, size, 0).rfind(b"\n") + 1
    os.ftruncate(descriptor, whole)


def read_lines(path: Path) -> list[bytes]:
    """The whole lines of a file that `append_durable` wrote; none where it is not there."""
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        return []
    return content[: content.rfind(b"\n") + 1].splitlines()


def read_small(path: Path, largest: int, what: str) -> bytes:
    """A file's content, of no more bytes than ``what`` can have. Raises ValueError for anything else."""
    # Looked at before it is opened: opening a pipe would wait for a writer.
    if not stat.S_ISREG(path.stat().st_mode):
        raise ValueError("it is not a file")
    with path.open("rb") as stream:
        content = stream.read(largest + 1)
    if len(content) > largest:
        raise ValueError(f"it is larger than {largest / 1e6:.0f} MB, which no {what} is")
    return content


def read_json(path: Path) -> Any:
    """The JSON value in a file, or None where there is no file. Raises ValueError for nonsense."""
    import json  # a reader of the project file has no use for it

    try:
        return json.loads(path.read_bytes())
    except FileNotFoundError:
        return None


def write_json(path: Path, value: object, *, mode: int = 0o600) -> None:
    """Replace a file by a JSON value, atomically, keys sorted."""
    import json

    write_atomic(path, json.dumps(value, indent=1, sort_keys=True).encode() + b"\n", mode=mode)


def disk_full(path: Path, error: OSError) -> DiskFull | None:
    """The error to show for a full disk or quota; None for any other error."""
    if error.errno not in (errno.ENOSPC, errno.EDQUOT):
        return None
    return DiskFull(
        f"no space left to write {path}; nothing was changed",
        hint=f"free some space (df -h '{path.parent}'), then run the same command again",
    )


def move(source: Path, to: Path) -> None:
    """Give a file another place at once, also on another disk: a home's folders may be links to one."""
    import shutil

    try:
        source.replace(to)
    except OSError as error:
        if error.errno != errno.EXDEV:
            raise
        beside = to.with_name(f".{to.name}.{os.getpid()}")
        try:
            shutil.copy2(source, beside)
            beside.replace(to)
        finally:
            beside.unlink(missing_ok=True)
        source.unlink()


def is_locked(path: Path) -> bool:
    """True while a living process holds `locked` on that path."""
    try:
        # For reading, which is enough to ask: the disk may be read-only by now.
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)  # shared: askers do not see each other
    except BlockingIOError:
        return True
    finally:
        os.close(descriptor)
    return False


@contextmanager
def locked(path: Path, *, wait: bool = True) -> Iterator[int]:
    """Hold an exclusive lock on a path; the kernel drops it when the process dies.

    Yields the descriptor. Raises BlockingIOError at once where it is taken and ``wait`` is False.
    The file stays: removing it would let two holders lock two files of one name.
    """
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        if wait:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        else:
            _lock_now(descriptor)
        yield descriptor
    finally:
        os.close(descriptor)


def _lock_now(descriptor: int) -> None:
    """Several tries: whoever asks `is_locked` holds the lock himself for some microseconds."""
    for pause in (0.002, 0.01, 0.03):
        with suppress(BlockingIOError):
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return
        time.sleep(pause)
    fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
