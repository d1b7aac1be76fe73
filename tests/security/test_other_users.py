"""Other users of the same machine: what they can read, write, or put where mdeploy will look."""

from __future__ import annotations

import os
import shutil
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from modeldeploy import files
from modeldeploy.errors import ConfigError, TargetRefused
from modeldeploy.model import Holder, Level
from modeldeploy.store import FolderStore
from modeldeploy.targets.process import layout as layouts
from needs import need
from process_place import Scene


@pytest.fixture
def scene(tmp_path: Path) -> Iterator[Scene]:
    scene = Scene(tmp_path)
    yield scene
    scene.target.destroy()
    scene.until(lambda seen: not seen.up and not seen.revisions, "gone")


@pytest.fixture
def open_umask() -> Iterator[None]:
    """A terminal whose new files everybody may write to."""
    before = os.umask(0)
    yield
    os.umask(before)


@pytest.mark.usefixtures("open_umask")
def test_whatever_the_umask_only_the_owner_reads_and_writes_what_mdeploy_keeps(
    scene: Scene, home: Path
) -> None:
    shutil.rmtree(home)
    home.mkdir(mode=0o755)  # somebody made it beforehand, so that the files have to protect themselves
    scene.run(scene.spec("1.0.0"))
    with FolderStore(scene.layout.rollouts).lock(Holder("ada@laptop", 1, "mdeploy deploy", 0.0)):
        FolderStore(scene.layout.rollouts).append("000001-0", b"{}")
    files.append_durable(home / "audit.jsonl", b"{}")
    folders = (home / "targets", scene.layout.sockets)
    entries = [home / "audit.jsonl", *(path for folder in folders for path in (folder, *folder.rglob("*")))]
    modes = {path: path.lstat().st_mode for path in entries}
    assert any(stat.S_ISSOCK(mode) for mode in modes.values())
    assert {path: oct(mode) for path, mode in modes.items() if mode & 0o077} == {}


def test_a_home_that_every_user_may_write_to_is_refused(home: Path) -> None:
    assert files.home() == home
    home.chmod(0o777)
    with pytest.raises(ConfigError, match="every user of this machine may write") as caught:
        files.home()
    assert "chmod 700" in (caught.value.hint or "")


def test_a_home_that_its_group_may_write_to_is_refused(home: Path) -> None:
    assert files.home() == home
    home.chmod(0o770)
    with pytest.raises(ConfigError, match="every user of its group may write"):
        files.home()


def test_a_home_of_another_user_is_refused(home: Path) -> None:
    need(os.geteuid() == 0, "root, to give a folder away")
    assert files.home() == home
    os.chown(home, 65534, 65534)
    with pytest.raises(ConfigError, match="belongs to another user"):
        files.home()


def test_a_new_home_is_not_begun_in_a_folder_that_every_user_may_write_to(home: Path) -> None:
    home.mkdir()
    home.chmod(0o1777)
    with pytest.raises(ConfigError, match="every user"):
        files.home()
    assert not list(home.iterdir())


@pytest.mark.parametrize("kind", ["link", "open", "file"])
def test_a_socket_folder_that_somebody_else_prepared_is_seen_before_anything_is_done(
    kind: str, scene: Scene, tmp_path: Path
) -> None:
    place = scene.layout.sockets
    files.private(place.parent)
    if kind == "link":
        (tmp_path / "theirs").mkdir()
        place.symlink_to(tmp_path / "theirs")
    elif kind == "open":
        place.mkdir()
        place.chmod(0o777)
    else:
        place.touch()
    findings = [found for found in scene.target.check() if found.level is Level.ERROR]
    assert [(found.check, str(place) in found.message) for found in findings] == [("sockets", True)]
    assert findings[0].remedy
    with pytest.raises(TargetRefused, match="only this user"):
        scene.target.create(scene.spec("1.0.0"))
    place.unlink() if kind != "open" else place.rmdir()


def test_a_router_in_a_socket_folder_of_somebody_else_is_not_believed(scene: Scene) -> None:
    scene.run(scene.spec("1.0.0"))
    scene.until(lambda seen: seen.up, "up")
    scene.layout.sockets.chmod(0o755)
    observed = scene.target.observe()
    assert not observed.up
    assert any("only this user" in note for note in observed.notes)
    scene.layout.sockets.chmod(0o700)
    scene.until(lambda seen: seen.up, "up again")


def test_a_worker_is_not_started_below_a_folder_of_somebody_else(tmp_path: Path) -> None:
    (tmp_path / "theirs").mkdir(mode=0o755)
    with pytest.raises(TargetRefused, match="only this user"):
        layouts.make_socket_folder(tmp_path / "theirs" / "s")
    assert layouts.Layout(tmp_path / "targets/p/t").squatted is None  # nothing there yet
