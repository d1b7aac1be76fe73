"""One contender at a time in each home, and names for claims that nobody else has."""

from __future__ import annotations

import json
import platform
import time
from pathlib import Path

import pytest

from modeldeploy import files
from modeldeploy.errors import RegistryUnavailable
from modeldeploy.registry.remote import slots, unfinished

WHERE = ("https://registry.example", "team/digits")


def used(*, stays: bool) -> str:
    """Take a turn to its end; the slot that was used."""
    with slots.turn(*WHERE) as turn:
        turn.over(stays=stays)
        return turn.slot


def kept(home: Path) -> Path:
    (path,) = (home / "cache/claims").iterdir()
    return path


def test_where_the_registry_deletes_no_slot_is_used_twice() -> None:
    assert used(stays=False) != used(stays=False)


def test_where_it_does_not_there_is_one_slot_for_each_home(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    first = used(stays=True)
    assert used(stays=True) == first
    monkeypatch.setenv("MDEPLOY_HOME", str(tmp_path / "other"))
    assert used(stays=True) != first


def test_a_home_that_was_copied_to_another_machine_has_a_slot_of_its_own(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    first = used(stays=True)
    monkeypatch.setattr(platform, "node", lambda: "another-machine")
    assert used(stays=True) != first


def test_the_slot_of_one_who_was_killed_is_known_and_not_used_again() -> None:
    with slots.turn(*WHERE) as killed:  # and nobody says that it is over
        pass
    began = time.monotonic()
    with slots.turn(*WHERE) as after:
        assert after.left == killed.slot != after.slot
    assert time.monotonic() - began >= 1.5  # what it has sent has come to its end
    with slots.turn(*WHERE) as later:
        later.over(stays=False)
    with slots.turn(*WHERE) as last:
        assert last.left is None


@pytest.mark.parametrize("content", ["", "{", "[]", '{"other": 1}'])
def test_what_cannot_be_read_is_as_nothing(home: Path, content: str) -> None:
    used(stays=True)
    kept(home).write_text(content)
    with slots.turn(*WHERE) as turn:
        assert turn.left is None
        turn.over(stays=False)


def test_one_who_waits_in_vain_is_told_why(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(slots, "WAIT", 0.1)
    used(stays=False)
    with files.locked(kept(home)), pytest.raises(RegistryUnavailable, match="another mdeploy"):
        used(stays=False)


def remembered() -> str | None:
    with unfinished.remembered(*WHERE, "sha256:1") as known:
        return known.location()


def test_an_upload_is_remembered_until_it_is_done() -> None:
    assert remembered() is None
    with unfinished.remembered(*WHERE, "sha256:1") as known:
        known.keep("https://registry.example/a/longer/one")
        known.keep("https://registry.example/upload")
        with unfinished.remembered(*WHERE, "sha256:1") as second:
            assert second.location() is None  # somebody else is at it
            second.keep("https://registry.example/other")
            second.forget()
    assert remembered() == "https://registry.example/upload"
    with unfinished.remembered(*WHERE, "sha256:1") as known:
        known.forget()
    assert remembered() is None


def test_an_upload_of_long_ago_is_forgotten(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with unfinished.remembered(*WHERE, "sha256:1") as known:
        known.keep("https://registry.example/upload")
    (path,) = (home / "cache/uploads").iterdir()
    assert json.loads(path.read_text())
    assert path.stat().st_mode & 0o077 == 0
    monkeypatch.setattr(unfinished, "_KEPT", -1)
    assert remembered() is None
