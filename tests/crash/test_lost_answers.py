"""A target that does not answer for a while, or acts and does not say so, changes nothing in the end."""

from __future__ import annotations

from pathlib import Path

import pytest

from crash.scenarios import HOLDER, AnnouncedTarget, Scenario, scenarios, state
from modeldeploy.errors import LockHeld, TargetUnavailable
from modeldeploy.testing import FakeWorld

NAMES = ("canary: upgrade, keep 0", "canary: failing, errors", "rollback by hand")
VERBS = ("observe", "create", "set_traffic", "sample", "call", "delete", "logs", None)


def named(name: str) -> Scenario:
    return next(each for each in scenarios() if each.name == name)


def after(scenario: Scenario, world: FakeWorld) -> tuple[str, object]:
    ended = scenario.command(AnnouncedTarget(world), world.clock)
    assert (world.broken, world.lost, world.unserved) == ([], 0, 0)
    return ended, state(world)


@pytest.mark.parametrize("acted", [False, True], ids=["unheard", "unanswered"])
@pytest.mark.parametrize("verb", VERBS)
@pytest.mark.parametrize("name", NAMES)
def test_three_lost_answers_are_made_good(
    name: str, verb: str | None, *, acted: bool, tmp_path: Path
) -> None:
    scenario = named(name)
    undisturbed = after(scenario, scenario.world(tmp_path / "undisturbed"))
    world = scenario.world(tmp_path / "disturbed")
    world.fail(verb, times=3, acted=acted)
    assert after(scenario, world) == undisturbed


def test_a_target_that_stays_away_holds_the_rollout_and_resume_finishes_it(tmp_path: Path) -> None:
    scenario = named("canary: upgrade, keep 1")
    undisturbed = after(scenario, scenario.world(tmp_path / "undisturbed"))
    world = scenario.world(tmp_path / "disturbed")
    world.fail("set_traffic", times=1000)
    with pytest.raises(TargetUnavailable):
        scenario.command(AnnouncedTarget(world), world.clock)
    world.answer_again()
    ended = scenario.resume(AnnouncedTarget(world), world.clock)
    assert (ended, state(world)) == undisturbed
    assert (world.broken, world.lost) == ([], 0)


def test_a_second_command_is_told_who_holds_the_lock(tmp_path: Path) -> None:
    scenario = named("canary: upgrade, keep 1")
    world = scenario.world(tmp_path)
    terminal = AnnouncedTarget(world)
    with terminal.store.lock(HOLDER), pytest.raises(LockHeld, match="ada@laptop"):
        scenario.command(AnnouncedTarget(world), world.clock)
    assert world.acts == []
