"""Tar streams: the same bytes anywhere, from any offset, never in memory as a whole."""

from __future__ import annotations

import hashlib
import os
import random
import subprocess
import sys
import tarfile
import tracemalloc
from pathlib import Path

import pytest

from modeldeploy.errors import BundleError
from modeldeploy.oci import remember, tar
from modeldeploy.oci.tar import MTIME, Entry, layer_of

GIB = 1 << 30


@pytest.fixture
def source(tmp_path: Path) -> Path:
    path = tmp_path / "weights of Søren.bin"
    path.write_bytes(random.Random(5).randbytes(5000))
    return path


def entries(source: Path) -> list[Entry]:
    return [
        Entry.file("bundle/model.bin", source, mode=0o444),
        Entry.folder("bundle"),
        Entry.file("bundle/run.sh", b"#!/bin/sh\n", mode=0o555),
        Entry.symlink("bundle/link", "model.bin"),
        Entry.file(f"bundle/{'long/' * 30}ünïcode.txt", b"x"),
        Entry.symlink("bundle/far", "../" * 60 + "away"),
        Entry.file("bundle/empty", b""),
    ]


def test_tarfile_reads_what_was_written(source: Path) -> None:
    layer = layer_of(entries(source), name="code")
    with tarfile.open(fileobj=layer.open()) as archive:
        found = {member.name: member for member in archive}
        content = {name: archive.extractfile(member) for name, member in found.items() if member.isfile()}
        read = {name: stream.read() for name, stream in content.items() if stream}
    assert read["bundle/model.bin"] == source.read_bytes()
    assert read[f"bundle/{'long/' * 30}ünïcode.txt"] == b"x"
    assert read["bundle/empty"] == b""
    assert found["bundle/far"].linkname == "../" * 60 + "away"
    assert found["bundle/run.sh"].mode == 0o555
    assert found["bundle"].isdir()
    assert {(one.mtime, one.uid, one.gid, one.uname, one.gname) for one in found.values()} == {
        (MTIME, 0, 0, "", "")
    }


def test_gnu_tar_reads_what_was_written(source: Path, tmp_path: Path) -> None:
    layer = layer_of(entries(source), name="code")
    with layer.open() as stream:
        subprocess.run(["tar", "-x", "-C", str(tmp_path)], input=stream.read(), check=True)
    assert (tmp_path / "bundle/model.bin").read_bytes() == source.read_bytes()
    assert (tmp_path / f"bundle/{'long/' * 30}ünïcode.txt").read_bytes() == b"x"


def test_the_digest_is_the_same_on_every_machine(tmp_path: Path) -> None:
    file = tmp_path / "w"
    file.write_bytes(b"weights" * 1000)
    layer = layer_of(
        [Entry.folder("bundle"), Entry.file("bundle/m/ä", file), Entry.symlink("bundle/l", "m")], name="x"
    )
    assert layer.digest == "sha256:a87d5e94fa9c22627038adeeda3d68aa83398d553ef8092f5cf13c2eff297fe7"


def test_the_order_of_the_entries_does_not_matter(source: Path) -> None:
    one = layer_of(entries(source), name="a")
    assert layer_of(reversed(entries(source)), name="b").digest == one.digest


def test_times_owners_and_the_place_of_a_file_do_not_matter(source: Path, tmp_path: Path) -> None:
    other = tmp_path / "elsewhere" / "w"
    other.parent.mkdir()
    other.write_bytes(source.read_bytes())
    os.utime(other, (1, 1))
    other.chmod(0o600)
    assert (
        layer_of([Entry.file("m", other)], name="x").digest
        == layer_of([Entry.file("m", source)], name="x").digest
    )


def test_the_stream_opens_at_any_byte(source: Path) -> None:
    layer = layer_of(entries(source), name="code")
    whole = layer.open().read()
    assert len(whole) == layer.size
    assert f"sha256:{hashlib.sha256(whole).hexdigest()}" == layer.digest
    for start in (*range(0, layer.size, 333), layer.size, layer.size + 5):
        assert layer.open(start).read() == whole[start:]
    with layer.open() as stream:
        for start in random.Random(1).sample(range(layer.size), 50):
            stream.seek(start)
            assert stream.read(700) == whole[start : start + 700]


def test_the_size_is_known_without_reading(source: Path) -> None:
    assert tar.size_of(entries(source)) == layer_of(entries(source), name="x").size


def test_a_file_of_more_than_8_gib_is_one_layer_and_never_in_memory(tmp_path: Path) -> None:
    big = tmp_path / "big"
    with big.open("wb") as stream:
        stream.truncate(9 * GIB)
    entry = Entry.file("bundle/model", big, sha256="0" * 64)
    with pytest.MonkeyPatch.context() as patch:
        # Hashing 9 GiB takes half a minute: that the stream is hashed is tested elsewhere.
        patch.setattr(tar, "remembered", lambda key, compute: f"sha256:{'1' * 64}")
        layer = layer_of([entry], name="model")
    assert layer.size == 9 * GIB + 4 * 512 + 1024 - 512
    tracemalloc.start()
    with layer.open(8 * GIB) as stream:
        for _ in range(100):
            assert not any(stream.read(1 << 20))
    assert tracemalloc.get_traced_memory()[1] < 8 << 20
    tracemalloc.stop()
    with tarfile.open(fileobj=layer.open()) as archive:
        member = archive.next()
        assert member is not None
        assert (member.name, member.size) == ("bundle/model", 9 * GIB)
        assert archive.next() is None


@pytest.mark.parametrize("path", ["/etc/passwd", "../x", "a/../b", "a//b", "", ".", "a/./b", "a\nb", "a\0b"])
def test_a_path_that_no_layer_can_have_is_refused(path: str) -> None:
    with pytest.raises(ValueError, match="can be no path"):
        layer_of([Entry.file(path, b"")], name="x")


def test_a_path_twice_is_refused() -> None:
    with pytest.raises(ValueError, match="twice"):
        layer_of([Entry.file("a", b"1"), Entry.folder("a")], name="x")


def test_a_file_that_grows_after_the_layer_was_made_is_noticed(source: Path) -> None:
    layer = layer_of([Entry.file("m", source)], name="x")
    with source.open("ab") as stream:
        stream.write(b"more")
    with pytest.raises(BundleError, match="changed while it was read"):
        layer.open().read()


def test_a_file_that_is_written_to_while_it_is_read_is_noticed(tmp_path: Path) -> None:
    file = tmp_path / "w"
    file.write_bytes(bytes(8 << 20))
    layer = layer_of([Entry.file("m", file)], name="x")
    stream = layer.open()
    stream.read(3 << 20)
    with file.open("r+b") as writer:
        writer.write(b"other")
    os.utime(file, ns=(1, 1))
    with pytest.raises(BundleError, match="changed while it was read"):
        stream.read()


@pytest.mark.parametrize("how", ["gone", "cut", "a folder now"])
def test_a_file_that_is_not_what_it_was_is_told_by_name(source: Path, how: str) -> None:
    entry = Entry.file("m", source)
    layer = layer_of([entry], name="x")
    if how == "cut":
        os.truncate(source, 10)
    else:
        source.unlink()
    if how == "a folder now":
        source.mkdir()
    with pytest.raises(BundleError) as found:
        layer_of([entry], name="x")
    assert source.name in found.value.message
    with pytest.raises(BundleError):
        layer.open().read()


def test_a_pipe_is_no_file(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(OSError, match="not a regular file"):
        Entry.file("m", tmp_path / "pipe")


def test_the_digest_of_a_large_file_is_remembered_by_its_content(tmp_path: Path) -> None:
    content = random.Random(2).randbytes(2 << 20)
    sha256 = hashlib.sha256(content).hexdigest()
    for name in ("one", "two"):
        (tmp_path / name).write_bytes(content)
    first = layer_of([Entry.file("m", tmp_path / "one", sha256=sha256)], name="x")
    (tmp_path / "two").write_bytes(bytes(len(content)))  # not read again: its digest was checked elsewhere
    assert layer_of([Entry.file("m", tmp_path / "two", sha256=sha256)], name="x").digest == first.digest
    assert layer_of([Entry.file("n", tmp_path / "one", sha256=sha256)], name="x").digest != first.digest


def test_a_large_file_of_unknown_content_is_remembered_until_it_is_touched(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tar, "_SETTLED", -1)
    file = tmp_path / "w"
    file.write_bytes(bytes(2 << 20))
    first = layer_of([Entry.file("m", file)], name="x")
    monkeypatch.setattr(tar, "_digest_of", lambda *_: pytest.fail("read again"))
    assert layer_of([Entry.file("m", file)], name="x").digest == first.digest
    monkeypatch.undo()
    file.write_bytes(b"\1" * (2 << 20))
    assert layer_of([Entry.file("m", file)], name="x").digest != first.digest


def test_a_note_that_somebody_broke_is_made_again(home: Path) -> None:
    assert remember.remembered("key", lambda: f"sha256:{'1' * 64}") == f"sha256:{'1' * 64}"
    (note,) = (home / "cache" / "layers").glob("*/*")
    note.write_bytes(b"\xff nonsense")
    assert remember.remembered("key", lambda: f"sha256:{'2' * 64}") == f"sha256:{'2' * 64}"


def test_another_process_with_another_locale_makes_the_same_digest(source: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from modeldeploy.oci.tar import *; "
        "print(layer_of([Entry.file('b\\xfcndle/x', Path(sys.argv[1]))], name='x').digest)"
    )
    strange = {"LC_ALL": "C", "TZ": "Asia/Kathmandu", "PYTHONHASHSEED": "77", "PYTHONUTF8": "0"}
    told = subprocess.run(
        [sys.executable, "-c", code, str(source)],
        env=os.environ | strange,
        umask=0o077,
        check=True,
        capture_output=True,
        text=True,
    ).stdout
    assert told.strip() == layer_of([Entry.file("bündle/x", source)], name="x").digest
