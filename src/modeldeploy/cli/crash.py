"""The traceback file of a bug: enough to find it, nothing that should not leave the machine."""

from __future__ import annotations

import os
import platform
import sys
import tempfile
import time
import traceback
from collections.abc import Sequence
from pathlib import Path

from modeldeploy import __version__, files
from modeldeploy.errors import ModelDeployError

KEEP = 20
"""How many traceback files are kept."""


def record(error: BaseException, words: Sequence[str]) -> Path | None:
    """Write the traceback to a file, without the values of variables. None where that is impossible."""
    name = f"{time.strftime('%Y%m%d-%H%M%S')}-{os.getpid()}.txt"
    content = _content(error, words).encode(errors="replace")
    for folder in (_crashes, _temporary):
        try:
            path = folder() / name
            files.write_atomic(path, content)
        except (OSError, ModelDeployError):
            continue
        _forget_old(path.parent)
        return path
    return None


def _content(error: BaseException, words: Sequence[str]) -> str:
    system = f"{platform.system()} {platform.release()} {platform.machine()}"
    head = f"mdeploy {__version__}, Python {sys.version.split()[0]}, {system}"
    typed = " ".join(["mdeploy", *words])
    return f"{head}\n{typed}\n\n{''.join(traceback.format_exception(error))}"


def _crashes() -> Path:
    folder = files.home() / "crashes"
    folder.mkdir(mode=0o700, exist_ok=True)
    return folder


def _temporary() -> Path:
    return Path(tempfile.mkdtemp(prefix="mdeploy-crash-"))


def _forget_old(folder: Path) -> None:
    for path in sorted(folder.glob("*.txt"))[:-KEEP]:
        path.unlink(missing_ok=True)
