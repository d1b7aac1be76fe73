"""Small files that strangers may have put there."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from modeldeploy import files


def test_a_small_file_is_read_up_to_its_limit_and_not_beyond(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    path.write_bytes(b"x" * 1_000_000)
    assert files.read_small(path, 1_000_000, "lock") == b"x" * 1_000_000
    path.write_bytes(b"x" * 1_000_001)
    with pytest.raises(ValueError, match="it is larger than 1 MB, which no lock is"):
        files.read_small(path, 1_000_000, "lock")


def test_nobody_waits_for_a_writer_of_a_pipe(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path / "pipe", tmp_path):
        with pytest.raises(ValueError, match="it is not a file"):
            files.read_small(path, 10, "lock")


def test_a_file_that_is_not_there_is_told_as_that(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        files.read_small(tmp_path / "lock", 10, "lock")
