"""A folder as the place of a target's lock and journals."""

from __future__ import annotations

import threading
import time
from dataclasses import asdict, replace
from pathlib import Path

import pytest

from modeldeploy import files
from modeldeploy.errors import LockHeld
from modeldeploy.model import Holder
from modeldeploy.store import FolderStore
from mounts import read_only

HOLDER = Holder("ada@laptop", 4711, "mdeploy deploy local", 1000.0)


def test_who_lost_the_lock_is_told_the_winner_and_not_one_that_was_killed_before(tmp_path: Path) -> None:
    store = FolderStore(tmp_path)
    files.write_json(tmp_path / "holder.json", asdict(replace(HOLDER, owner="killed@laptop")))
    with store.lock(HOLDER), pytest.raises(LockHeld, match="ada@laptop"), store.lock(HOLDER):
        pass


def test_who_asks_just_before_the_winner_has_written_its_name_waits_for_it(tmp_path: Path) -> None:
    store = FolderStore(tmp_path)

    def write_late() -> None:
        time.sleep(0.05)
        files.write_json(tmp_path / "holder.json", asdict(HOLDER))

    with store.lock(HOLDER):
        (tmp_path / "holder.json").unlink()
        late = threading.Thread(target=write_late)
        late.start()
        assert store.holder() == HOLDER
        late.join()


def test_an_error_under_the_lock_is_not_taken_for_a_lock_that_is_held(tmp_path: Path) -> None:
    with pytest.raises(BlockingIOError), FolderStore(tmp_path).lock(HOLDER):
        raise BlockingIOError


def test_files_of_other_names_are_no_journals(tmp_path: Path) -> None:
    store = FolderStore(tmp_path)
    store.append("000001-17", b"{}")
    for name in ("notes.jsonl", "000001-17.jsonl.bak", ".jsonl", "copy of 000001-17.jsonl"):
        (tmp_path / name).touch()
    assert store.rollouts() == ["000001-17"]


def test_who_holds_the_lock_is_told_on_a_disk_that_has_become_read_only(tmp_path: Path) -> None:
    store = FolderStore(tmp_path / "rollouts")
    with store.lock(HOLDER), read_only(tmp_path / "rollouts"):
        assert store.holder() == HOLDER
    with read_only(tmp_path / "rollouts"):
        assert store.holder() is None
