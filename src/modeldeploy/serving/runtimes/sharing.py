"""Weights that worker processes share: a copy of the model in a form that they all map into memory.

onnxruntime reads a model's weights into memory of its own, and packs them into another layout beside that:
each worker has all of it for itself. But it can write a model with the packed weights in a file, and map that
file. Memory (PSS) of 2 and 4 workers with a model of 200 MB: 577 and 1108 MB without the copy, 288 and
356 MB with it; the model is as quick as before. The first worker has the copy written, to
the folder for temporary files: twice the size of the model.

A copy is good for one machine and one version of onnxruntime, which its name stands for. Who uses it holds a
lock on it, so that whoever writes the next one can remove those that nobody uses any more.
"""

from __future__ import annotations

import fcntl
import logging
import os
import platform
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

log = logging.getLogger("mdeploy_serving")

_LEAST = 64 * 1024 * 1024
"""Bytes: with smaller models there is little to share."""
_ROOM = 3
"""Free space that is asked for, in sizes of the model: the copy has the weights twice."""
_MODEL = "model.onnx"
_MAKING = "making.lock"


@dataclass(frozen=True, slots=True)
class Copy:
    """A copy in use, until it is closed or the process ends."""

    path: Path
    _lock: int

    def close(self) -> None:
        """Let go of it."""
        os.close(self._lock)


def worth_it(path: Path, workers: int) -> bool:
    """True if several workers load this model, and there is much of it."""
    return workers > 1 and _size(path) >= _LEAST


def shared_copy(
    path: Path, traits: str, write: Callable[[Path], None], *, base: Path | None = None
) -> Copy | None:
    """The copy of a model, written by ``write`` if there is none yet; None where that cannot be.

    ``traits``: what else the copy depends on. ``base``: a folder for copies, of this user only.
    """
    try:
        folder = _own_folder(base or Path(tempfile.gettempdir()) / f"mdeploy-weights-{os.getuid()}")
        return _held(folder, _key(path, traits), write, room=_ROOM * _size(path))
    except Exception as error:  # noqa: BLE001  # sharing is a saving: no reason not to start
        log.warning("the weights are not shared among the workers: %s", error)
        return None


def _held(folder: Path, key: str, write: Callable[[Path], None], *, room: int) -> Copy:
    lock = os.open(folder / f"{key}.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_SH)
        with _alone(folder / _MAKING):
            if not (folder / key).exists():
                _sweep(folder)
                _make(folder, key, write, room)
    except BaseException:
        os.close(lock)
        raise
    return Copy(folder / key / _MODEL, lock)


def _make(folder: Path, key: str, write: Callable[[Path], None], room: int) -> None:
    if (free := shutil.disk_usage(folder).free) < room:
        raise OSError(f"{folder} has {free // 2**20} MB left, of {room // 2**20} MB that the copy may take")
    new = folder / f"{key}.new"
    shutil.rmtree(new, ignore_errors=True)
    new.mkdir(mode=0o700)
    try:
        write(new / _MODEL)
        new.rename(folder / key)
    finally:
        shutil.rmtree(new, ignore_errors=True)


def _sweep(folder: Path) -> None:
    """Remove the copies that nobody uses."""
    for other in folder.glob("*.lock"):
        if other.name == _MAKING:
            continue
        lock = os.open(other, os.O_RDWR | os.O_CLOEXEC)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            shutil.rmtree(other.with_suffix(""), ignore_errors=True)
        except BlockingIOError:
            pass
        finally:
            os.close(lock)


@contextmanager
def _alone(path: Path) -> Iterator[None]:
    lock = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
    finally:
        os.close(lock)


def _own_folder(folder: Path) -> Path:
    """A folder that only we may use. Raises PermissionError for one that others made, or could write to."""
    folder.mkdir(mode=0o700, exist_ok=True)
    found = folder.lstat()
    if folder.is_symlink() or found.st_uid != os.getuid() or found.st_mode & 0o077:
        raise PermissionError(f"{folder} is not for this user alone")
    return folder


def _key(path: Path, traits: str) -> str:
    files = (f"{each.name} {(found := each.stat()).st_size} {found.st_mtime_ns}" for each in _files(path))
    said = "\n".join((str(path.resolve()), traits, platform.machine(), _processor(), *files))
    return sha256(said.encode(errors="surrogateescape")).hexdigest()[:32]


def _processor() -> str:
    """What tells this processor's kind: packed weights depend on it."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:  # not Linux
        return platform.processor()
    return next((line for line in lines if line.startswith(("flags", "Features"))), "")


def _files(path: Path) -> list[Path]:
    """The model, and the files beside it that may hold its weights."""
    return sorted(
        each for each in path.parent.iterdir() if each.is_file() and each.suffix not in (".py", ".json")
    )


def _size(path: Path) -> int:
    return sum(each.stat().st_size for each in _files(path))
