"""What nothing needs is removed, and nothing else: who runs, parks, rolls out or reads keeps its bundle."""

from __future__ import annotations

import errno
import multiprocessing
import os
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from bundle_place import Told, put
from modeldeploy import files
from modeldeploy.bundle import bento, build, store, usage
from modeldeploy.bundle.environment import MARKER
from modeldeploy.bundle.store import BundleStore, remove
from modeldeploy.config.peek import Address
from modeldeploy.errors import BundleError, TargetUnavailable
from modeldeploy.model import BundleRef, Observed, RevisionId, RevisionSpec, RevisionState, RevisionStatus
from modeldeploy.ops import deployed, inventory
from modeldeploy.ops.inventory import Collected
from modeldeploy.store import FolderStore
from modeldeploy.targets.process import records
from modeldeploy.targets.process.layout import Layout
from modeldeploy.targets.process.records import Desired, Listen, Stored

BIG = b"w" * (1 << 20)


def aged(path: Path, days: float = 100) -> Path:
    """A bundle as it is after so many days without use."""
    then = time.time() - days * usage.DAY
    os.utime(path, (then, then))
    return path


def old(version: str, *, name: str = "digits", weights: bytes = b"") -> Path:
    return aged(put(BundleStore(), version, version.encode(), weights, name=name))


def content() -> list[Path]:
    """Everything in the store but locks."""
    found = BundleStore().folder.rglob("*")
    return sorted(path for path in found if "held" not in path.parts and path.name != "work")


def digest_of(path: Path) -> str:
    return path.name.replace("-", ":")


def gc(**how: Any) -> Collected:
    return inventory.gc(None, emit=Told(), **({"keep_versions": 0} | how))


def on_target(path: Path, *, target: str = "local") -> Layout:
    """A revision of that bundle on a process target that is not running."""
    layout = Layout.of("digits", target)
    layout.make()
    if not layout.desired.exists():
        records.write_desired(layout, Desired(Listen("127.0.0.1", 1)))
    revision = layout.revision(RevisionId(f"r-{path.name[7:15]}"))
    revision.make()
    ref = BundleRef("digits", "1", digest_of(path))
    spec = RevisionSpec(RevisionId(revision.root.name), "digits", ref, str(path), "000001-0")
    records.write_spec(revision.spec, Stored(spec, 1.0))
    return layout


def test_what_was_not_used_for_long_goes_and_its_version_stays_taken() -> None:
    gone, stays = old("1.0.0"), put(BundleStore(), "1.0.1")
    told = gc()
    assert not gone.exists()
    assert stays.exists()
    assert [(one.kind, one.name) for one in told.waste] == [("bundle", "digits:1.0.0")]
    assert told.bytes > 0
    assert [(one.name, one.why) for one in told.kept] == [("digits:1.0.1", "used 0 days ago")]
    with pytest.raises(BundleError, match="exists with other content"):
        put(BundleStore(), "1.0.0", b"something else")
    assert put(BundleStore(), "1.0.0", b"1.0.0") == gone


def test_the_newest_versions_of_each_name_stay() -> None:
    paths = [old(f"1.0.{number}", name=name) for name in ("digits", "letters") for number in range(4)]
    gc(keep_versions=2)
    assert [path.exists() for path in paths] == [False, False, True, True] * 2


def test_a_dry_run_tells_the_same_and_removes_nothing() -> None:
    paths = [old("1.0.0", weights=BIG), old("1.0.1", weights=BIG)]
    before = content()
    told = gc(dry_run=True)
    assert all(path.exists() for path in paths)
    assert content() == before
    done = gc()
    assert (done.waste, done.bytes) == (told.waste, told.bytes)
    assert (1 << 20) < done.bytes < 1.1 * (1 << 20)  # the weights are shared, and counted once
    assert not list((BundleStore().folder / "large").iterdir())


def test_shared_weights_are_not_free_while_another_bundle_has_them() -> None:
    old("1.0.0", weights=BIG)
    stays = put(BundleStore(), "1.0.1", weights=BIG)
    assert gc().bytes < 100_000
    BundleStore().check(stays, full=True)
    found = inventory.bundles()
    assert found.disk < 1.1 * (1 << 20)
    assert found.bundles[0].disk == found.bundles[0].size


def test_every_revision_of_a_target_keeps_its_bundle_also_where_files_make_no_sense() -> None:
    parked, torn, gone = old("1.0.0"), old("1.0.1"), old("1.0.2")
    layout = on_target(parked)
    on_target(torn)
    spec = next(path for path in layout.revisions.glob("*/spec.json") if torn.name[7:15] in str(path))
    spec.write_bytes(spec.read_bytes()[:-20])
    layout.desired.write_text("nonsense")
    told = gc()
    assert (parked.exists(), torn.exists(), gone.exists()) == (True, True, False)
    assert {one.why for one in told.kept} == {
        f"revision r-{path.name[7:15]} is on local of digits" for path in (parked, torn)
    }


@pytest.mark.parametrize("lines", ["whole", "torn", "nonsense"])
def test_an_unfinished_rollout_keeps_its_bundle_and_a_finished_one_does_not(lines: str) -> None:
    candidate, former = old("1.0.1"), old("1.0.0")
    journals = FolderStore(Layout.of("digits", "local").rollouts)
    start = '{"kind": "start", "at": 1, "action": "deploy", "by": "", "command": "", "candidate": "x",'
    start += ' "stable": null, "policy": {"steps": [5], "gates": {}},'

    def begun(path: Path) -> bytes:
        bundle = f' "bundle": {{"name": "digits", "version": "1", "digest": "{digest_of(path)}"}}}}'
        return (start + bundle).encode()

    journals.append("000001-1", begun(former))
    journals.append("000001-1", b'{"kind": "end", "at": 2, "outcome": "promoted", "reason": ""}')
    journals.append("000002-2", begun(candidate))
    if lines == "torn":
        with (journals.folder / "000002-2.jsonl").open("ab") as stream:
            stream.write(b'{"kind": "pl')
    if lines == "nonsense":
        journals.append("000002-2", b'{"kind": "what"}')
    gc()
    assert candidate.exists()
    assert former.exists() == (lines == "nonsense")  # then all that the target ever had


class Elsewhere:
    """A target on another machine."""

    def __init__(self, has: Path | None, *, journals: Path, answers: bool = True) -> None:
        self.has, self.answers, self.store = has, answers, FolderStore(journals)

    def observe(self) -> Observed:
        if not self.answers:
            raise TargetUnavailable("no answer from elsewhere")
        if self.has is None:
            return Observed(up=True, endpoint=None)
        ref = BundleRef("digits", "1", digest_of(self.has))
        one = RevisionStatus(RevisionId("r"), ref, RevisionState.READY, 1, 1, 0.0)
        return Observed(up=True, endpoint=None, revisions=(one,))


@pytest.fixture
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Elsewhere]:
    """A project whose target is on another machine."""
    place = Elsewhere(None, journals=tmp_path / "journals")
    address = Address("digits", "prod", "far", {"password": "hunter2"})
    monkeypatch.setattr(deployed, "peek", lambda *_: address)
    monkeypatch.setattr(deployed, "open_target", lambda *_: place)

    def set_up(has: Path | None = None, *, answers: bool = True, given: tuple[Path, ...] = ()) -> Elsewhere:
        place.has, place.answers = has, answers
        for path in given:
            deployed.remember(tmp_path, address, digest_of(path))
        return place

    return set_up


def forget_the_last_hour(home: Path) -> Path:
    """As if everything had been deployed a day ago."""
    record = home / "deployed" / "digits" / "prod.json"
    found = files.read_json(record)
    files.write_json(
        record, found | {"bundles": {digest: at - usage.DAY for digest, at in found["bundles"].items()}}
    )
    return record


def test_a_target_elsewhere_is_asked_what_it_has(elsewhere: Callable[..., Elsewhere], home: Path) -> None:
    runs, former = old("1.0.1"), old("1.0.0")
    elsewhere(runs, given=(runs, former))
    record = forget_the_last_hour(home)
    told = gc(dry_run=True)
    assert [one.name for one in told.waste] == ["digits:1.0.0"]
    assert digest_of(former) in record.read_text()
    gc()
    assert (runs.exists(), former.exists()) == (True, False)
    assert digest_of(former) not in record.read_text()
    assert "hunter2" not in record.read_text()


def test_a_target_that_cannot_be_asked_keeps_all_that_it_was_given(
    elsewhere: Callable[..., Elsewhere], home: Path
) -> None:
    runs, former = old("1.0.1"), old("1.0.0")
    elsewhere(runs, answers=False, given=(runs, former))
    record = forget_the_last_hour(home)
    told = gc()
    assert runs.exists() and former.exists()
    assert "prod of digits cannot be asked" in told.unasked[0]
    assert "no answer from elsewhere" in told.unasked[0]
    record.write_bytes(record.read_bytes()[:-30])
    gc()
    assert runs.exists()
    assert former.exists()


def test_what_has_just_been_deployed_stays_though_its_target_does_not_tell_of_it_yet(
    elsewhere: Callable[..., Elsewhere],
) -> None:
    path = old("1.0.0")
    elsewhere(None, given=(path,))
    assert "was just deployed to prod" in gc().kept[0].why
    assert path.exists()


def test_another_place_under_the_same_name_is_not_asked_in_its_stead(
    elsewhere: Callable[..., Elsewhere], home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = old("1.0.0")
    elsewhere(None, given=(path,))
    forget_the_last_hour(home)
    monkeypatch.setattr(deployed, "peek", lambda *_: Address("digits", "prod", "far", {"password": "other"}))
    assert "names another place" in gc().unasked[0]
    assert path.exists()


def test_who_works_with_a_bundle_keeps_it() -> None:
    path = old("1.0.0")
    with BundleStore().hold(digest_of(path)):
        aged(path)
        assert gc().kept[0].why == "somebody works with it now"
        assert path.exists()
    aged(path)
    gc()
    assert not path.exists()


def test_environments_go_with_the_last_bundle_that_needs_them(home: Path) -> None:
    files.home()
    for name, days in {"stale": 100, "fresh": 1}.items():
        folder = home / "envs" / name
        folder.mkdir(parents=True)
        (folder / "big").write_bytes(BIG)
        aged_marker = folder / MARKER
        aged_marker.touch()
        aged(aged_marker, days)
    (home / "envs" / "half").mkdir()
    assert {one.name for one in gc(dry_run=True).waste} == {"stale", "half"}
    with files.locked(home / "envs" / "half.lock"):
        gc()
        assert (home / "envs" / "half").exists()  # somebody is making it
    gc()
    assert {path.name for path in (home / "envs").iterdir() if path.is_dir()} == {"fresh"}


def test_notes_of_what_is_gone_or_of_older_versions_are_forgotten(home: Path) -> None:
    path = put(BundleStore())
    cache = home / "cache"
    notes = {
        f"{build.INDEX}/kept": digest_of(path),
        f"{build.INDEX}/gone": "sha256:" + "0" * 64,
        "builds-0/x": "",
        f"{bento.CACHE}/kept.json": "{}",
        "somebody-elses/x": "",
    }
    for name, text in notes.items():
        (cache / name).parent.mkdir(parents=True, exist_ok=True)
        (cache / name).write_text(text)
        aged(cache / name, 10)
    gc()
    left = {path.relative_to(cache).as_posix() for path in cache.rglob("*") if path.is_file()}
    assert left == {f"{build.INDEX}/kept", f"{bento.CACHE}/kept.json", "somebody-elses/x"}


def _killed_while_it_deletes(home: str) -> None:
    os.environ["MDEPLOY_HOME"] = home
    store.remove = lambda _: os._exit(9)  # type: ignore[assignment]  # the end of this process
    gc()


def test_a_kill_midway_leaves_nothing_that_stays(home: Path) -> None:
    paths = [old("1.0.0"), old("1.0.1")]
    child = multiprocessing.get_context("fork").Process(target=_killed_while_it_deletes, args=(str(home),))
    child.start()
    child.join()
    assert child.exitcode == 9
    assert not any(path.exists() for path in paths)
    told = gc()
    assert [one.kind for one in told.waste] == ["unfinished"]
    assert told.bytes > 0
    assert not list((BundleStore().folder / "work").iterdir())


def test_two_at_once_remove_everything_once() -> None:
    paths = [old(f"1.0.{number}") for number in range(20)]
    told: list[Collected] = []
    workers = [threading.Thread(target=lambda: told.append(gc())) for _ in range(4)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert len(told) == 4
    assert not any(path.exists() for path in paths)
    assert sorted(one.name for each in told for one in each.waste if one.kind == "bundle") == sorted(
        f"digits:1.0.{number}" for number in range(20)
    )


def test_whoever_builds_and_uses_bundles_meanwhile_is_never_robbed() -> None:
    stop, trouble = threading.Event(), list[str]()
    bundles, used = BundleStore(), [0]

    def collect() -> None:
        while not stop.is_set():
            gc(keep_days=0)

    def work(number: int) -> None:
        while not stop.is_set():
            path = put(bundles, f"1.{number}.0", str(number).encode(), BIG)
            try:
                with bundles.hold(digest_of(path)):
                    bundles.check(path, full=True)
                    used[0] += 1
            except BundleError as error:
                if "not on this machine any more" not in error.message:
                    trouble.append(error.message)

    threads = [
        threading.Thread(target=collect),
        *(threading.Thread(target=work, args=(n,)) for n in range(3)),
    ]
    for thread in threads:
        thread.start()
    time.sleep(3)
    stop.set()
    for thread in threads:
        thread.join()
    assert not trouble
    assert used[0] > 5


def test_a_disk_that_cannot_be_written_to_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    path = old("1.0.0")

    def refuse(*_: object) -> None:
        raise OSError(errno.EROFS, "Read-only file system", str(path))

    monkeypatch.setattr(Path, "rename", refuse)
    with pytest.raises(BundleError, match=r"cannot write .* Read-only file system"):
        gc()
    BundleStore().find("digits", "1.0.0")


def test_a_bundle_on_a_read_only_disk_can_still_be_used(monkeypatch: pytest.MonkeyPatch) -> None:
    path = put(BundleStore())

    def refuse(folder: Path) -> Path:
        raise OSError(errno.EROFS, "Read-only file system", str(folder))

    monkeypatch.setattr(files, "private", refuse)
    with BundleStore().hold(digest_of(path)) as held:
        assert held == path


def test_a_bundle_without_its_manifest_can_go_too() -> None:
    path = old("1.0.0")
    path.chmod(0o700)
    (path / "mdeploy.json").unlink()
    aged(path)
    gc()
    assert not path.exists()
    remove(path)
