"""A big file is hashed once, and again after any change, however well it is hidden."""

from __future__ import annotations

import hashlib
import os
import time
from pathlib import Path

import pytest

from modeldeploy.bundle import digests
from modeldeploy.bundle.digests import REMEMBER_FROM, content_of, unchanged


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """Every file that is really read."""
    seen: list[Path] = []
    real = digests.sha256_of

    def noting(path: Path) -> str:
        seen.append(path)
        return real(path)

    monkeypatch.setattr(digests, "sha256_of", noting)
    return seen


def big_file(path: Path, fill: bytes = b"w") -> Path:
    path.write_bytes(fill * REMEMBER_FROM)
    time.sleep(0.03)  # until a next change would show in the file's time
    return path


def test_a_big_file_is_read_once(tmp_path: Path, reads: list[Path]) -> None:
    model = big_file(tmp_path / "model.onnx")
    expected = hashlib.sha256(model.read_bytes()).hexdigest()
    assert content_of(model).sha256 == expected
    assert content_of(model).sha256 == expected
    assert len(reads) == 1


def test_a_change_that_restores_size_and_time_is_noticed(tmp_path: Path, reads: list[Path]) -> None:
    model = big_file(tmp_path / "model.onnx")
    before, status = content_of(model), model.stat()
    with model.open("r+b") as stream:
        stream.write(b"X")
    os.utime(model, ns=(status.st_atime_ns, status.st_mtime_ns))
    assert not unchanged(model, before)
    assert content_of(model).sha256 != before.sha256
    assert len(reads) == 2


def test_a_file_replaced_by_another_of_the_same_size_is_noticed(tmp_path: Path) -> None:
    model = big_file(tmp_path / "model.onnx")
    before = content_of(model)
    big_file(tmp_path / "new.onnx", b"n").replace(model)
    assert content_of(model).sha256 != before.sha256


def test_a_file_written_this_instant_is_not_trusted_to_stay(tmp_path: Path, reads: list[Path]) -> None:
    model = tmp_path / "model.onnx"
    model.write_bytes(b"w" * REMEMBER_FROM)
    now = time.time_ns()
    status = model.stat()
    assert not digests._settled(status, status.st_ctime_ns + 1_000_000)
    assert digests._settled(status, now + 3_000_000_000)
    content_of(model)
    assert reads == [model]


def test_small_files_are_always_read(tmp_path: Path, reads: list[Path]) -> None:
    small = tmp_path / "service.py"
    small.write_text("pass")
    content_of(small)
    content_of(small)
    assert len(reads) == 2


def test_a_damaged_note_costs_time_and_nothing_else(tmp_path: Path, home: Path) -> None:
    model = big_file(tmp_path / "model.onnx")
    right = content_of(model).sha256
    for note in (home / "cache" / "digests").iterdir():
        note.write_bytes(b"\xff torn")
    assert content_of(model).sha256 == right
