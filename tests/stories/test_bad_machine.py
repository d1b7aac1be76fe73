"""A port that is taken, folders that cannot be written, a full disk, an old home, a terminal that is gone."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from mounts import fill, read_only, small_disk
from story_project import MDEPLOY, Story, share, story

pytestmark = pytest.mark.story

FAILED, CONFIG, BUNDLE, PREFLIGHT = 1, 3, 4, 5


def test_a_port_that_somebody_else_has_is_left_to_him(user: Story) -> None:
    user.init()
    with socket.create_server(("127.0.0.1", user.port)) as stranger:
        told = user.type("check", ends_with=PREFLIGHT).out
        refused = user.ask("deploy local", ends_with=PREFLIGHT).error
        [finding] = [one for one in refused["details"]["findings"] if one["level"] == "error"]
        assert f"port {user.port} on 127.0.0.1 is in use" in finding["message"]
        assert finding["message"] in told
        assert "change `port`" in finding["remedy"]
        if sys.platform == "linux":
            assert f"(pid {os.getpid()})" in finding["message"]
        assert user.processes() == {}
        with socket.create_connection(stranger.getsockname()):
            stranger.accept()[0].close()
    user.deploy()


def test_a_project_folder_that_cannot_be_written(user: Story) -> None:
    user.init()
    unlocked = user.folder / "modeldeploy.lock"
    unlocked.unlink(missing_ok=True)
    with read_only(user.folder):
        user.type("check")
        assert "modeldeploy.lock" in user.ask("build", ends_with=BUNDLE).error["message"]
        refused = user.ask("build --bump minor", ends_with=CONFIG).error
        assert "cannot write modeldeploy.toml" in refused["message"]
        assert 'version = "1.1.0"' in refused["hint"]
        user.ask("golden", ends_with=BUNDLE)
        assert "cannot make a project" in user.ask("init new", ends_with=CONFIG).error["message"]
    user.build()
    with read_only(user.folder):
        assert user.ask("build").result["unchanged"] is True
        user.deploy()


def test_a_home_that_cannot_be_written(user: Story) -> None:
    user.init()
    with read_only(user.home):
        for command in ("build", "deploy local"):
            refused = user.ask(command, ends_with=None)
            assert refused.code in {FAILED, CONFIG, BUNDLE}
            assert "Read-only file system" in refused.error["message"]
            assert str(user.home) in refused.error["message"]
    nowhere = {"MDEPLOY_HOME": "/proc/nowhere"}
    refused = user.ask("status", ends_with=CONFIG, env=nowhere)
    assert "set MDEPLOY_HOME" in refused.error["hint"]
    user.deploy()


@pytest.mark.parametrize("marker", ["0", None])
def test_a_home_of_an_older_format_is_left_as_it_is(user: Story, tmp_path: Path, marker: str | None) -> None:
    user.init()
    old = tmp_path / "old home"
    old.mkdir()
    (old / "state.db").write_text("from long ago")
    if marker is not None:
        (old / "format").write_text(marker)
    before = sorted(old.iterdir())
    for command in ("status", "build", "deploy local", "rollback local"):
        refused = user.ask(command, ends_with=CONFIG, env={"MDEPLOY_HOME": str(old)}).error
        assert str(old) in refused["message"]
        assert f"mv '{old}' '{old}.old'" in refused["hint"]
    assert str(old) in user.type("doctor", ends_with=PREFLIGHT, env={"MDEPLOY_HOME": str(old)}).out
    assert sorted(old.iterdir()) == before


@pytest.fixture
def cramped(tmp_path: Path, shared: Path) -> Iterator[tuple[Story, Path]]:
    """A user whose home is on a small disk, with a first version live and a second one built."""
    with small_disk(tmp_path / "disk", "4m") as disk, story(tmp_path / "p", disk / "home", shared) as user:
        share(user.home, shared)
        user.init()
        user.hurry(steps="[50]", soak="1s", requests=20)
        user.deploy()
        user.second_model()
        user.build("build --bump minor")
        yield user, disk


def test_a_full_disk_changes_nothing_for_users_and_goes_away(cramped: tuple[Story, Path]) -> None:
    user, disk = cramped
    with user.users() as load:
        ballast = fill(disk)
        user.edit("version", '"1.2.0"')
        for command in ("build", "deploy local digits:1.1.0", "rollback local"):
            refused = user.ask(command, ends_with=FAILED).error
            assert "no space left to write" in refused["message"]
            assert "free some space" in refused["hint"]
        assert user.weights() == {"1.0.0": 100}
        ballast.unlink()
        assert user.deploy("deploy local digits:1.1.0")["result"] == "promoted"
        assert user.build()["ref"] == "digits:1.2.0"
    assert load.report.failures == {}


def test_a_disk_that_fills_up_in_the_middle_of_a_canary(cramped: tuple[Story, Path]) -> None:
    user, disk = cramped
    user.edit("soak", '"3s"')
    with user.users() as load:
        with user.begin("deploy local --json") as running:
            running.until_told('"kind": "traffic"')
            ballast = fill(disk)
            running.until_told("no space left to write")
            assert user.weights() == {"1.0.0": 50, "1.1.0": 50}
            ballast.unlink()
            ended = running.end()
        if ended.code:  # it could not even write its journal; otherwise it waits for room, and goes on
            assert (ended.code, ended.error["kind"]) == (FAILED, "ModelDeployError")
            assert user.ask("resume local").result["result"] == "promoted"
        assert user.weights() == {"1.0.0": 0, "1.1.0": 100}
    assert load.report.failures == {}


def test_a_closed_standard_output_stops_no_rollout(user: Story) -> None:
    user.init()
    closed = ["/bin/sh", "-c", 'exec "$@" >&-', "sh", MDEPLOY, "deploy", "local"]
    done = subprocess.run(
        closed, cwd=user.folder, env=user.environment, check=False, stderr=subprocess.PIPE, timeout=120
    )
    assert (done.returncode, b"Traceback" in done.stderr) == (0, False), done.stderr.decode()
    assert user.weights() == {"1.0.0": 100}


def test_a_reader_that_leaves_stops_no_rollout(user: Story) -> None:
    user.init()
    running = subprocess.Popen(
        [MDEPLOY, "deploy", "local", "--json"],
        cwd=user.folder,
        env=user.environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    with running:
        assert running.stdout is not None
        assert running.stderr is not None
        assert json.loads(running.stdout.readline())["type"] == "event"
        running.stdout.close()
        assert (running.stderr.read(), running.wait(120)) == (b"", 0)
    assert user.weights() == {"1.0.0": 100}
