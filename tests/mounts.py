"""Folders with something wrong that only mounting can bring about: too small, or not to be written."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from needs import need


@contextmanager
def small_disk(folder: Path, size: str) -> Iterator[Path]:
    """A file system of its own, of that size (``3m``), in a new folder."""
    folder.mkdir(parents=True)
    with _mounted(folder, "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(folder)):
        yield folder


@contextmanager
def read_only(folder: Path) -> Iterator[None]:
    """While the context lasts nobody may write below the folder, the administrator neither."""
    with _mounted(folder, "--bind", str(folder), str(folder)):
        subprocess.run(["mount", "-o", "remount,ro,bind", str(folder)], check=True)
        yield


def fill(disk: Path) -> Path:
    """Use up all space that is left; the file to remove in order to free it."""
    ballast = disk / "ballast"
    with ballast.open("wb", buffering=0) as stream:
        try:
            while stream.write(bytes(65536)):
                pass
        except OSError:
            return ballast
    raise AssertionError("the disk did not become full")


@contextmanager
def _mounted(folder: Path, *mount: str) -> Iterator[None]:
    may = sys.platform == "linux" and os.geteuid() == 0
    done = may and subprocess.run(["mount", *mount], check=False, capture_output=True).returncode == 0
    need(done, "the right to mount file systems (Linux, root)")
    try:
        yield
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)
