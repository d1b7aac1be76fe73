"""Bundles in the store are whole, read-only and never change; whoever dies leaves nothing that stays."""

from __future__ import annotations

import multiprocessing
import os
import re
import stat
from dataclasses import replace
from pathlib import Path

import pytest

from bundle_place import put
from modeldeploy import files
from modeldeploy.bundle import digests
from modeldeploy.bundle.manifest import MANIFEST, Manifest
from modeldeploy.bundle.store import BundleStore, remove
from modeldeploy.errors import BundleError

BIG = b"w" * (1 << 20)


def test_a_bundle_is_found_by_version_by_digest_and_by_the_start_of_its_digest() -> None:
    store = BundleStore()
    path = put(store)
    digest = store.digest_of("digits", "1.0.0") or ""
    assert path.name == digest.replace(":", "-")
    for key in ("1.0.0", digest, digest[:20]):
        assert store.find("digits", key).path == path
    assert [str(stored.ref) for stored in store.all()] == ["digits:1.0.0"]


def test_what_is_not_there_is_answered_with_what_is() -> None:
    store = BundleStore()
    with pytest.raises(BundleError, match="no bundle of digits was built"):
        store.find("digits", "1.0.0")
    put(store)
    put(store, "1.1.0", b"x")
    with pytest.raises(BundleError, match=r"digits:2.0 was not built .* there are 1.0.0, 1.1.0"):
        store.find("digits", "2.0")
    with pytest.raises(BundleError, match="did you mean digits"):
        store.find("digit", "1.0.0")
    with pytest.raises(BundleError, match="could be"):
        store.find("digits", "sha256:ab")


def test_a_version_keeps_its_content_and_says_what_would_change() -> None:
    store = BundleStore()
    path = put(store)
    with pytest.raises(BundleError, match=r"digits:1.0.0 exists with other content") as caught:
        put(store, code=b"other", python="3.12")
    assert caught.value.details["changed"] == ["src/service.py changed", "python changed"]
    assert "--bump patch" in (caught.value.hint or "")
    assert store.find("digits", "1.0.0").path == path
    assert not list((store.folder / "work").iterdir())


def test_the_same_content_is_added_once_and_two_versions_may_share_nothing_but_it() -> None:
    store = BundleStore()
    assert put(store) == put(store)
    assert put(store, "1.0.1") != put(store)
    assert len(store.all()) == 2


def test_files_and_folders_are_read_only_with_one_time() -> None:
    path = put(BundleStore())
    modes = {
        entry.relative_to(path).as_posix(): stat.S_IMODE(entry.stat().st_mode) for entry in path.rglob("*")
    }
    assert modes == {"mdeploy.json": 0o444, "run.sh": 0o555, "src": 0o555, "src/service.py": 0o444}
    assert {entry.stat().st_mtime for entry in path.rglob("*") if entry.is_file()} == {315532800}


@pytest.mark.parametrize("harm", ["edit", "delete", "manifest"])
def test_damage_is_noticed_when_a_bundle_is_looked_up_and_repaired_by_adding_it_again(harm: str) -> None:
    store = BundleStore()
    path = put(store)
    victim = path / (MANIFEST if harm == "manifest" else "src/service.py")
    victim.parent.chmod(0o700)
    if harm == "delete":
        victim.unlink()
    else:
        victim.chmod(0o600)
        victim.write_bytes(victim.read_bytes().replace(b"a", b"b"))
    with pytest.raises(BundleError, match=r"is damaged|not a manifest"):
        store.find("digits", "1.0.0")
    assert put(store) == path
    assert store.find("digits", "1.0.0").path == path


def test_damage_that_hides_its_time_is_noticed_by_a_full_check() -> None:
    store = BundleStore()
    path = put(store)
    victim = path / "src" / "service.py"
    victim.chmod(0o600)
    victim.write_bytes(b"fail")
    os.utime(victim, (315532800, 315532800))
    store.check(path)
    with pytest.raises(BundleError, match=r"src/service.py was changed"):
        store.check(path, full=True)


def test_a_big_file_is_on_disk_once_however_many_bundles_hold_it() -> None:
    store = BundleStore()
    paths = [put(store, f"1.0.{number}", code=str(number).encode(), weights=BIG) for number in range(3)]
    inodes = {(path / "src" / "model.onnx").stat().st_ino for path in paths}
    assert len(inodes) == 1
    for path in paths:
        remove(path)
    with store.workspace():
        assert not list((store.folder / "large").iterdir())


def test_a_big_file_that_was_tampered_with_is_not_shared_any_further() -> None:
    store = BundleStore()
    first = put(store, weights=BIG)
    victim = first / "src" / "model.onnx"
    victim.chmod(0o600)
    with victim.open("r+b") as stream:
        stream.write(b"X")
    second = put(store, "1.0.1", weights=BIG)
    assert (second / "src" / "model.onnx").read_bytes() == BIG
    store.check(second, full=True)


def _die_while_building(home: str) -> None:
    os.environ["MDEPLOY_HOME"] = home
    store = BundleStore()
    with store.workspace() as folder:
        (folder / "half").write_text("half")
        os._exit(9)


def test_what_a_killed_builder_left_is_removed_by_the_next_and_nobody_elses(home: Path) -> None:
    files.home()
    child = multiprocessing.get_context("fork").Process(target=_die_while_building, args=(str(home),))
    child.start()
    child.join()
    store = BundleStore()
    (left,) = (store.folder / "work").glob("*.lock")
    with store.workspace() as mine, store.workspace():
        assert mine.exists()
        assert not left.exists()
    assert not list((store.folder / "work").iterdir())


def _add(home: str, number: int, results: multiprocessing.Queue[str]) -> None:
    os.environ["MDEPLOY_HOME"] = home
    try:
        results.put(put(BundleStore(), code=str(number % 2).encode()).name)
    except BundleError as error:
        results.put(error.message)


def test_two_who_add_one_version_at_once_end_with_one_content(home: Path) -> None:
    files.home()
    context = multiprocessing.get_context("fork")
    results: multiprocessing.Queue[str] = context.Queue()
    workers = [context.Process(target=_add, args=(str(home), number, results)) for number in range(6)]
    for worker in workers:
        worker.start()
    told = [results.get(timeout=30) for _ in workers]
    for worker in workers:
        worker.join()
    added = {text for text in told if text.startswith("sha256-")}
    assert len(added) == 1
    assert all("exists with other content" in text for text in told if text not in added)
    assert BundleStore().find("digits", "1.0.0").path.name in added


def test_manifests_are_canonical_and_refuse_other_formats(tmp_path: Path) -> None:
    path = put(BundleStore())
    content = (path / MANIFEST).read_bytes()
    assert Manifest.from_bytes(content).to_bytes() == content
    assert content.endswith(b"}\n")
    assert b" " not in content
    (tmp_path / MANIFEST).write_bytes(re.sub(rb'"format":1', b'"format":2', content))
    with pytest.raises(BundleError, match="has format 2; this mdeploy reads format 1"):
        Manifest.read(tmp_path)
    (tmp_path / MANIFEST).write_bytes(b"[]")
    with pytest.raises(BundleError, match="not a manifest of mdeploy"):
        Manifest.read(tmp_path)
    with pytest.raises(BundleError, match="is no bundle"):
        Manifest.read(tmp_path / "nowhere")


def test_manifests_of_older_and_later_versions_keep_their_digests() -> None:
    content = (put(BundleStore()) / MANIFEST).read_bytes()
    assert not {b"license", b"metadata", b"platforms", b"python_full", b"others"} & set(
        re.findall(rb"[a-z_]+", content)
    )
    later = b'{"colour":{"a":[1]},' + content[1:]
    manifest = Manifest.from_bytes(later)
    assert manifest.others == {"colour": {"a": [1]}}
    assert manifest.to_bytes() == later
    told = replace(
        manifest,
        license="MIT",
        metadata={"auc": 0.9, "ä": [1]},
        platforms=("linux/amd64",),
        python_full="3.11.7",
    )
    assert Manifest.from_bytes(told.to_bytes()) == told


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (b'"format":1', b'"format": 1'),
        (b'"format":1', b'"format":1,"format":1'),
        (b'"format":1', b'"format":1,"platforms":["../x"]'),
        (b'"format":1', b'"format":1,"python_full":"--x"'),
        (b'"format":1', b'"format":1,"license":""'),
        (b'"format":1', b'"format":1,"metadata":' + b'{"a":' * 5000 + b"1" + b"}" * 5000),
    ],
)
def test_a_manifest_has_one_form_only(old: bytes, new: bytes) -> None:
    content = (put(BundleStore()) / MANIFEST).read_bytes()
    with pytest.raises(BundleError, match="not a manifest of mdeploy"):
        Manifest.from_bytes(content.replace(old, new))


def test_a_big_file_whose_bytes_changed_behind_its_time_is_not_shared_any_further() -> None:
    store = BundleStore()
    first = put(store, weights=BIG)
    victim = first / "src" / "model.onnx"
    victim.chmod(0o600)
    with victim.open("r+b") as stream:
        stream.write(b"X")
    os.utime(victim, (315532800, 315532800))
    with pytest.raises(BundleError, match=r"model.onnx was changed"):
        store.check(first, full=True)
    second = put(store, "1.0.1", weights=BIG)
    assert (second / "src" / "model.onnx").read_bytes() == BIG
    third = put(store, "1.0.2", weights=BIG)
    assert (third / "src" / "model.onnx").samefile(second / "src" / "model.onnx")


def test_a_shared_big_file_is_not_read_again_for_each_bundle(monkeypatch: pytest.MonkeyPatch) -> None:
    store = BundleStore()
    put(store, weights=BIG)
    monkeypatch.setattr(digests, "sha256_of", lambda path: pytest.fail(f"{path} was read"))
    for number in range(3):
        put(store, f"1.1.{number}", weights=BIG)


def test_what_is_held_cannot_be_claimed_and_what_was_removed_cannot_be_held() -> None:
    store = BundleStore()
    path = put(store)
    digest = store.digest_of("digits", "1.0.0") or ""
    with store.hold(digest) as held, store.hold(digest):
        assert held == path
        with store.claim(digest) as alone:
            assert not alone
    with store.claim(digest) as alone:
        assert alone
    remove(path)
    with pytest.raises(BundleError, match="not on this machine any more") as caught, store.hold(digest):
        pass
    assert digest in (caught.value.hint or "")
    with pytest.raises(BundleError, match=r"digits:1.0.0 is not on this machine any more"):
        store.find("digits", "1.0.0")
    with pytest.raises(BundleError, match=r"digits:1.0.0 exists with other content"):
        put(store, code=b"other")
    assert put(store) == path
