"""The contract that every driver must pass: the five rules of `Target` and the promises of its verbs.

::

    @pytest.fixture(scope="module")
    def new_place(tmp_path_factory):
        def lay_out() -> Place: ...
        return lay_out

    class TestMyDriver(TargetContract):
        pass

`docs/how-to/write-a-target-driver.md` goes through it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from itertools import pairwise
from typing import TypeVar

import pytest

from modeldeploy.errors import LockHeld, TargetRefused, TargetUnavailable
from modeldeploy.model import Holder, Level, Observed, RevisionId, RevisionSpec, RevisionState, Traffic
from modeldeploy.target import Target
from modeldeploy.testing.place import Place, state_of
from modeldeploy.testing.witness import Witness

T = TypeVar("T")
NOBODY = RevisionId("9.9.9-00000000")
HOLDER = Holder(owner="contract@localhost", pid=1, command="mdeploy deploy", since=0.0)


class TargetContract:
    """Tests for a driver.

    The fixture ``new_place``, which the driver's test gives, is a function that lays out a new, empty
    `Place` each time it is called; its scope is a class or wider. Most tests share one place where
    ``good`` (with all traffic) and ``other`` are ready, the rest have each its own.
    """

    @pytest.fixture
    def place(self, new_place: Callable[[], Place]) -> Iterator[Place]:
        """A place of the test's own, emptied at its end."""
        place = new_place()
        yield place
        place.empty(place.open())

    @pytest.fixture(scope="class")
    @classmethod
    def busy(cls, new_place: Callable[[], Place]) -> Iterator[Place]:
        """A place where ``good`` and ``other`` are ready."""
        place = new_place()
        target = place.open()
        target.create(place.good)
        target.create(place.other)
        place.wait_for(target, place.good.id, RevisionState.READY)
        place.wait_for(target, place.other.id, RevisionState.READY)
        yield place
        place.empty(target)

    @pytest.fixture
    def running(self, busy: Place) -> Place:
        """The same, with all traffic on ``good``."""
        busy.shift(busy.open(), all_to(busy.good))
        return busy

    @pytest.fixture(autouse=True)
    def silence(self, capfd: pytest.CaptureFixture[str]) -> Iterator[None]:
        """Rule 3: a driver prints nothing, and neither do the programs it starts."""
        yield
        printed = capfd.readouterr()
        assert (printed.out, printed.err) == ("", ""), "a driver prints nothing"

    # -- before anything runs --------------------------------------------------------------------------

    def test_it_is_a_target(self, place: Place) -> None:
        target = place.open()
        assert isinstance(target, Target)
        assert target.capabilities.strategies

    def test_check_changes_nothing_and_each_problem_has_a_remedy(self, place: Place) -> None:
        findings = witness(place).check()
        assert all(finding.remedy for finding in findings if finding.level is not Level.OK)
        assert witness(place).observe().revisions == ()

    def test_an_unused_place_is_empty(self, place: Place) -> None:
        observed = witness(place).observe()
        assert (observed.revisions, dict(observed.traffic.weights)) == ((), {})

    def test_start_and_destroy_of_an_empty_place_are_harmless(self, place: Place) -> None:
        target = witness(place)
        target.start()
        target.destroy()
        assert target.observe().revisions == ()

    def test_no_traffic_for_an_empty_place_is_no_error(self, place: Place) -> None:
        """The way back from a first rollout whose revision could not even be created."""
        target = witness(place)
        target.set_traffic(Traffic())
        assert target.observe().revisions == ()

    # -- rule 2: verbs begin, observe tells ------------------------------------------------------------

    def test_create_returns_before_the_revision_is_ready(self, place: Place) -> None:
        target = witness(place)
        target.create(place.slow)
        state = state_of(target.observe(), place.slow.id)
        assert state in (RevisionState.PENDING, RevisionState.STARTING)
        ready = place.wait_for(target, place.slow.id, RevisionState.READY).find(place.slow.id)
        assert ready is not None
        assert (ready.bundle, ready.rollout) == (place.slow.bundle, place.slow.rollout)
        assert (ready.replicas, ready.ready_replicas) == (place.slow.replicas, place.slow.replicas)

    def test_weight_for_a_revision_that_is_not_ready_is_refused(self, place: Place) -> None:
        target = witness(place)
        target.create(place.slow)
        with pytest.raises(TargetRefused):
            target.set_traffic(all_to(place.slow))
        assert not target.observe().traffic.weights

    def test_a_revision_can_be_deleted_while_it_starts(self, place: Place) -> None:
        target = witness(place)
        target.create(place.slow)
        target.delete(place.slow.id, grace=0.0)
        place.wait(target, gone(place.slow), "deleted")

    def test_a_broken_revision_fails_and_says_why(self, place: Place) -> None:
        target = witness(place)
        target.create(place.broken)
        observed = place.wait_for(target, place.broken.id, RevisionState.FAILED)
        failed = observed.find(place.broken.id)
        assert failed is not None
        assert failed.message
        assert failed.ready_replicas == 0
        assert list(target.logs(place.broken.id, tail=20)), "its last lines say what went wrong"
        target.delete(place.broken.id, grace=0.0)
        place.wait(target, gone(place.broken), "deleted")

    # -- rule 1: idempotent by name --------------------------------------------------------------------

    def test_creating_what_exists_changes_nothing(self, running: Place) -> None:
        target = witness(running)
        before = target.observe()
        target.create(running.good)
        assert facts(target.observe()) == facts(before)

    def test_setting_the_same_traffic_again_changes_nothing(self, running: Place) -> None:
        target = witness(running)
        target.set_traffic(all_to(running.good))
        assert running.wait(target, applies(all_to(running.good)), "routed").up
        assert set(running.users_send(target, 5)) == {running.good.id}

    def test_deleting_what_is_gone_succeeds(self, running: Place) -> None:
        witness(running).delete(NOBODY, grace=0.0)

    def test_start_of_what_runs_is_harmless(self, running: Place) -> None:
        target = witness(running)
        before = target.observe()
        target.start()
        assert facts(target.observe()) == facts(before)
        assert set(running.users_send(target, 5)) == {running.good.id}

    # -- rule 5: the truth is on the target ------------------------------------------------------------

    def test_another_terminal_sees_the_same(self, running: Place) -> None:
        assert facts(witness(running).observe()) == facts(witness(running).observe())
        assert witness(running).observe().endpoint

    def test_stable_and_fallback_are_read_back_from_the_target(self, running: Place) -> None:
        weights = {running.good.id: 60, running.other.id: 40}
        told = Traffic(weights, stable=running.good.id, fallback=(running.good.id, running.other.id))
        running.shift(witness(running), told)
        assert witness(running).observe().traffic == told

    # -- traffic ---------------------------------------------------------------------------------------

    @pytest.mark.parametrize("share", [0, 50, 100])
    def test_users_are_answered_by_the_weights_that_observe_tells(self, running: Place, share: int) -> None:
        target = witness(running)
        weights = {running.good.id: 100 - share, running.other.id: share}
        running.shift(target, Traffic(weights, stable=running.good.id))
        answered = Counter(running.users_send(target, 200))
        assert set(answered) <= {name for name, weight in weights.items() if weight}
        # 200 throws of a coin: seven standard deviations to either side.
        assert abs(answered[running.other.id] - 2 * share) <= 50

    def test_weight_for_an_unknown_revision_is_refused_and_changes_nothing(self, running: Place) -> None:
        target = witness(running)
        with pytest.raises(TargetRefused):
            target.set_traffic(Traffic({running.good.id: 50, NOBODY: 50}, stable=running.good.id))
        assert target.observe().traffic == all_to(running.good)

    def test_a_revision_with_weight_is_not_deleted(self, running: Place) -> None:
        target = witness(running)
        with pytest.raises(TargetRefused):
            target.delete(running.good.id, grace=0.0)
        assert set(running.users_send(target, 5)) == {running.good.id}

    def test_a_revision_comes_and_goes_beside_users_who_notice_nothing(self, running: Place) -> None:
        target = witness(running)
        target.create(running.slow)
        running.wait_for(target, running.slow.id, RevisionState.READY)
        target.delete(running.slow.id, grace=1.0)
        running.wait(target, gone(running.slow), "deleted")
        assert set(running.users_send(target, 20)) == {running.good.id}

    # -- sample ----------------------------------------------------------------------------------------

    def test_sample_counts_what_users_sent(self, running: Place) -> None:
        target = witness(running)
        before = {name: target.sample(name) for name in (running.good.id, running.other.id)}
        running.users_send(target, 40)
        wanted = before[running.good.id].requests + 40
        look = partial(target.sample, running.good.id)
        after = eventually(running, look, lambda seen: seen.requests >= wanted)
        assert after.requests == wanted
        assert after.errors == before[running.good.id].errors
        assert after.epoch == before[running.good.id].epoch
        assert target.sample(running.other.id).requests == before[running.other.id].requests

    def test_latency_buckets_are_cumulative_and_ascend(self, running: Place) -> None:
        target = witness(running)
        running.users_send(target, 10)
        look = partial(target.sample, running.good.id)
        latency = eventually(running, look, lambda seen: any(seen.latency.counts)).latency
        assert any(latency.counts), "nothing was timed"
        assert len(latency.bounds) == len(latency.counts)
        assert all(low < high for low, high in pairwise((0.0, *latency.bounds)))
        assert all(low <= high for low, high in pairwise((0, *latency.counts)))

    def test_a_revision_nobody_asked_has_counted_nothing(self, running: Place) -> None:
        sample = witness(running).sample(NOBODY)
        assert (sample.requests, sample.errors, sample.in_flight) == (0, 0, 0)

    # -- call and logs ---------------------------------------------------------------------------------

    def test_call_reaches_a_revision_without_weight_and_is_not_counted(self, running: Place) -> None:
        target = witness(running)
        before = target.sample(running.other.id).requests
        answer = target.call(running.other.id, running.probe)
        assert answer.status == 200
        assert answer.headers.get("x-model-version", running.other.id) == running.other.id
        assert target.sample(running.other.id).requests == before

    def test_call_to_an_unknown_revision_fails_as_one_of_ours(self, running: Place) -> None:
        with pytest.raises((TargetRefused, TargetUnavailable)):
            witness(running).call(NOBODY, running.probe)

    def test_logs_are_lines_and_no_more_than_asked_for(self, running: Place) -> None:
        lines = list(witness(running).logs(running.good.id, tail=2))
        assert len(lines) <= 2
        assert not any(line.endswith("\n") for line in lines)

    def test_logs_of_an_unknown_revision_fail_as_one_of_ours(self, running: Place) -> None:
        with pytest.raises((TargetRefused, TargetUnavailable)):
            list(witness(running).logs(NOBODY, tail=2))

    # -- destroy, and what stays -----------------------------------------------------------------------

    def test_destroy_removes_everything_but_the_journals_and_can_be_repeated(self, place: Place) -> None:
        target = witness(place)
        target.create(place.good)
        place.wait_for(target, place.good.id, RevisionState.READY)
        place.shift(target, all_to(place.good))
        target.store.append("000001-0", b"{}")
        target.destroy()
        place.wait(target, lambda seen: not (seen.revisions or seen.up), "destroyed")
        target.destroy()
        assert not witness(place).observe().traffic.weights
        assert target.store.read("000001-0") == [b"{}"]

    def test_a_place_can_be_used_again_after_destroy(self, place: Place) -> None:
        target = witness(place)
        target.create(place.good)
        place.wait_for(target, place.good.id, RevisionState.READY)
        place.empty(target)
        target.create(place.good)
        place.wait_for(target, place.good.id, RevisionState.READY)
        place.shift(target, all_to(place.good))
        assert set(place.users_send(target, 5)) == {place.good.id}

    # -- the store -------------------------------------------------------------------------------------

    def test_the_lock_has_one_holder_and_says_who(self, place: Place) -> None:
        here, there = place.open().store, place.open().store
        with here.lock(HOLDER):
            assert there.holder() == HOLDER
            with pytest.raises(LockHeld) as held, there.lock(replace(HOLDER, pid=2)):
                pass
            assert held.value.details["command"] == HOLDER.command
        assert there.holder() is None
        with there.lock(HOLDER):
            assert here.holder() == HOLDER

    def test_journals_are_read_from_another_terminal_oldest_first(self, place: Place) -> None:
        here, there = place.open().store, place.open().store
        here.append("000002-0", b"second")
        here.append("000001-0", b"first")
        here.append("000001-0", b"and on")
        assert list(there.rollouts()) == ["000001-0", "000002-0"]
        assert list(there.read("000001-0")) == [b"first", b"and on"]
        assert list(there.read("000009-0")) == []


def witness(place: Place) -> Witness:
    """A new terminal on the place, watched at each call."""
    return Witness(place.open(), place.clock, place.bound)


def all_to(spec: RevisionSpec) -> Traffic:
    """Traffic that gives one revision everything."""
    return Traffic({spec.id: 100}, stable=spec.id, fallback=(spec.id,))


def applies(traffic: Traffic) -> Callable[[Observed], bool]:
    """Says of a look at a target whether its router applies exactly this."""
    return lambda observed: observed.traffic == traffic


def gone(spec: RevisionSpec) -> Callable[[Observed], bool]:
    """Says of a look at a target whether the revision is away altogether."""
    return lambda observed: observed.find(spec.id) is None


def facts(observed: Observed) -> Observed:
    """What must not differ between two looks at a target that nobody changes: all but the notes."""
    return replace(
        observed, notes=(), revisions=tuple(sorted(observed.revisions, key=lambda known: known.id))
    )


def eventually(place: Place, look: Callable[[], T], wanted: Callable[[T], object]) -> T:
    """What ``look`` returns as soon as it is wanted, or else at the end of the place's patience."""
    deadline = place.clock.monotonic() + place.patience
    while not wanted(found := look()) and place.clock.monotonic() < deadline:
        place.clock.sleep(0.05)
    return found
