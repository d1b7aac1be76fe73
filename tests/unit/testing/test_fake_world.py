"""The fake target breaks loudly where a real one would hurt users, and its users see what they would."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from fake_place import spec
from modeldeploy.errors import LockHeld, TargetRefused, TargetUnavailable
from modeldeploy.model import Holder, HttpRequest, RevisionState, Traffic
from modeldeploy.rollout.judge import quantile, window
from modeldeploy.testing import Behaviour, FakeClock, FakeTarget, FakeWorld, InvariantBroken

OLD, NEW = spec("1.0.0"), spec("1.1.0")
HOLDER = Holder("ada@laptop", 1, "mdeploy deploy", 0.0)
PING = HttpRequest("GET", "/")


@pytest.fixture
def world(tmp_path: Path) -> FakeWorld:
    world = FakeWorld(FakeClock(), tmp_path)
    world.install(OLD, weight=100)
    return world


def ready(world: FakeWorld, *, verified: bool = True) -> FakeTarget:
    """A terminal that has brought NEW up."""
    target = FakeTarget(world)
    target.create(NEW)
    world.clock.sleep(5)
    target.observe()
    if verified:
        target.call(NEW.id, PING)
    return target


def between(new: int) -> Traffic:
    return Traffic({OLD.id: 100 - new, NEW.id: new}, stable=OLD.id, fallback=(OLD.id, NEW.id))


def unlocked(world: FakeWorld) -> None:
    FakeTarget(world).create(NEW)


def unseen(world: FakeWorld) -> None:
    ready(world)
    FakeTarget(world).set_traffic(between(10))  # another terminal, which has not looked


def unready(world: FakeWorld) -> None:
    target = FakeTarget(world)
    target.create(NEW)
    target.observe()
    target.set_traffic(between(10))


def unverified(world: FakeWorld) -> None:
    ready(world, verified=False).set_traffic(between(10))


def unknown(world: FakeWorld) -> None:
    FakeTarget(world).set_traffic(between(10))


def deleted_with_weight(world: FakeWorld) -> None:
    target = ready(world)
    target.set_traffic(between(10))  # on its way, not applied yet
    target.delete(NEW.id, grace=5)


def deleted_way_back(world: FakeWorld) -> None:
    target = ready(world)
    target.set_traffic(Traffic({NEW.id: 100}, stable=NEW.id, fallback=(NEW.id, OLD.id)))
    world.clock.sleep(1)
    target.delete(OLD.id, grace=5)


@pytest.mark.parametrize(
    ("act", "reason"),
    [
        (unlocked, "without the lock"),
        (unseen, "last seen nowhere"),
        (unready, "last seen pending"),
        (unverified, "never verified"),
        (unknown, "does not exist"),
        (deleted_with_weight, "while it has traffic"),
        (deleted_way_back, "the way back"),
    ],
)
def test_what_would_hurt_users_breaks(
    world: FakeWorld, act: Callable[[FakeWorld], None], reason: str
) -> None:
    if act is unlocked:
        with pytest.raises(InvariantBroken, match=reason):
            act(world)
    else:
        with FakeTarget(world).store.lock(HOLDER), pytest.raises(InvariantBroken, match=reason):
            act(world)
    assert len(world.broken) == 1


def test_a_revision_that_fails_after_the_look_is_refused_not_blamed_on_who_asked(world: FakeWorld) -> None:
    world.behave("1.1.0", Behaviour(crash_after=10))
    with FakeTarget(world).store.lock(HOLDER):
        target = ready(world)
        world.clock.sleep(10)
        with pytest.raises(TargetRefused):
            target.set_traffic(between(10))
    assert world.broken == []


def test_weights_apply_after_a_while_and_the_last_ones_win(world: FakeWorld) -> None:
    with FakeTarget(world).store.lock(HOLDER):
        target = ready(world)
        target.set_traffic(between(10))
        target.set_traffic(between(20))
    assert target.observe().traffic.weight(NEW.id) == 0
    world.clock.sleep(1)
    assert FakeTarget(world).observe().traffic == between(20)


def test_users_are_spread_by_weights_and_counted(world: FakeWorld) -> None:
    world.behave("1.1.0", Behaviour(error_share=0.2, latency=((0.2, 0.5), (0.4, 0.5))))
    with FakeTarget(world).store.lock(HOLDER):
        target = ready(world)
        target.set_traffic(between(10))
    world.clock.sleep(1)
    first = target.sample(NEW.id)
    world.clock.sleep(10)
    seen = window(first, target.sample(NEW.id))
    assert seen is not None
    assert (seen.requests, seen.errors) == (1000, 200)
    assert 0.25 < (quantile(seen.latency, 0.95) or 0) <= 0.5
    assert (world.lost, world.unserved, world.fell_back) == (0, 0, 0)


def test_a_failed_revision_with_weight_falls_back_and_is_charged_for_it(world: FakeWorld) -> None:
    world.behave("1.1.0", Behaviour(crash_after=4))
    with FakeTarget(world).store.lock(HOLDER):
        target = ready(world)
        target.set_traffic(between(50))
    world.clock.sleep(10)
    assert world.revisions[NEW.id].state is RevisionState.FAILED
    assert target.sample(NEW.id).errors == pytest.approx(world.fell_back, abs=1)
    assert world.fell_back > 0
    assert world.lost == 0


def test_requests_without_anybody_to_answer_are_lost(world: FakeWorld) -> None:
    world.reboot()
    world.clock.sleep(1)
    assert world.lost == 1000


def test_requests_in_flight_are_lost_where_the_grace_is_too_short(world: FakeWorld) -> None:
    world.behave("1.1.0", Behaviour(longest=5.0))
    with FakeTarget(world).store.lock(HOLDER):
        target = ready(world)
        target.set_traffic(between(50))
        world.clock.sleep(2)
        target.set_traffic(Traffic({OLD.id: 100}, stable=OLD.id))
        world.clock.sleep(0.5)
        assert target.sample(NEW.id).in_flight > 0
        target.delete(NEW.id, grace=1.0)
    assert world.lost > 0


def test_a_router_that_restarts_counts_from_zero_under_a_new_epoch(world: FakeWorld) -> None:
    target = FakeTarget(world)
    world.clock.sleep(1)
    before = target.sample(OLD.id)
    world.restart_router()
    after = target.sample(OLD.id)
    assert (before.requests, after.requests) == (1000, 0)
    assert before.epoch != after.epoch


@pytest.mark.parametrize("acted", [False, True])
def test_a_verb_fails_as_often_as_told_before_or_after_its_act(world: FakeWorld, *, acted: bool) -> None:
    target = FakeTarget(world)
    world.fail("create", times=2, acted=acted)
    with target.store.lock(HOLDER):
        for _ in range(2):
            with pytest.raises(TargetUnavailable):
                target.create(NEW)
        assert (NEW.id in world.revisions) is acted
        target.create(NEW)
    assert NEW.id in world.revisions


def test_a_reboot_stops_everything_and_start_brings_it_back(world: FakeWorld) -> None:
    target = FakeTarget(world)
    world.reboot()
    assert target.observe().revisions[0].state is RevisionState.STOPPED
    assert not target.observe().up
    target.start()
    world.clock.sleep(5)
    seen = target.observe()
    assert seen.up
    assert (seen.revisions[0].state, seen.traffic.weight(OLD.id)) == (RevisionState.READY, 100)


def test_the_lock_is_one_for_all_terminals(world: FakeWorld) -> None:
    with FakeTarget(world).store.lock(HOLDER), pytest.raises(LockHeld), FakeTarget(world).store.lock(HOLDER):
        pass


def test_the_clock_moves_only_by_sleeping_and_its_wall_time_may_jump() -> None:
    clock = FakeClock(wall=100.0, limit=60.0)
    began = clock.monotonic()
    clock.sleep(5)
    clock.jump(-50)
    assert (clock.monotonic() - began, clock.now()) == (5, 55)
    with pytest.raises(AssertionError, match="still waiting after 60"):
        clock.sleep(60)
