"""The audit log against who would rather not be in it: on a folder, in S3, in an OCI registry."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import pytest

from audit_records import record
from modeldeploy.audit import Recorder, chain
from modeldeploy.audit.chain import Broken, Head, Intact
from modeldeploy.audit.log import TAG, Log
from modeldeploy.errors import RegistryError
from modeldeploy.oci.descriptor import Descriptor
from modeldeploy.oci.layout import Layout
from modeldeploy.oci.manifest import Manifest
from modeldeploy.registry.base import Registry, Repository
from modeldeploy.registry.folder import FolderRegistry
from registry_place import registry
from s3_place import log_in, new_place, serving

KINDS = ("folder", "s3", "oci")


@dataclass(frozen=True)
class Shelf:
    """A registry, as any machine opens it."""

    open: Callable[[], Registry]
    where: str

    def repository(self) -> Repository:
        return self.open().repository("digits")

    def recorder(self) -> Recorder:
        return Recorder("digits", self.where, self.repository, command="mdeploy", emit=lambda _: None)


@pytest.fixture(params=KINDS)
def shelf(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Shelf]:
    if request.param == "folder":
        yield Shelf(partial(FolderRegistry, tmp_path / "registry"), str(tmp_path / "registry"))
    elif request.param == "s3":
        log_in(monkeypatch)
        with serving() as address:
            yield Shelf(new_place(address).open(), address)
    else:
        from modeldeploy.registry.remote import RemoteRegistry

        with registry(tmp_path / "registry") as place:
            yield Shelf(partial(RemoteRegistry, place.url), place.url)


def test_on_every_registry_writers_at_once_get_in_and_a_reader_sees_whole_logs(shelf: Shelf) -> None:
    faults: list[object] = []
    over = threading.Event()

    def write(writer: int) -> None:
        log = Log(shelf.repository(), "digits")
        for number in range(4):
            log.append([record(100 * writer + number)])

    def read() -> None:
        while not over.is_set():
            found = Log(shelf.repository(), "digits").verify()
            if isinstance(found, Broken):
                faults.append(found)

    writers = [threading.Thread(target=write, args=(number,)) for number in range(2)]
    reader = threading.Thread(target=read)
    for thread in (reader, *writers):
        thread.start()
    for thread in writers:
        thread.join()
    over.set()
    reader.join()
    assert faults == []
    entries = Log(shelf.repository(), "digits").read()
    assert len({entry.record.id for entry in entries}) == len(entries) == 8


def test_on_every_registry_a_log_that_was_set_back_or_replaced_is_noticed(shelf: Shelf) -> None:
    recorder = shelf.recorder()
    repository = shelf.repository()
    recorder.record(record(1))
    former = repository.tag(TAG)
    recorder.record(record(2))
    now = repository.tag(TAG)
    assert former is not None
    assert now is not None
    repository.set_tag(TAG, former, was=now.digest)
    found = recorder.verify()
    assert isinstance(found, Broken)
    assert (found.what, found.first) == ("cut", 2)
    forged = Log(shelf.repository(), "digits")
    forged.append([record(66, by="eve@x")])
    found = recorder.verify()
    assert isinstance(found, Broken)
    assert (found.what, found.first, found.last) == ("rewritten", 2, 2)
    with pytest.raises(RegistryError, match="as seen before"):
        recorder.entries()


def test_an_append_to_a_log_of_hundreds_of_entries_is_quick(shelf: Shelf) -> None:
    log = Log(shelf.repository(), "digits")
    head = Head(0, chain.genesis("digits"))
    for start in range(0, 600, 100):
        head = log.append([record(start + number) for number in range(100)], after=head.n, seen=head)
    began = time.perf_counter()
    log.append([record(1000)], after=head.n, seen=head)
    appended = time.perf_counter() - began
    began = time.perf_counter()
    assert len(log.checked()[0]) == 601
    print(
        f"{shelf.where}: append {1000 * appended:.0f} ms, read {1000 * (time.perf_counter() - began):.0f} ms"
    )
    assert appended < 5


# In a folder, whoever may write there can do anything. What he did is found all the same.


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    log = Log(FolderRegistry(tmp_path / "registry").repository("digits"), "digits")
    for number in range(12):
        log.append([record(number)])
    return tmp_path / "registry"


def the_log(folder: Path) -> Log:
    return Log(FolderRegistry(folder).repository("digits"), "digits")


def segments(folder: Path) -> list[tuple[Path, bytes]]:
    layout = Layout(folder / "digits", root=folder)
    tag = layout.tag(TAG)
    assert tag is not None
    paths = [layout.blobs.path(one.digest) for one in Manifest.from_bytes(layout.manifest(tag.digest)).layers]
    return [(path, path.read_bytes()) for path in paths]


@pytest.mark.parametrize("n", [1, 5, 8, 9, 11, 12])
@pytest.mark.parametrize("grows", [False, True], ids=["same size", "longer"])
def test_an_edit_by_hand_is_located_in_whatever_segment_it_is(*, grows: bool, n: int, folder: Path) -> None:
    old = f"mdeploy deploy prod {n - 1}".encode()
    for path, content in segments(folder):
        if old + b'"' in content:
            path.chmod(0o644)
            path.write_bytes(content.replace(old + b'"', old[:-1] + (b"77" if grows else b"X") + b'"'))
    found = the_log(folder).verify()
    assert isinstance(found, Broken)
    assert (found.what, found.first) == ("changed", n)


def test_an_edit_by_who_knows_how_to_make_all_digests_fit_is_found_by_the_chain(folder: Path) -> None:
    """Blob, manifest, tag: all rewritten as mdeploy would, around one line that was edited."""
    lines = [line for _, content in segments(folder) for line in chain.lines_of(content)]
    lines[4] = lines[4].replace(b'"by":"ada@laptop"', b'"by":"eve@laptop"')
    content = b"".join(line + b"\n" for line in lines)
    repository = FolderRegistry(folder).repository("digits")
    tag = repository.tag(TAG)
    assert tag is not None
    manifest = json.loads(repository.manifest(tag.digest))
    segment = Descriptor.of(
        content, manifest["layers"][0]["mediaType"], annotations={"dev.mdeploy.audit.last": "12"}
    )
    layout = Layout(folder / "digits", root=folder)
    layout.blobs.path(segment.digest).write_bytes(content)
    manifest["layers"] = [segment.to_json()]
    made = repository.put_manifest(json.dumps(manifest).encode(), tag.media_type)
    repository.set_tag(TAG, made, was=tag.digest)
    found = the_log(folder).verify()
    assert isinstance(found, Broken)
    assert (found.what, found.line, found.first) == ("changed", 5, 5)
    with pytest.raises(RegistryError, match="entry 5 was changed"):
        the_log(folder).checked()


def test_a_manifest_or_a_tag_that_was_edited_is_no_log(folder: Path) -> None:
    layout = Layout(folder / "digits", root=folder)
    tag = layout.tag(TAG)
    assert tag is not None
    path = layout.blobs.path(tag.digest)
    path.chmod(0o644)
    path.write_bytes(path.read_bytes().replace(b'"12"', b'"11"'))
    found = the_log(folder).verify()
    assert isinstance(found, Broken)
    with pytest.raises(RegistryError):
        the_log(folder).append([record(99)])


@pytest.mark.parametrize(
    "content", [b"", b"\n\n", b"[]\n", b"\x00" * 1000, b'{"n": 1}\n', b"[" * 50_000, b"\xff\xfe\n"]
)
def test_nonsense_in_a_segment_is_told_and_crashes_nothing(content: bytes, folder: Path) -> None:
    path, _ = segments(folder)[0]
    path.chmod(0o644)
    path.write_bytes(content)
    found = the_log(folder).verify()
    assert isinstance(found, Broken)
    assert found.message.startswith("line 1")
    with pytest.raises(RegistryError):
        the_log(folder).read()


def test_two_machines_that_saw_the_same_log_agree_and_one_that_never_saw_it_believes_it(folder: Path) -> None:
    repository = FolderRegistry(folder).repository("digits")
    recorder = Recorder("digits", "folder", lambda: repository, command="mdeploy", emit=lambda _: None)
    found = recorder.verify()
    assert found == Intact(12, the_log(folder).head())
    assert recorder.spool.last_seen() == the_log(folder).head()
