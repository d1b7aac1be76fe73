"""The engine on the fake target: each way a rollout can go, in fake time."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from modeldeploy.errors import (
    ConfigError,
    LockHeld,
    RolloutHeld,
    RolloutRejected,
    RolloutStuck,
    TargetDrifted,
    TargetRefused,
    TargetUnavailable,
)
from modeldeploy.events import Event
from modeldeploy.model import (
    BundleRef,
    Gates,
    Holder,
    HttpRequest,
    Policy,
    RevisionId,
    RevisionSpec,
    RevisionState,
    Traffic,
)
from modeldeploy.rollout import journal
from modeldeploy.rollout.acts import Call, Verification
from modeldeploy.rollout.engine import Engine
from modeldeploy.testing import Behaviour, FakeClock, FakeTarget, FakeWorld
from modeldeploy.testing.fake import GOLDEN

HOLDER = Holder("ada@laptop", 1, "mdeploy deploy local", 0.0)
POLICY = Policy(gates=Gates(p95=0.05))


def spec(version: str) -> RevisionSpec:
    bundle = BundleRef("digits", version, f"sha256:{version:0>64}")
    return RevisionSpec(RevisionId(f"{version}-0a0a0a0a"), "digits", bundle, "/bundle", "", replicas=1)


V1, V2, V3 = spec("1.0.0"), spec("2.0.0"), spec("3.0.0")


def verify(call: Call) -> Verification:
    right = call(HttpRequest("POST", "/predict")).body == GOLDEN
    return Verification(1, () if right else ("probability[3][7]: 0.91 here, 0.12 recorded",))


class Terminal:
    """One person at one world."""

    def __init__(self, folder: Path) -> None:
        self.clock = FakeClock()
        self.world = FakeWorld(self.clock, folder)
        self.target = FakeTarget(self.world)
        self.events: list[Event] = []
        self.stop_at: Callable[[], bool] = lambda: False

    def engine(self, policy: Policy = POLICY) -> Engine:
        return Engine(
            self.target,
            policy,
            holder=HOLDER,
            clock=self.clock,
            emit=self.events.append,
            interrupted=self._stopped,
        )

    def _stopped(self) -> bool:
        return self.stop_at()

    @property
    def traffic(self) -> Traffic:
        return self.target.observe().traffic

    def kinds(self) -> list[str]:
        return [event.kind for event in self.events]


def newest_in(terminal: Terminal) -> journal.Entry:
    store = terminal.target.store
    return journal.read(store, store.rollouts()[-1])


@pytest.fixture
def terminal(tmp_path: Path) -> Terminal:
    return Terminal(tmp_path)


@pytest.fixture
def live(terminal: Terminal) -> Terminal:
    """Version 1 is stable and has users."""
    terminal.world.install(V1, weight=100)
    return terminal


def test_a_first_release_goes_live_once_it_is_ready_and_verified(terminal: Terminal) -> None:
    outcome = terminal.engine().deploy(V1, verify)
    assert (outcome.result, outcome.revision, outcome.previous) == ("promoted", V1.id, None)
    assert terminal.traffic.weights == {V1.id: 100}


def test_a_bundle_without_golden_samples_is_not_said_to_have_reproduced_any(terminal: Terminal) -> None:
    def nothing_to_replay(call: Call) -> Verification:
        call(HttpRequest("GET", "/readyz"))
        return Verification(0)

    terminal.engine().deploy(V1, nothing_to_replay)
    told = [event.message for event in terminal.events]
    assert "the bundle has no golden samples to replay" in told
    assert not any("reproduced" in message for message in told)


def test_a_good_canary_is_promoted_and_the_former_stays_warm(live: Terminal) -> None:
    outcome = live.engine().deploy(V2, verify)
    assert (outcome.result, outcome.revision, outcome.previous) == ("promoted", V2.id, V1.id)
    assert live.world.lost == 0
    parked = live.target.observe().find(V1.id)
    assert parked is not None and parked.state is RevisionState.READY
    shares = [event.data["weights"] for event in live.events if event.kind == "traffic"]
    assert shares == [
        {V2.id: 5, V1.id: 95},
        {V2.id: 25, V1.id: 75},
        {V2.id: 50, V1.id: 50},
        {V2.id: 100},
    ]


@pytest.mark.parametrize(
    ("behaviour", "gate", "told"),
    [
        (Behaviour(error_share=0.2), "error_rate", "error_rate"),
        (Behaviour(latency=((0.2, 1.0),)), "p95", "p95"),
        (Behaviour(never_ready=True), "readiness", "was not ready within 120 s"),
        (Behaviour(failed="exit code 1"), "readiness", "exit code 1"),
        (Behaviour(wrong_answers=True), "golden", "0.91 here, 0.12 recorded"),
        (Behaviour(crash_after=12), "readiness", "stopped serving"),
    ],
)
def test_a_bad_version_is_refused_by_its_gate_and_stable_keeps_all(
    live: Terminal, behaviour: Behaviour, gate: str, told: str
) -> None:
    live.world.behave("2.0.0", behaviour)
    with pytest.raises(RolloutRejected, match=told) as refused:
        live.engine().deploy(V2, verify)
    assert refused.value.exit_code == 10
    assert refused.value.details["gate"] == gate
    assert refused.value.details["log"]
    assert f"traffic goes 100 % to {V1.id}" in refused.value.message
    assert live.traffic.weights == {V1.id: 100}
    assert live.target.observe().find(V2.id) is None
    assert live.world.lost == 0


def test_a_rejection_shows_the_numbers_beside_stable_s(live: Terminal) -> None:
    live.world.behave("2.0.0", Behaviour(error_share=0.2))
    with pytest.raises(RolloutRejected) as refused:
        live.engine().deploy(V2, verify)
    measures = refused.value.details["measures"]
    assert isinstance(measures, list)
    measure = next(each for each in measures if each["gate"] == "error_rate")
    assert measure["candidate"] == pytest.approx(0.2, abs=0.02)
    assert (measure["stable"], measure["limit"], measure["verdict"]) == (0.0, 0.01, "fail")


def test_a_bad_first_release_leaves_nothing(terminal: Terminal) -> None:
    terminal.world.behave("1.0.0", Behaviour(wrong_answers=True))
    with pytest.raises(RolloutRejected, match="no revision has traffic"):
        terminal.engine().deploy(V1, verify)
    assert terminal.target.observe().revisions == ()


@pytest.mark.parametrize("then", ["deploy", "resume", "abort", "rollback"])
def test_a_target_that_was_destroyed_in_the_middle_is_free_again(live: Terminal, then: str) -> None:
    live.world.rate = 0
    with pytest.raises(RolloutHeld):
        live.engine().deploy(V2, verify)
    with live.target.store.lock(HOLDER):
        live.target.destroy()
    live.clock.sleep(60)
    engine = live.engine()
    if then == "deploy":
        engine.deploy(V2, verify)
    elif then == "resume":
        assert engine.resume(V2, verify).result == "unchanged"
    elif then == "abort":
        assert engine.abort().result == "unchanged"
    else:
        with pytest.raises(TargetRefused, match="no former revision"):
            engine.rollback()
    assert journal.unfinished(live.target.store) is None
    live.world.rate = 1000
    assert live.engine().deploy(V3, verify).result == "promoted"


def test_an_interrupt_is_heard_between_two_golden_samples(terminal: Terminal) -> None:
    asked = 0

    def many(call: Call) -> Verification:
        nonlocal asked
        for asked in range(1000):  # noqa: B007 (counts how far it came)
            call(HttpRequest("POST", "/predict"))
        return Verification(1000, ())

    terminal.stop_at = lambda: asked == 3
    with pytest.raises(RolloutRejected, match="interrupted"):
        terminal.engine().deploy(V1, many)
    assert asked == 3


def test_no_traffic_holds_the_canary_where_it_is(live: Terminal) -> None:
    live.world.rate = 0
    with pytest.raises(RolloutHeld, match="min_requests 0 ") as held:
        live.engine().deploy(V2, verify)
    assert held.value.exit_code == 11
    assert live.traffic.weights == {V1.id: 95, V2.id: 5}
    live.world.rate = 1000
    assert live.engine().resume(V2, verify).result == "promoted"


def test_a_held_rollout_can_be_aborted_from_another_terminal(live: Terminal) -> None:
    live.world.rate = 0
    with pytest.raises(RolloutHeld):
        live.engine().deploy(V2, verify)
    live.target = FakeTarget(live.world)
    assert live.engine().abort().result == "aborted"
    assert live.traffic.weights == {V1.id: 100}
    assert live.target.observe().find(V2.id) is None


def test_a_second_deploy_beside_an_unfinished_one_is_refused(live: Terminal) -> None:
    live.world.rate = 0
    with pytest.raises(RolloutHeld):
        live.engine().deploy(V2, verify)
    with pytest.raises(RolloutHeld, match="unfinished"):
        live.engine().deploy(V3, verify)


def test_rollback_flips_to_the_parked_revision_and_parks_the_other(live: Terminal) -> None:
    live.engine().deploy(V2, verify)
    began = live.clock.monotonic()
    outcome = live.engine().rollback()
    assert (outcome.result, outcome.revision, outcome.previous) == ("rolled-back", V1.id, V2.id)
    assert live.clock.monotonic() - began < 1
    assert live.target.observe().find(V2.id) is not None
    assert live.traffic.fallback == (V1.id,)


def test_rollback_in_the_middle_takes_the_candidate_back(live: Terminal) -> None:
    live.world.rate = 0
    with pytest.raises(RolloutHeld):
        live.engine().deploy(V2, verify)
    assert live.engine().rollback().result == "rolled-back"
    assert live.traffic.weights == {V1.id: 100}


def test_no_rollback_takes_a_candidate_past_its_gates(live: Terminal) -> None:
    live.world.rate = 0
    with pytest.raises(RolloutHeld):
        live.engine().deploy(V2, verify)
    for name in ("2.0.0", V2.id, "digits:2.0.0"):
        with pytest.raises(ConfigError, match="is not parked"):
            live.engine().rollback(name)
    assert live.traffic.weights == {V1.id: 95, V2.id: 5}
    assert live.engine().abort().result == "aborted"


def test_deploying_what_is_live_changes_nothing(live: Terminal) -> None:
    assert live.engine().deploy(V1, verify).result == "unchanged"
    assert live.world.acts == []


def test_a_version_that_was_parked_can_be_deployed_again(live: Terminal) -> None:
    live.engine().deploy(V2, verify)
    live.engine().rollback()
    assert live.engine().deploy(V2, verify).revision == V2.id


def test_somebody_else_s_weights_are_not_overwritten_by_a_rollout(live: Terminal) -> None:
    def meddle(event: Event) -> None:
        live.events.append(event)
        if event.kind == "judge" and event.data["requests"]:
            live.world.applied = Traffic({V1.id: 40, V2.id: 60}, stable=V1.id)

    engine = Engine(live.target, POLICY, holder=HOLDER, clock=live.clock, emit=meddle)
    with pytest.raises(TargetDrifted, match="somebody else is driving"):
        engine.deploy(V2, verify)
    assert live.traffic.weights == {V1.id: 40, V2.id: 60}
    assert live.engine().abort().result == "aborted"
    assert live.traffic.weights == {V1.id: 100}


def test_a_target_that_is_away_for_a_while_is_waited_for(live: Terminal) -> None:
    live.world.fail("set_traffic", times=3)
    live.world.fail("observe", times=2)
    assert live.engine().deploy(V2, verify).result == "promoted"


def test_a_lost_answer_does_no_harm(live: Terminal) -> None:
    for verb in ("create", "set_traffic"):
        live.world.fail(verb, acted=True)
    assert live.engine().deploy(V2, verify).result == "promoted"


def test_a_target_that_stays_away_holds_the_rollout(live: Terminal) -> None:
    live.world.fail("set_traffic", times=10_000)
    with pytest.raises(TargetUnavailable) as away:
        live.engine().deploy(V2, verify)
    assert "mdeploy resume" in (away.value.hint or "")
    entry = journal.unfinished(live.target.store)
    assert entry is not None and entry.held


def test_a_way_back_that_fails_is_stuck_and_says_where_traffic_is(live: Terminal) -> None:
    live.world.behave("2.0.0", Behaviour(error_share=0.2))

    def break_down(event: Event) -> None:
        if event.kind == "rollback.start":
            live.world.fail("set_traffic", times=10_000)

    engine = Engine(live.target, POLICY, holder=HOLDER, clock=live.clock, emit=break_down)
    with pytest.raises(RolloutStuck, match=f"95 % to {V1.id}") as stuck:
        engine.deploy(V2, verify)
    assert stuck.value.exit_code == 12


def test_a_stable_that_died_is_replaced_by_the_fix(live: Terminal) -> None:
    live.world.revisions[V1.id].become(RevisionState.FAILED, "out of memory")
    assert live.engine().deploy(V2, verify).result == "promoted"


def test_an_interrupt_takes_the_candidate_back(live: Terminal) -> None:
    live.stop_at = lambda: live.kinds().count("judge") > 3
    with pytest.raises(RolloutRejected, match="interrupted and taken back"):
        live.engine().deploy(V2, verify)
    assert live.traffic.weights == {V1.id: 100}


def test_an_interrupt_holds_where_the_policy_says_so(live: Terminal) -> None:
    live.stop_at = lambda: live.kinds().count("judge") > 3
    with pytest.raises(RolloutHeld, match="interrupted"):
        live.engine(replace(POLICY, on_interrupt="hold")).deploy(V2, verify)
    assert live.traffic.weights == {V1.id: 95, V2.id: 5}


def test_a_router_restart_starts_the_count_afresh_and_fails_nobody(live: Terminal) -> None:
    def restart_once(event: Event) -> None:
        if event.kind == "judge" and not live.events:
            live.events.append(event)
            live.world.restart_router()

    engine = Engine(live.target, POLICY, holder=HOLDER, clock=live.clock, emit=restart_once)
    assert engine.deploy(V2, verify).result == "promoted"


def test_a_wall_clock_that_jumps_back_confuses_nobody(live: Terminal) -> None:
    live.engine().deploy(V2, verify)
    live.clock.jump(-10 * 365 * 86_400)
    live.engine().deploy(V3, verify)
    newest = newest_in(live)
    assert newest.candidate == V3.id


def test_two_at_once_one_is_told_who_holds_the_lock(live: Terminal) -> None:
    with live.target.store.lock(HOLDER), pytest.raises(LockHeld, match="ada@laptop") as held:
        live.engine().deploy(V2, verify)
    assert held.value.exit_code == 7


def test_keep_says_how_many_former_revisions_stay(live: Terminal) -> None:
    live.engine(replace(POLICY, keep=0)).deploy(V2, verify)
    assert [known.id for known in live.target.observe().revisions] == [V2.id]


def test_the_journal_tells_the_whole_story(live: Terminal) -> None:
    live.world.behave("2.0.0", Behaviour(error_share=0.2))
    with pytest.raises(RolloutRejected):
        live.engine().deploy(V2, verify)
    entry = newest_in(live)
    assert (entry.action, entry.outcome, entry.candidate) == ("deploy", "rejected", V2.id)
    assert "error_rate" in entry.reason
    assert entry.log
    assert entry.by == "ada@laptop"


@pytest.mark.parametrize("strategy", ["rolling", "blue-green", "canary"])
def test_every_strategy_ends_with_the_candidate_stable_and_nothing_lost(
    live: Terminal, strategy: str
) -> None:
    outcome = live.engine(replace(POLICY, strategy=strategy)).deploy(V2, verify)
    assert (outcome.result, live.traffic.stable) == ("promoted", V2.id)
    assert live.world.lost == 0
