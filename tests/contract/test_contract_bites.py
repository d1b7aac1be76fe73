"""Each promise of the contract is one that a driver can break, and then a test fails."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from inspect import signature
from pathlib import Path

import pytest

from fake_place import new_world, place_in
from modeldeploy.errors import TargetRefused
from modeldeploy.model import (
    Finding,
    HttpRequest,
    HttpResponse,
    Level,
    Observed,
    RevisionId,
    RevisionSpec,
    RevisionState,
    Sample,
    Traffic,
)
from modeldeploy.testing import FakeTarget, Place, TargetContract

TESTS = Path(__file__).parents[1]


class Prints(FakeTarget):
    def observe(self) -> Observed:
        print("observing")
        return super().observe()


class WaitsUntilReady(FakeTarget):
    def create(self, spec: RevisionSpec) -> None:
        super().create(spec)
        self.world.clock.sleep(10)


class LeaksKeyError(FakeTarget):
    def call(self, revision: RevisionId, request: HttpRequest) -> HttpResponse:
        if revision not in self.world.revisions:
            raise KeyError(revision)
        return super().call(revision, request)


class CreatesAgain(FakeTarget):
    def create(self, spec: RevisionSpec) -> None:
        self.world.revisions.pop(spec.id, None)
        super().create(spec)


class RefusesToDeleteWhatIsGone(FakeTarget):
    def delete(self, revision: RevisionId, *, grace: float) -> None:
        if revision not in self.world.revisions:
            raise TargetRefused(f"no revision {revision}")
        super().delete(revision, grace=grace)


class RemembersOnItsOwn(FakeTarget):
    """It tells what it has set, not what the target has."""

    def set_traffic(self, traffic: Traffic) -> None:
        self.memory = traffic
        super().set_traffic(traffic)

    def observe(self) -> Observed:
        seen = super().observe()
        traffic = getattr(self, "memory", Traffic())
        return Observed(seen.up, seen.endpoint, seen.revisions, traffic)


class ForgetsStable(FakeTarget):
    def set_traffic(self, traffic: Traffic) -> None:
        super().set_traffic(Traffic(traffic.weights))


class RoutesToAnything(FakeTarget):
    def set_traffic(self, traffic: Traffic) -> None:
        self.world.applied = traffic


class DeletesAnything(FakeTarget):
    def delete(self, revision: RevisionId, *, grace: float) -> None:
        self.world.revisions.pop(revision, None)


class CountsCalls(FakeTarget):
    def call(self, revision: RevisionId, request: HttpRequest) -> HttpResponse:
        self.world.revisions[revision].requests += 1
        return super().call(revision, request)


class CountsNothing(FakeTarget):
    def sample(self, revision: RevisionId) -> Sample:
        return Sample(at=0.0, epoch="")


class LogsEverything(FakeTarget):
    def logs(self, revision: RevisionId, *, tail: int, follow: bool = False) -> Iterator[str]:
        return super().logs(revision, tail=10_000)


class FailsWithoutReason(FakeTarget):
    def observe(self) -> Observed:
        for revision in self.world.revisions.values():
            if revision.state is RevisionState.FAILED:
                revision.message = ""
        return super().observe()


class RestartsOnStart(FakeTarget):
    def start(self) -> None:
        for spec in [revision.spec for revision in self.world.revisions.values()]:
            self.world.revisions.pop(spec.id)
            self.world.create(spec)


class LeavesSomething(FakeTarget):
    def destroy(self) -> None:
        self.world.applied = Traffic()


class ChecksWithoutRemedy(FakeTarget):
    def check(self) -> list[Finding]:
        return [Finding("port", Level.ERROR, "port 8080 is taken")]


BITES = [
    (WaitsUntilReady, "test_create_returns_before_the_revision_is_ready"),
    (LeaksKeyError, "test_call_to_an_unknown_revision_fails_as_one_of_ours"),
    (CreatesAgain, "test_creating_what_exists_changes_nothing"),
    (RefusesToDeleteWhatIsGone, "test_deleting_what_is_gone_succeeds"),
    (RemembersOnItsOwn, "test_stable_and_fallback_are_read_back_from_the_target"),
    (ForgetsStable, "test_stable_and_fallback_are_read_back_from_the_target"),
    (RoutesToAnything, "test_weight_for_a_revision_that_is_not_ready_is_refused"),
    (RoutesToAnything, "test_weight_for_an_unknown_revision_is_refused_and_changes_nothing"),
    (DeletesAnything, "test_a_revision_with_weight_is_not_deleted"),
    (CountsCalls, "test_call_reaches_a_revision_without_weight_and_is_not_counted"),
    (CountsNothing, "test_sample_counts_what_users_sent"),
    (CountsNothing, "test_latency_buckets_are_cumulative_and_ascend"),
    (LogsEverything, "test_logs_are_lines_and_no_more_than_asked_for"),
    (FailsWithoutReason, "test_a_broken_revision_fails_and_says_why"),
    (RestartsOnStart, "test_start_of_what_runs_is_harmless"),
    (LeavesSomething, "test_destroy_removes_everything_but_the_journals_and_can_be_repeated"),
    (ChecksWithoutRemedy, "test_check_changes_nothing_and_each_problem_has_a_remedy"),
]


@pytest.mark.parametrize(("driver", "promise"), BITES, ids=lambda part: getattr(part, "__name__", part))
def test_a_driver_that_breaks_a_promise_is_caught(
    driver: type[FakeTarget], promise: str, tmp_path: Path
) -> None:
    world = new_world(tmp_path)
    place = place_in(world, driver)
    test = getattr(TargetContract(), promise)
    if "running" in signature(test).parameters:
        occupy(place, FakeTarget(world))
    with pytest.raises((AssertionError, TargetRefused, pytest.fail.Exception)):
        test(place)


def occupy(place: Place, target: FakeTarget) -> None:
    """What the contract's fixture does, by a driver that keeps its promises."""
    for revision in (place.good, place.other):
        target.create(revision)
        place.wait_for(target, revision.id, RevisionState.READY)
    place.shift(target, Traffic({place.good.id: 100}, stable=place.good.id, fallback=(place.good.id,)))


def test_a_driver_that_prints_is_caught(tmp_path: Path) -> None:
    (tmp_path / "test_prints.py").write_text(
        "import pytest\n"
        "from contract.test_contract_bites import Prints\n"
        "from fake_place import new_world, place_in\n"
        "from modeldeploy.testing import TargetContract\n"
        "@pytest.fixture(scope='module')\n"
        "def new_place(tmp_path_factory):\n"
        "    return lambda: place_in(new_world(tmp_path_factory.mktemp('place')), Prints)\n"
        "class TestPrints(TargetContract): pass\n"
    )
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-k", "unused", str(tmp_path)]
    done = subprocess.run(
        command, env={**os.environ, "PYTHONPATH": str(TESTS)}, cwd=tmp_path, capture_output=True, check=False
    )
    assert b"a driver prints nothing" in done.stdout
    assert done.returncode == 1
