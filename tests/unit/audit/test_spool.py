"""Records on their way: none is lost, none is doubled, none keeps a rollout waiting."""

from __future__ import annotations

import multiprocessing
import os
import time
from pathlib import Path

import pytest

from audit_records import record
from memory_registry import MemoryRepository
from modeldeploy import files
from modeldeploy.audit import Recorder
from modeldeploy.audit.chain import Head
from modeldeploy.audit.log import Log
from modeldeploy.audit.spool import REMEMBERED, Spool
from modeldeploy.audit.telling import sweep
from modeldeploy.errors import ConfigError, ModelDeployError, RegistryUnavailable
from modeldeploy.events import Event
from modeldeploy.registry.folder import FolderRegistry


class Desk:
    """A machine with a way to the log, and what it told."""

    def __init__(self, repository: MemoryRepository, place: str | None = "memory") -> None:
        self.repository = repository
        self.events: list[Event] = []
        self.recorder = Recorder(
            "digits", place, lambda: repository, command="mdeploy deploy prod", emit=self.events.append
        )

    @property
    def spool(self) -> Spool:
        return self.recorder.spool

    def kinds(self) -> list[str]:
        return [event.kind for event in self.events]

    def ids(self) -> list[str]:
        return [entry.record.id for entry in Log(self.repository, "digits").read()]


@pytest.fixture
def desk(repository: MemoryRepository) -> Desk:
    return Desk(repository)


def test_a_record_goes_straight_into_the_log(desk: Desk) -> None:
    desk.recorder.record(record(1))
    assert desk.ids() == [record(1).id]
    assert desk.spool.waiting() == []
    assert desk.events == []
    assert desk.spool.last_seen() == Log(desk.repository, "digits").head()


def test_what_the_registry_does_not_take_waits_and_goes_in_order_with_the_next_record(desk: Desk) -> None:
    desk.repository.gone = True
    for number in (1, 2):
        desk.recorder.record(record(number))
    assert desk.kinds() == ["audit.delayed", "audit.delayed"]
    assert "2 audit entries wait" in desk.events[-1].message
    assert "does not answer" in desk.events[-1].message
    desk.repository.gone = False
    desk.recorder.record(record(3))
    assert desk.ids() == [record(number).id for number in (1, 2, 3)]
    assert len(desk.kinds()) == 2


def test_a_registry_that_hangs_is_not_waited_for_and_what_it_takes_later_is_not_doubled(desk: Desk) -> None:
    desk.repository.hangs = 0.3
    desk.spool.add(record(1))
    began = time.monotonic()
    found = desk.recorder.deliver(patience=0.1)
    assert time.monotonic() - began < 0.3
    assert (found.waiting, found.reason) == (1, "no answer within 0.1 s")
    desk.repository.hangs = 0.0
    while desk.recorder.deliver().waiting:
        time.sleep(0.05)
    assert desk.ids() == [record(1).id]


def test_an_entry_whose_answer_was_lost_is_there_once(desk: Desk) -> None:
    desk.repository.loses_answers = 1
    desk.recorder.record(record(1))
    assert desk.kinds() == ["audit.delayed"]
    desk.recorder.record(record(2))
    assert desk.ids() == [record(1).id, record(2).id]


def test_a_crash_between_delivery_and_tidying_up_doubles_nothing(desk: Desk, home: Path) -> None:
    desk.recorder.record(record(1))
    desk.spool.add(record(2))
    waiting = desk.spool.folder / "waiting.jsonl"
    seen = desk.spool.folder / "seen.json"
    before = {path: path.read_bytes() for path in (waiting, seen)}
    desk.recorder.deliver()
    Desk(desk.repository).recorder.record(record(3))
    for path, content in before.items():  # as a process left it that died right after the registry's answer
        path.write_bytes(content)
    desk.recorder.record(record(4))
    assert desk.ids() == [record(number).id for number in (1, 2, 3, 4)]


def test_a_torn_line_of_a_full_disk_hides_no_other_record(desk: Desk) -> None:
    desk.spool.add(record(1))
    with (desk.spool.folder / "waiting.jsonl").open("ab") as stream:
        stream.write(b'{"record": {"id": "torn')
    desk.recorder.record(record(2))
    assert desk.ids() == [record(1).id, record(2).id]


def test_a_home_that_cannot_be_written_fails_no_rollout(desk: Desk, home: Path) -> None:
    files.private(home / "audit")
    (home / "audit" / desk.spool.folder.name).write_text("in the way")
    desk.recorder.record(record(1))
    telling = desk.recorder.telling(record(2))
    telling.emit(Event("traffic", 1.0, "send", {"weights": {"a": 100}, "stable": "a"}))
    assert telling.finish() is not None
    assert set(desk.kinds()) == {"audit.failed", "traffic"}


def test_records_of_an_unknown_registry_are_adopted_when_it_is_known(repository: MemoryRepository) -> None:
    def unreadable() -> MemoryRepository:
        raise ConfigError("registry.url: no address")

    lost = Recorder("digits", None, unreadable, command="mdeploy rollback", emit=lambda _: None)
    lost.record(record(1))
    assert lost.spool.waiting() == [record(1)]
    desk = Desk(repository)
    desk.recorder.record(record(2))
    assert set(desk.ids()) == {record(1).id, record(2).id}
    assert lost.spool.waiting() == []


def test_who_insists_hears_of_a_failure_and_nothing_is_written_later(desk: Desk) -> None:
    desk.repository.gone = True
    with pytest.raises(RegistryUnavailable):
        desk.recorder.insist(record(1))
    desk.repository.gone = False
    desk.recorder.record(record(2))
    assert desk.ids() == [record(2).id]


def test_a_log_that_was_cut_is_noticed_before_anything_is_put_behind_it(desk: Desk) -> None:
    desk.recorder.record(record(1))
    former = dict(desk.repository.pointers)
    desk.recorder.record(record(2))
    desk.repository.pointers.update(former)
    desk.recorder.record(record(3))
    assert desk.kinds() == ["audit.delayed"]
    assert "ends with entry 1, and had 2" in desk.events[0].message
    assert desk.ids() == [record(1).id]
    with pytest.raises(ModelDeployError, match="cut off at the end"):
        desk.recorder.entries()
    assert desk.spool.waiting() == [record(3)]


def test_ends_that_were_seen_are_remembered_few_but_some_old_ones(desk: Desk) -> None:
    for number in range(1, 200):
        desk.spool.remember(Head(number, f"sha256:{number:064x}"))
    seen = desk.spool.seen()
    assert len(seen) <= REMEMBERED
    assert seen[0].n < 100
    assert seen[-1].n == 199


# What processes do that die, and those that work at once.


def begin_to_tell(home: str, folder: str) -> None:
    os.environ["MDEPLOY_HOME"] = home
    repository = FolderRegistry(Path(folder)).repository("digits")
    recorder = Recorder("digits", folder, lambda: repository, command="mdeploy deploy", emit=lambda _: None)
    telling = recorder.telling(record(1))
    weights = {"weights": {"1.1.0-b": 5, "1.0.0-a": 95}, "stable": "1.0.0-a"}
    telling.emit(
        Event("rollout.start", 5.0, "", {"rollout": "000001-5", "action": "deploy", "candidate": "1.1.0-b",
                                         "strategy": "canary", "stable": "1.0.0-a",
                                         "traffic": {"weights": {"1.0.0-a": 100}, "stable": "1.0.0-a"}})
    )  # fmt: skip
    telling.emit(Event("traffic", 6.0, "", weights))
    os.kill(os.getpid(), 9)


def test_what_a_killed_process_did_is_recorded_by_the_next_one(home: Path, tmp_path: Path) -> None:
    files.home()
    process = multiprocessing.get_context("spawn").Process(
        target=begin_to_tell, args=(str(home), str(tmp_path / "registry"))
    )
    process.start()
    process.join(30)
    repository = FolderRegistry(tmp_path / "registry").repository("digits")
    recorder = Recorder(
        "digits", str(tmp_path / "registry"), lambda: repository, command="mdeploy at", emit=lambda _: None
    )
    [entry] = recorder.entries()
    assert entry.record.data["outcome"] == "unfinished"
    assert entry.record.data["traffic"] == [
        {"at": 6.0, "weights": {"1.1.0-b": 5, "1.0.0-a": 95}, "stable": "1.0.0-a"}
    ]
    assert (entry.record.rollout, entry.record.revision, entry.record.at) == ("000001-5", "1.1.0-b", 6.0)
    assert list((recorder.spool.folder / "open").iterdir()) == []


def test_what_a_living_process_tells_is_left_to_it(desk: Desk) -> None:
    telling = desk.recorder.telling(record(1))
    telling.emit(Event("traffic", 1.0, "send", {"weights": {"a": 100}, "stable": "a"}))
    sweep(desk.spool)
    assert desk.spool.waiting() == []
    assert telling.finish() is not None
    sweep(desk.spool)
    assert [one.id for one in desk.spool.waiting()] == [record(1).id]


def write_some(home: str, folder: str, writer: int) -> None:
    os.environ["MDEPLOY_HOME"] = home
    repository = FolderRegistry(Path(folder)).repository("digits")
    recorder = Recorder("digits", folder, lambda: repository, command="mdeploy", emit=lambda _: None)
    for number in range(10):
        recorder.record(record(100 * writer + number))
    while recorder.deliver().waiting:
        time.sleep(0.01)


@pytest.mark.parametrize("one_home", [True, False], ids=["one machine", "two machines"])
def test_processes_that_write_at_once_all_get_in(*, one_home: bool, tmp_path: Path) -> None:
    context = multiprocessing.get_context("spawn")
    homes = [tmp_path / f"home-{0 if one_home else number}" for number in range(3)]
    writers = [
        context.Process(target=write_some, args=(str(home), str(tmp_path / "registry"), number))
        for number, home in enumerate(homes)
    ]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join(60)
        assert writer.exitcode == 0
    log = Log(FolderRegistry(tmp_path / "registry").repository("digits"), "digits")
    entries = log.read()
    assert len({entry.record.id for entry in entries}) == len(entries) == 30
    for number in range(3):  # each writer's own in its order
        own = [int(entry.record.id, 16) for entry in entries if int(entry.record.id, 16) // 100 == number]
        assert own == sorted(own)
