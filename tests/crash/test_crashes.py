"""Whenever the process dies, `resume`, `abort` or `rollback` ends well, and no user has noticed.

The process dies before and after each act and before, in the middle of and after each write of the
journal: at every such point of every scenario (1,333 in all), and in pairs, once in the command and once
more in the resume. Of the 46,285 pairs one in 41 is run (1,136), shifted from point to point so that each
place in a resume gets its turn; ``MDEPLOY_CRASH_STRIDE=1`` runs them all, in five to ten minutes.
"""

from __future__ import annotations

import json
import os
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import pytest

from crash.scenarios import NEW, OLD, OLDEST, AnnouncedTarget, Scenario, scenarios, state
from modeldeploy.model import RevisionId, RevisionSpec, RevisionState
from modeldeploy.rollout import journal as journals
from modeldeploy.testing import CrashPoints, FakeWorld, SimulatedCrash

STRIDE = int(os.environ.get("MDEPLOY_CRASH_STRIDE", "41"))
PAUSES = (0.0, 30.0)
"""Seconds from the crash to the next command: changes under way have not been applied, or have."""

every_scenario = pytest.mark.parametrize("scenario", scenarios(), ids=lambda scenario: scenario.name)
every_deploy = pytest.mark.parametrize(
    "scenario", [each for each in scenarios() if not each.rolls_back], ids=lambda scenario: scenario.name
)


@dataclass(frozen=True)
class Lab:
    """Runs one scenario again and again, each time in a world of its own."""

    scenario: Scenario
    folder: Path

    def fresh(self) -> FakeWorld:
        for left in self.folder.iterdir():
            left.unlink()
        return self.scenario.world(self.folder)

    def uncrashed(self) -> tuple[str, object, list[str]]:
        """How the command ends undisturbed, in which state, and which crash points it passes."""
        world, points = self.fresh(), CrashPoints()
        ended = self.scenario.command(points.wrap(AnnouncedTarget(world)), world.clock)
        self.check(world)
        return ended, state(world), points.passed

    def crashed(self, at: int, pause: float) -> FakeWorld:
        """A world in which the command has died at a point, some time ago."""
        world = self.fresh()
        with pytest.raises(SimulatedCrash):
            self.scenario.command(CrashPoints(at).wrap(AnnouncedTarget(world)), world.clock)
        world.clock.sleep(pause)
        return world

    def recover(self, world: FakeWorld, wanted: str, points: CrashPoints) -> str:
        """What a person does: resume, and where that finds nothing begun, the same command again."""
        target = points.wrap(AnnouncedTarget(world))
        ended = self.scenario.resume(target, world.clock)
        store = AnnouncedTarget(world).store
        newest = journals.read(store, store.rollouts()[-1]) if store.rollouts() else None
        if ended == "unchanged" and not (newest and newest.outcome == wanted):
            ended = self.scenario.command(target, world.clock)
        return ended

    def check(self, world: FakeWorld) -> None:
        """What must hold at the end of everything, and what was recorded all along."""
        assert world.broken == []
        assert world.lost == 0
        assert world.unserved == 0 or self.scenario.stable is None
        assert AnnouncedTarget(world).store.holder() is None

    def check_journal(self, world: FakeWorld, ended: str) -> None:
        """The newest journal tells how it ended, all others are over, and no step is told out of turn."""
        store = AnnouncedTarget(world).store
        entries = [journals.read(store, name) for name in store.rollouts()]
        assert [entry for entry in entries[:-1] if entry.outcome is None] == []
        newest = entries[-1]
        if ended == "held":
            assert (newest.outcome, newest.held) == (None, True)
        else:
            assert newest.outcome == ended
            assert newest.done == len(newest.steps)
        for name in store.rollouts():
            check_order([json.loads(line) for line in store.read(name)])


def check_order(lines: list[dict[str, object]]) -> None:
    """A step is begun after the one before it is done, and done only if it was begun."""
    kinds = [line["kind"] for line in lines]
    assert kinds[0] == "start" or kinds == ["end"], "its start was torn, so nothing but its end is known"
    next_step, begun = 0, False
    for line in lines:
        if line["kind"] == "plan":
            next_step, begun = 0, False
        elif line["kind"] == "begin":
            assert line["i"] == next_step
            begun = True
        elif line["kind"] == "done":
            assert begun
            assert line["i"] == next_step
            next_step, begun = next_step + 1, False


@pytest.fixture
def lab(scenario: Scenario, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Lab:
    # A killed process loses nothing that the kernel has; power cuts are not tried here.
    monkeypatch.setattr(os, "fsync", lambda descriptor: None)
    return Lab(scenario, tmp_path)


@every_scenario
def test_resume_after_one_crash_or_two_ends_as_if_there_had_been_none(lab: Lab) -> None:
    wanted, goal, points = lab.uncrashed()

    def check(world: FakeWorld, *crashes: float) -> None:
        assert (crashes, state(world)) == (crashes, goal)
        lab.check(world)
        lab.check_journal(world, wanted)

    for at in range(len(points)):
        for pause in reversed(pauses(points[at])):
            world, counting = lab.crashed(at, pause), CrashPoints()
            assert lab.recover(world, wanted, counting) in (wanted, "unchanged")
            check(world, at, pause)
        for again in range(at * 7 % STRIDE, len(counting.passed), STRIDE):
            world = lab.crashed(at, PAUSES[again % 2])
            with suppress(SimulatedCrash):  # with another pause, the resume may be over before that point
                lab.recover(world, wanted, CrashPoints(again))
            world.clock.sleep(PAUSES[at % 2])
            lab.recover(world, wanted, CrashPoints())
            check(world, at, again)


@every_deploy
def test_abort_from_any_crash_returns_to_stable_unless_the_candidate_is_promoted(lab: Lab) -> None:
    before = state(lab.fresh())
    wanted, goal, points = lab.uncrashed()
    for at, point in enumerate(points):
        for pause in pauses(point):
            world = lab.crashed(at, pause)
            promoted = world.applied.stable == NEW.id
            lab.scenario.abort(AnnouncedTarget(world), world.clock)
            world.clock.sleep(2.0)
            if promoted:
                lab.recover(world, wanted, CrashPoints())
            assert (at, pause, state(world)) == (at, pause, goal if promoted else before)
            lab.check(world)


@every_deploy
def test_rollback_from_any_crash_gives_all_traffic_to_a_former_revision(lab: Lab) -> None:
    before = state(lab.fresh())
    points = lab.uncrashed()[2]
    for at, point in enumerate(points):
        for pause in pauses(point):
            world = lab.crashed(at, pause)
            promoted = world.applied.stable == NEW.id
            unfinished = journals.unfinished(AnnouncedTarget(world).store)
            former = newest_former(world, NEW if promoted else OLD)
            ended = lab.scenario.roll_back(AnnouncedTarget(world), world.clock)
            world.clock.sleep(2.0)
            if unfinished and not promoted:
                # Also one that died before its first act: it is that one which is rolled back.
                assert (at, pause, state(world)) == (at, pause, before)
            elif former:
                assert world.applied.weights == {former: 100}
                assert (ended, world.applied.stable) == ("rolled-back", former)
            else:
                assert ended == "refused"
            lab.check(world)


@every_deploy
def test_without_its_journal_a_crashed_deploy_is_finished_from_what_the_target_tells(lab: Lab) -> None:
    _, goal, points = lab.uncrashed()
    for at in range(len(points)):
        for pause in pauses(points[at]):
            world = lab.crashed(at, pause)
            for journal in lab.folder.glob("*.jsonl"):
                journal.unlink()
            if lab.scenario.resume(AnnouncedTarget(world), world.clock) == "unchanged":
                lab.scenario.command(AnnouncedTarget(world), world.clock)
            assert (at, pause, state(world)) == (at, pause, goal)
            lab.check(world)


def pauses(point: str) -> tuple[float, ...]:
    """Where a change is under way it matters how soon the next command comes; elsewhere at once will do."""
    return PAUSES if point.startswith(("after set_traffic", "after create", "after delete")) else PAUSES[:1]


def newest_former(world: FakeWorld, stable: RevisionSpec) -> RevisionId | None:
    """The newest revision that is older than stable and still there."""
    older = {OLD.id: [OLDEST.id], NEW.id: [OLD.id, OLDEST.id]}[stable.id]
    there = (name for name in older if name in world.revisions)
    return next((name for name in there if world.revisions[name].state is RevisionState.READY), None)
