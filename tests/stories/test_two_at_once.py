"""Two people, one target: one of them wins. And a night without users decides nothing."""

from __future__ import annotations

import pytest

from modeldeploy import identity
from story_project import Story

pytestmark = pytest.mark.story

LOCKED, REJECTED, HELD = 7, 10, 11


@pytest.fixture
def two_versions(user: Story) -> Story:
    """The first version is live, the second one is built."""
    user.init()
    user.hurry(steps="[20, 50]", soak="500ms", requests=20)
    user.deploy()
    user.second_model()
    user.build("build --bump minor")
    return user


def test_of_two_deploys_at_once_one_wins_and_the_other_is_told_who_has_the_lock(two_versions: Story) -> None:
    user = two_versions
    with user.users():
        first, second = user.begin("deploy local --json"), user.begin("deploy local --json")
        ended = {one.end().code: one for one in (first, second)}
        assert set(ended) == {0, LOCKED}
    loser, winner = ended[LOCKED].end(), ended[0]
    assert loser.error["kind"] == "LockHeld"
    assert f"pid {winner.process.pid}" in loser.error["message"]
    assert identity.current() in loser.error["message"]
    assert "mdeploy deploy local" in loser.error["message"]
    assert loser.error["details"]["command"] == "mdeploy deploy local --json"
    assert user.weights() == {"1.0.0": 0, "1.1.0": 100}


def test_status_tells_who_changes_the_target_and_nobody_else_may(two_versions: Story) -> None:
    user = two_versions
    with user.begin("deploy local --json") as running:
        running.until_told('"judge"')
        for command in ("deploy local", "rollback local", "abort local", "resume local", "destroy local"):
            user.ask(command, ends_with=LOCKED)
        holder = user.status()["holder"]
        assert holder["pid"] == running.process.pid
        assert "changing now: mdeploy deploy local" in user.type("status local").out


def test_a_canary_without_any_traffic_is_held_and_goes_on_from_another_terminal(two_versions: Story) -> None:
    user = two_versions
    user.edit("patience", '"1s"')
    held = user.ask("deploy local", ends_with=HELD)
    assert "min_requests 0 (at least 20)" in held.error["message"]
    assert "mdeploy resume" in held.error["hint"]
    assert user.weights() == {"1.0.0": 80, "1.1.0": 20}
    rollout = user.status()["rollout"]
    assert rollout["held"] is True
    assert "undecided" in rollout["reason"]
    again = user.ask("deploy local", ends_with=HELD)
    assert "is unfinished" in again.error["message"]
    user.ask("resume local", ends_with=HELD)
    with user.users():
        assert user.ask("resume local").result["result"] == "promoted"
    assert user.weights() == {"1.0.0": 0, "1.1.0": 100}


def test_a_held_canary_is_taken_back_by_abort(two_versions: Story) -> None:
    user = two_versions
    user.edit("patience", '"1s"')
    user.ask("deploy local", ends_with=HELD)
    assert user.ask("abort local").result["result"] == "aborted"
    assert user.weights() == {"1.0.0": 100}
    assert user.status()["rollout"] is None
