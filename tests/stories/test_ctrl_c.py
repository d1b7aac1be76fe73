"""Ctrl-C: once to stop well, twice to stop at once. The terminal sends it to all that runs in it."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from story_project import Running, Story

pytestmark = pytest.mark.story

REJECTED, HELD, INTERRUPTED = 10, 11, 130


@pytest.fixture
def two_versions(user: Story) -> Story:
    """The first version is live, the second one is built; its canary takes as long as one likes."""
    user.init()
    user.hurry(steps="[20, 50]", soak="60s", requests=20)
    user.deploy()
    user.second_model()
    user.build("build --bump minor")
    return user


@contextmanager
def in_the_midst_of_a_canary(user: Story) -> Iterator[Running]:
    """A deploy as the foreground job of a terminal, while users send requests; nobody may lose one."""
    with user.users() as load, user.begin("deploy local", start_new_session=True) as running:
        running.until_told("judge 1.1.0")
        yield running
    assert load.report.failures == {}


def press_ctrl_c(running: Running) -> None:
    os.killpg(running.process.pid, signal.SIGINT)


def test_once_takes_the_candidate_back(two_versions: Story) -> None:
    user = two_versions
    with in_the_midst_of_a_canary(user) as running:
        press_ctrl_c(running)
        ended = running.end()
        assert ended.code == REJECTED
        assert "Ctrl-C again stops at once" in ended.err
        assert "interrupted and taken back" in ended.err
        assert user.weights() == {"1.0.0": 100}
    assert user.status()["rollout"] is None
    assert user.ask("history local --limit 1").result["rollouts"][0]["outcome"] == "aborted"


def test_once_holds_the_rollout_where_the_project_says_so(two_versions: Story) -> None:
    user = two_versions
    user.edit("keep", '1\non_interrupt = "hold"')
    with in_the_midst_of_a_canary(user) as running:
        press_ctrl_c(running)
        ended = running.end()
        assert ended.code == HELD
        assert "mdeploy resume" in ended.err
        assert user.weights() == {"1.0.0": 80, "1.1.0": 20}
        assert user.ask("abort local").result["result"] == "aborted"


def test_twice_stops_at_once_and_says_how_to_go_on(two_versions: Story) -> None:
    user = two_versions
    with in_the_midst_of_a_canary(user) as running:
        press_ctrl_c(running)
        running.until_told("Ctrl-C again stops at once")
        press_ctrl_c(running)
        ended = running.end(within=10)
        assert ended.code == INTERRUPTED
        assert "mdeploy resume local" in ended.err
        assert "mdeploy abort local" in ended.err
        assert "Traceback" not in ended.err
        assert sum(user.weights().values()) == 100
        user.ask("abort local")
        assert user.weights() == {"1.0.0": 100}


def test_a_first_release_that_is_stopped_leaves_nothing(user: Story) -> None:
    user.init()
    user.build()
    with user.begin("deploy local", start_new_session=True) as running:
        running.until_told("wait until")
        press_ctrl_c(running)
        assert running.end().code == REJECTED
    assert user.status()["revisions"] == []
    assert user.deploy()["result"] == "promoted"


def test_a_build_that_is_stopped_leaves_no_half_bundle(user: Story) -> None:
    user.init()
    user.edit("name", '"never-built-before"')
    with user.begin("build", start_new_session=True) as running:
        running.until_told("building the Bento")
        press_ctrl_c(running)
        ended = running.end(within=10)
        assert (ended.code, "Traceback" in ended.text) == (INTERRUPTED, False)
    assert not list((user.home / "bundles").glob("sha256-*"))
    assert user.build()["unchanged"] is False
