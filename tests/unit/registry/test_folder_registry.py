"""A registry in a folder, in bad company: other users, full and read-only disks, nonsense, sudden deaths."""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import stat
import subprocess
import threading
import time
from pathlib import Path

import pytest

import mounts
import registry_writer
from modeldeploy.errors import ModelDeployError, RegistryRefused, RegistryUnavailable
from modeldeploy.files import DiskFull
from modeldeploy.oci import disk, layout
from modeldeploy.oci.descriptor import Descriptor
from modeldeploy.registry.folder import FolderRegistry, FolderRepository
from modeldeploy.testing.content import MANIFEST, Content, manifest_of
from modeldeploy.testing.racing import link
from needs import need

BIG = Content(3_000_000, seed=3)
Told = list[int]


@pytest.fixture
def place(tmp_path: Path) -> Path:
    return tmp_path / "registry"


@pytest.fixture
def repository(place: Path) -> FolderRepository:
    return FolderRegistry(place).repository("digits")


def ignore(count: int) -> None:
    del count


def read(repository: FolderRepository) -> bytes:
    with repository.open_blob(BIG.descriptor()) as stream:
        return stream.read()


def modes(folder: Path) -> dict[str, int]:
    return {
        str(path.relative_to(folder)): stat.S_IMODE(path.stat().st_mode) & 0o777 for path in folder.rglob("*")
    }


def blob_of(repository: FolderRepository, content: Content) -> Path:
    return repository.layout.blobs.path(content.digest())


# -- other tools, other users ----------------------------------------------------------------------------


def test_what_is_kept_is_an_image_layout(repository: FolderRepository, place: Path) -> None:
    repository.set_tag("1.0.0", link(repository), was=None)
    folder = place / "digits"
    assert json.loads((folder / "oci-layout").read_text()) == {"imageLayoutVersion": "1.0.0"}
    index = json.loads((folder / "index.json").read_text())
    assert index["schemaVersion"] == 2
    assert [one["annotations"] for one in index["manifests"]] == [
        {"org.opencontainers.image.ref.name": "1.0.0"}
    ]


def test_skopeo_reads_it(repository: FolderRepository, place: Path) -> None:
    need(shutil.which("skopeo"), "skopeo")
    repository.set_tag("1.0.0", link(repository), was=None)
    told = subprocess.run(
        ["skopeo", "inspect", "--raw", f"oci:{place / 'digits'}:1.0.0"], capture_output=True, check=True
    ).stdout
    found = repository.tag("1.0.0")
    assert found is not None
    assert told == repository.manifest(found.digest)


def test_entries_of_other_tools_stay_as_they_are(repository: FolderRepository, place: Path) -> None:
    there = link(repository)
    repository.set_tag("1.0.0", there, was=None)
    index = place / "digits" / "index.json"
    value = json.loads(index.read_text())
    strange = {**there.to_json(), "artifactType": "x/y", "data": "e30="}
    index.write_text(
        json.dumps({**value, "manifests": [strange, *value["manifests"]], "annotations": {"a": "b"}})
    )
    repository.set_tag("prod", there, was=None)
    after = json.loads(index.read_text())
    assert after["manifests"][0] == strange
    assert after["annotations"] == {"a": "b"}
    assert list(repository.tags()) == ["1.0.0", "prod"]


@pytest.mark.parametrize("umask", [0o077, 0o022, 0o000])
def test_a_folder_for_a_group_is_for_all_of_the_group(place: Path, umask: int) -> None:
    place.mkdir()
    place.chmod(0o2770)
    before = os.umask(umask)
    try:
        repository = FolderRegistry(place).repository("team/digits")
        repository.push_blob(BIG.blob(), moved=ignore)
        repository.set_tag("1.0.0", link(repository), was=None)
    finally:
        os.umask(before)
    found = modes(place)
    assert {mode for path, mode in found.items() if (place / path).is_dir()} == {0o770}
    assert {mode for path, mode in found.items() if "/sha256/" in path} == {0o440}
    assert found["team/digits/index.json"] == found["team/digits/index.lock"] == 0o660
    assert (place / "team" / "digits").stat().st_mode & stat.S_ISGID


def test_a_private_folder_stays_private(place: Path) -> None:
    place.mkdir(mode=0o700)
    before = os.umask(0)
    try:
        repository = FolderRegistry(place).repository("digits")
        repository.set_tag("1.0.0", link(repository), was=None)
    finally:
        os.umask(before)
    assert not any(mode & 0o077 for mode in modes(place).values())


def test_a_registry_that_may_not_be_written_can_be_read(repository: FolderRepository, place: Path) -> None:
    there = link(repository)
    repository.push_blob(BIG.blob(), moved=ignore)
    repository.set_tag("1.0.0", there, was=None)
    with mounts.read_only(place):
        reader = FolderRegistry(place).repository("digits")
        assert reader.tag("1.0.0") == there
        assert read(reader) == BIG.read()
        assert reader.push_blob(BIG.blob(), moved=ignore).how == "present"
        for act in (
            lambda: reader.push_blob(Content(5, seed=9).blob(), moved=ignore),
            lambda: reader.set_tag("prod", there, was=None),
            lambda: reader.put_manifest(manifest_of(BIG.descriptor(), annotations={"a": "b"}), MANIFEST),
        ):
            with pytest.raises(RegistryRefused, match="Read-only file system") as refused:
                act()
            assert refused.value.hint


def test_a_disk_that_becomes_full_loses_nothing(tmp_path: Path) -> None:
    with mounts.small_disk(tmp_path / "disk", "4m") as small:
        repository = FolderRegistry(small / "registry").repository("digits")
        there = link(repository)
        repository.set_tag("1.0.0", there, was=None)
        ballast = mounts.fill(small)
        os.truncate(ballast, ballast.stat().st_size - 1_000_000)
        with pytest.raises(DiskFull, match="no space left"):
            repository.push_blob(BIG.blob(), moved=ignore)
        mounts.fill(small / "registry")
        with pytest.raises(DiskFull):
            repository.set_tag("prod", there, was=None)
        assert repository.tag("1.0.0") == there
        assert repository.tag("prod") is None
        (small / "registry" / "ballast").unlink()
        ballast.unlink()
        told: Told = []
        assert repository.push_blob(BIG.blob(), moved=told.append).how == "sent"
        assert sum(told) < BIG.size  # it went on where it was cut off
        assert read(repository) == BIG.read()
        repository.set_tag("prod", there, was=None)


# -- damage ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "content",
    [
        *(b"", b"null", b"[]", b"{", b"\xff\xff", b"[" * 100_000, b'{"manifests":{}}', bytes(1000)),
        b'{"manifests":[{"annotations":{"org.opencontainers.image.ref.name":"a"}}]}',
        b'{"manifests":[],"manifests":[]}',
    ],
)
def test_an_index_of_nonsense_is_told_and_not_replaced(
    repository: FolderRepository, place: Path, content: bytes
) -> None:
    there = link(repository)
    repository.set_tag("1.0.0", there, was=None)
    index = place / "digits" / "index.json"
    index.write_bytes(content)
    for act in (
        repository.tags,
        lambda: repository.tag("1.0.0"),
        lambda: repository.set_tag("prod", there, was=None),
    ):
        with pytest.raises(RegistryRefused, match=r"index\.json is no index"):
            act()
    assert index.read_bytes() == content


def test_a_tag_that_points_to_two_places_is_refused(repository: FolderRepository, place: Path) -> None:
    repository.set_tag("1.0.0", link(repository), was=None)
    index = place / "digits" / "index.json"
    value = json.loads(index.read_text())
    value["manifests"] *= 2
    index.write_text(json.dumps(value))
    with pytest.raises(RegistryRefused, match="there twice"):
        repository.tag("1.0.0")


def test_an_index_that_is_too_large_is_refused(
    repository: FolderRepository, place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(layout, "_LARGEST_INDEX", 10_000)
    repository.set_tag("1.0.0", link(repository), was=None)
    (place / "digits" / "index.json").write_bytes(b" " * 20_000 + b"{}")
    with pytest.raises(RegistryRefused, match="more than"):
        repository.tags()


def test_a_layout_of_another_version_is_refused(repository: FolderRepository, place: Path) -> None:
    repository.set_tag("1.0.0", link(repository), was=None)
    (place / "digits" / "oci-layout").write_text('{"imageLayoutVersion": "2.0.0"}')
    with pytest.raises(RegistryRefused, match=r"1\.0\.0"):
        repository.tags()


def test_a_blob_of_another_size_is_refused_and_sent_again(repository: FolderRepository) -> None:
    repository.push_blob(BIG.blob(), moved=ignore)
    blob = blob_of(repository, BIG)
    blob.chmod(0o600)
    os.truncate(blob, 1000)
    with pytest.raises(RegistryRefused, match="it has 1000 bytes"):
        repository.open_blob(BIG.descriptor())
    assert repository.push_blob(BIG.blob(), moved=ignore).how == "sent"
    assert read(repository) == BIG.read()


def test_a_manifest_that_was_changed_is_refused(repository: FolderRepository) -> None:
    there = link(repository)
    path = repository.layout.blobs.path(there.digest)
    path.chmod(0o600)
    path.write_bytes(path.read_bytes().replace(b"2", b"3"))
    with pytest.raises(RegistryRefused, match="not what its digest says"):
        repository.manifest(there.digest)


def test_damage_in_another_repository_is_not_linked_over(place: Path, repository: FolderRepository) -> None:
    repository.push_blob(BIG.blob(), moved=ignore)
    blob = blob_of(repository, BIG)
    blob.chmod(0o600)
    with blob.open("r+b") as stream:
        stream.write(b"damage")
    other = FolderRegistry(place).repository("other")
    assert other.push_blob(BIG.blob(), moved=ignore).how == "sent"
    assert read(other) == BIG.read()


def test_what_another_repository_has_is_one_file_on_the_disk(
    place: Path, repository: FolderRepository
) -> None:
    repository.push_blob(BIG.blob(), moved=ignore)
    other = FolderRegistry(place).repository("other")
    assert other.push_blob(BIG.blob(), moved=ignore).how == "mounted"
    assert blob_of(other, BIG).stat().st_ino == blob_of(repository, BIG).stat().st_ino
    assert not any((place / "other" / "uploads").iterdir())


def test_a_beginning_that_is_not_its_own_is_thrown_away(repository: FolderRepository, place: Path) -> None:
    uploads = place / "digits" / "uploads"
    uploads.mkdir(parents=True)
    (uploads / f"{BIG.digest()[7:]}.{os.geteuid()}").write_bytes(bytes(500_000))
    assert repository.push_blob(BIG.blob(), moved=ignore).how == "sent"
    assert read(repository) == BIG.read()


def test_a_link_where_an_upload_should_be_is_not_followed(
    repository: FolderRepository, place: Path, tmp_path: Path
) -> None:
    victim = tmp_path / "victim"
    victim.write_bytes(b"mine")
    uploads = place / "digits" / "uploads"
    uploads.mkdir(parents=True)
    (uploads / f"{BIG.digest()[7:]}.{os.geteuid()}").symlink_to(victim)
    with pytest.raises(ModelDeployError):
        repository.push_blob(BIG.blob(), moved=ignore)
    assert victim.read_bytes() == b"mine"


@pytest.mark.parametrize("name", ["blobs", "digits/uploads", "index.json", "oci-layout", "x" * 300])
def test_a_name_that_a_layout_uses_itself_is_refused(place: Path, name: str) -> None:
    with pytest.raises(RegistryRefused, match="can be called"):
        FolderRegistry(place).repository(name)


# -- others at the same time -----------------------------------------------------------------------------


def test_who_waits_for_a_writer_that_does_nothing_is_told(
    repository: FolderRepository, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(disk, "PATIENCE", 0.3)
    begun, end = threading.Event(), threading.Event()

    def stall(position: int) -> None:
        if position:
            begun.set()
            end.wait(20)

    slow = threading.Thread(
        target=repository.push_blob, args=(BIG.blob(notice=stall),), kwargs={"moved": ignore}
    )
    slow.start()
    begun.wait(20)
    with pytest.raises(RegistryUnavailable, match="locked"):
        repository.push_blob(BIG.blob(), moved=ignore)
    end.set()
    slow.join()
    assert repository.push_blob(BIG.blob(), moved=ignore).how == "present"


def test_kill_9_at_any_instant_leaves_what_was_there(place: Path) -> None:
    chance = random.Random(11)
    for round_ in range(10):
        writers = [registry_writer.start(place, seed=2 * round_ + who) for who in (1, 2)]
        for writer in writers:
            assert writer.stdout is not None
            writer.stdout.readline()  # it has begun
        time.sleep(chance.uniform(0, 0.2))
        for writer in writers:
            writer.kill()
            writer.communicate()
        assert {writer.returncode for writer in writers} == {-signal.SIGKILL}
        _everything_is_whole(FolderRegistry(place).repository("digits"))
    repository = FolderRegistry(place).repository("digits")
    repository.set_tag("after", link(repository), was=None)
    assert len(repository.tags()) > 10


def _everything_is_whole(repository: FolderRepository) -> None:
    for tag in repository.tags():
        found = repository.tag(tag)
        assert found is not None
        layers = json.loads(repository.manifest(found.digest))["layers"]
        assert repository.layout.blobs.has(layers[0]["digest"], layers[0]["size"])
    kept = repository.layout.folder / "blobs" / "sha256"
    for path in kept.glob("*") if kept.is_dir() else ():
        descriptor = Descriptor("", f"sha256:{path.name}", path.stat().st_size)
        assert Descriptor.of(path.read_bytes(), "").digest == descriptor.digest


def test_what_the_dead_left_is_swept(repository: FolderRepository, place: Path) -> None:
    there = link(repository)
    repository.set_tag("1.0.0", there, was=None)
    litter = place / "digits" / ".index.json.abc"
    litter.write_bytes(b"half")
    os.utime(litter, (1, 1))
    repository.set_tag("prod", there, was=None)
    assert not litter.exists()
