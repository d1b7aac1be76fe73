"""Where uploads are that did not come to their end, so that the next process goes on with them."""

from __future__ import annotations

import hashlib
import json
import os
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

from modeldeploy import files

_KEPT = 7 * 24 * 3600
"""Seconds. Registries forget an upload after some days; then its file here is of no use."""
_LARGEST = 16 << 10


class Memory:
    """The location of one upload. Somebody else's, or none, where another process is at the same blob."""

    def __init__(self, path: Path | None, descriptor: int) -> None:
        self._path, self._descriptor = path, descriptor

    def location(self) -> str | None:
        """Where the registry takes the rest of the content."""
        if not self._path:
            return None
        with suppress(ValueError, KeyError, TypeError):
            return str(json.loads(os.pread(self._descriptor, _LARGEST, 0))["location"])
        return None

    def keep(self, location: str) -> None:
        """Write it down. Not on stable storage: after a power cut the upload begins anew."""
        if self._path:
            text = json.dumps({"location": location}).encode()
            with suppress(OSError):  # a full disk does not stop an upload
                os.ftruncate(self._descriptor, 0)
                os.pwrite(self._descriptor, text[:_LARGEST], 0)

    def forget(self) -> None:
        """The upload has come to its end."""
        if self._path:
            self._path.unlink(missing_ok=True)


@contextmanager
def remembered(origin: str, repository: str, digest: str) -> Iterator[Memory]:
    """What is known of an upload; only one process at a time may go on with it.

    A home that cannot be written to only means that a push that is killed begins anew.
    """
    key = hashlib.sha256(f"{origin}\n{repository}\n{digest}".encode()).hexdigest()
    with ExitStack() as held:
        try:
            folder = files.private(files.home() / "cache" / "uploads")
            _tidy(folder)
            path = folder / f"{key[:40]}.json"
            descriptor = held.enter_context(files.locked(path, wait=False))
        except OSError:  # among them BlockingIOError: another process is at it
            yield Memory(None, -1)
        else:
            yield Memory(path, descriptor)


def _tidy(folder: Path) -> None:
    oldest = time.time() - _KEPT
    with os.scandir(folder) as entries:
        for entry in entries:
            with suppress(FileNotFoundError):
                if entry.stat().st_mtime < oldest:
                    Path(entry).unlink()
