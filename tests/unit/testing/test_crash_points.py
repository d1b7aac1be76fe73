"""A simulated crash leaves what a real one leaves."""

from __future__ import annotations

from pathlib import Path

import pytest

from fake_place import spec
from modeldeploy.model import Holder
from modeldeploy.testing import CrashPoints, FakeClock, FakeTarget, FakeWorld, SimulatedCrash

NEW = spec("1.1.0")
HOLDER = Holder("ada@laptop", 1, "mdeploy deploy", 0.0)


@pytest.fixture
def world(tmp_path: Path) -> FakeWorld:
    return FakeWorld(FakeClock(), tmp_path)


def run(world: FakeWorld, points: CrashPoints) -> None:
    target = points.wrap(FakeTarget(world))
    with target.store.lock(HOLDER):
        target.store.append("1", b'{"kind": "begin"}')
        try:
            target.create(NEW)
        finally:
            target.store.append("1", b'{"kind": "done"}')


def crash(world: FakeWorld, at: int) -> FakeTarget:
    with pytest.raises(SimulatedCrash):
        run(world, CrashPoints(at))
    return FakeTarget(world)


def test_counting_names_every_point_in_order(world: FakeWorld) -> None:
    points = CrashPoints()
    run(world, points)
    assert [name.split(" {")[0] for name in points.passed] == [
        "before append",
        "half of append",
        "after append",
        f"before create {NEW.id}",
        f"after create {NEW.id}",
        "before append",
        "half of append",
        "after append",
    ]


def test_what_was_not_reached_has_not_happened_and_nothing_cleans_up(world: FakeWorld) -> None:
    for at, lines, created in [(0, 0, False), (1, 0, False), (2, 1, False), (3, 1, False), (4, 1, True)]:
        world.revisions.clear()
        (world.folder / "1.jsonl").unlink(missing_ok=True)
        target = crash(world, at)
        assert (at, len(target.store.read("1")), NEW.id in world.revisions) == (at, lines, created)


def test_a_line_torn_in_half_is_cut_off_by_the_next_one(world: FakeWorld) -> None:
    store = crash(world, 1).store
    assert (world.folder / "1.jsonl").read_bytes() == b'{"kind": '
    store.append("1", b"whole")
    assert store.read("1") == [b"whole"]


def test_the_lock_dies_with_its_holder(world: FakeWorld) -> None:
    target = crash(world, 4)
    assert target.store.holder() is None
    with target.store.lock(HOLDER):
        pass


def test_a_dead_process_does_nothing_more(world: FakeWorld) -> None:
    points = CrashPoints(0)
    target = points.wrap(FakeTarget(world))
    with pytest.raises(SimulatedCrash):
        target.create(NEW)
    for verb in (target.observe, target.start, target.destroy, target.check, target.store.rollouts):
        with pytest.raises(SimulatedCrash):
            verb()
    assert world.acts == []
