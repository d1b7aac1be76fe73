"""The log files of workers and of Envoy: bounded in size, readable while they are written.

Programs write to their files themselves, so that no supervisor's death can block or end them. A
file that has grown too large is copied aside and cut to nothing in place: the writer appends, so it
goes on at the new end. Lines written between copy and cut are lost, a few at the most.
"""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path

LARGEST = 8 * 1024 * 1024
"""Bytes per file; one older file of that size is kept beside it."""

_BLOCK = 65536
_FOLLOW_PAUSE = 0.2


def note(path: Path, sentence: str) -> None:
    """Add a line of the supervisor's own to a log. A full disk must not stop a supervisor."""
    moment = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    with suppress(OSError), path.open("ab") as stream:
        stream.write(f"{moment} mdeploy: {sentence}\n".encode())


def bound(path: Path, largest: int = LARGEST) -> None:
    """Move a log's content aside if it is too large."""
    with suppress(OSError):
        if path.stat().st_size > largest:
            shutil.copyfile(path, _older(path))
            os.truncate(path, 0)


def tail(path: Path, count: int) -> list[str]:
    """The last ``count`` lines of a log, the part moved aside included; none if there is no log."""
    lines = _last_lines(path, count)
    if len(lines) < count:
        lines = _last_lines(_older(path), count - len(lines)) + lines
    return lines


def tail_all(paths: Sequence[Path], count: int, *, labelled: bool = False) -> list[str]:
    """The last lines of several logs, together at most ``count``, the one written last at the end.

    ``labelled`` lines begin with the name of their log.
    """
    filled = sorted((path for path in paths if _size(path)), key=lambda path: path.stat().st_mtime)
    lines: list[str] = []
    for index, path in enumerate(filled):
        share = (count - len(lines)) // (len(filled) - index)
        lines += [_label(path, labelled) + line for line in tail(path, share)]
    return lines


def follow(paths: Sequence[Path], since: dict[Path, int], *, labelled: bool = False) -> Iterator[str]:
    """Lines added to logs from the given sizes on, for as long as the first log's folder exists."""
    positions = dict(since)
    while paths and paths[0].parent.exists():
        for path in paths:
            start = positions.get(path, 0)
            if _size(path) < start:
                start = 0  # the content was moved aside
            content = _read_from(path, start)
            whole = content.rfind(b"\n") + 1
            positions[path] = start + whole
            yield from (_label(path, labelled) + line for line in _decode(content[:whole]))
        time.sleep(_FOLLOW_PAUSE)


def sizes(paths: Sequence[Path]) -> dict[Path, int]:
    """Where each log ends now: what `follow` begins from."""
    return {path: _size(path) for path in paths}


def _label(path: Path, wanted: bool) -> str:  # noqa: FBT001 (a flag is all it takes)
    return f"[{path.stem}] " if wanted else ""


def _older(path: Path) -> Path:
    return path.with_name(path.name + ".1")


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return 0


def _read_from(path: Path, start: int) -> bytes:
    try:
        with path.open("rb") as stream:
            stream.seek(start)
            return stream.read(LARGEST)
    except OSError:
        return b""


def _last_lines(path: Path, count: int) -> list[str]:
    wanted, size = _BLOCK, _size(path)
    content = _read_from(path, max(0, size - wanted))
    while content.count(b"\n") <= count and wanted < size:
        wanted *= 4
        content = _read_from(path, max(0, size - wanted))
    return _decode(content)[-count:] if count > 0 else []


def _decode(content: bytes) -> list[str]:
    return content.decode(errors="replace").splitlines()
