"""Plans: what is wanted and what is observed become steps; nothing else matters to them."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from modeldeploy.errors import ConfigError, TargetRefused
from modeldeploy.model import (
    BundleRef,
    Capabilities,
    Observed,
    Policy,
    RevisionId,
    RevisionState,
    RevisionStatus,
    Traffic,
)
from modeldeploy.rollout.plan import choose_return, plan_return, plan_rollout
from modeldeploy.rollout.steps import Delete, Shift, Step, decode, encode, kind_of, promotion_index

CAN = Capabilities(strategies=frozenset({"rolling", "blue-green", "canary"}))
V1, V2, V3 = RevisionId("1.0.0-aaaaaaaa"), RevisionId("2.0.0-bbbbbbbb"), RevisionId("3.0.0-cccccccc")


def bundle(revision: RevisionId) -> BundleRef:
    return BundleRef("digits", revision.split("-")[0], f"sha256:{revision[-1] * 64}")


def status(
    revision: RevisionId, state: RevisionState = RevisionState.READY, **changes: object
) -> RevisionStatus:
    ready = 1 if state is RevisionState.READY else 0
    fields = {"replicas": 1, "ready_replicas": ready, "created": float(revision[0]), **changes}
    return RevisionStatus(revision, bundle(revision), state, **fields)  # type: ignore[arg-type]


def observed(*revisions: RevisionStatus, traffic: Traffic | None = None) -> Observed:
    return Observed(True, "http://127.0.0.1:8080", revisions, traffic or Traffic())


def all_to(revision: RevisionId, *fallback: RevisionId) -> Traffic:
    return Traffic({revision: 100}, stable=revision, fallback=(revision, *fallback))


def kinds(steps: tuple[Step, ...]) -> list[str]:
    return [kind_of(step) for step in steps]


def weights(steps: tuple[Step, ...], revision: RevisionId) -> list[int]:
    return [step.traffic.weight(revision) for step in steps if isinstance(step, Shift)]


def test_the_first_release_is_verified_and_then_takes_all() -> None:
    plan = plan_rollout(V1, bundle(V1), Policy(), observed(), CAN)
    assert kinds(plan.steps) == ["create", "await-ready", "verify", "shift"]
    assert weights(plan.steps, V1) == [100]
    assert plan.stable is None


def test_a_canary_goes_up_by_its_steps_each_judged_and_is_then_promoted() -> None:
    plan = plan_rollout(V2, bundle(V2), Policy(), observed(status(V1), traffic=all_to(V1)), CAN)
    assert kinds(plan.steps) == ["create", "await-ready", "verify", *["shift", "judge"] * 3, "shift"]
    assert weights(plan.steps, V2) == [5, 25, 50, 100]


def test_blue_green_flips_at_once_judges_and_only_then_promotes() -> None:
    policy = Policy(strategy="blue-green")
    plan = plan_rollout(V2, bundle(V2), policy, observed(status(V1), traffic=all_to(V1)), CAN)
    assert kinds(plan.steps)[3:] == ["shift", "judge", "shift"]
    promotion = promotion_index(plan.steps)
    assert promotion == 5
    assert plan.steps[3].traffic.stable == V1  # type: ignore[union-attr]


def test_rolling_moves_a_replica_s_share_at_a_time() -> None:
    policy = Policy(strategy="rolling")
    seen = observed(status(V1, replicas=4, ready_replicas=4), traffic=all_to(V1))
    plan = plan_rollout(V2, bundle(V2), policy, seen, CAN)
    assert weights(plan.steps, V2) == [25, 50, 75, 100]
    assert "judge" not in kinds(plan.steps)


def test_nothing_to_do_is_an_empty_plan() -> None:
    seen = observed(status(V1), traffic=all_to(V1))
    assert plan_rollout(V1, bundle(V1), Policy(), seen, CAN).steps == ()


def test_a_stable_that_is_down_is_not_called_unchanged() -> None:
    seen = observed(status(V1, RevisionState.FAILED, message="out of memory"), traffic=all_to(V1))
    with pytest.raises(TargetRefused, match="is failed: out of memory"):
        plan_rollout(V1, bundle(V1), Policy(), seen, CAN)


def test_a_plan_made_again_half_way_has_only_what_is_left() -> None:
    half = Traffic({V1: 75, V2: 25}, stable=V1, fallback=(V1, V2))
    plan = plan_rollout(V2, bundle(V2), Policy(), observed(status(V1), status(V2), traffic=half), CAN)
    assert kinds(plan.steps)[3:] == ["judge", "shift", "judge", "shift"]
    assert weights(plan.steps, V2) == [50, 100]


def test_the_former_stable_stays_warm_and_older_ones_go() -> None:
    seen = observed(status(V1), status(V2), traffic=all_to(V2, V1))
    plan = plan_rollout(V3, bundle(V3), Policy(keep=1), seen, CAN)
    deleted = [step.revision for step in plan.steps if isinstance(step, Delete)]
    assert deleted == [V1]
    assert plan.steps[promotion_index(plan.steps) or 0].traffic.fallback == (V3, V2)  # type: ignore[union-attr]


def test_keep_0_deletes_the_former_stable_and_does_not_fall_back_to_it() -> None:
    plan = plan_rollout(V2, bundle(V2), Policy(keep=0), observed(status(V1), traffic=all_to(V1)), CAN)
    assert [step.revision for step in plan.steps if isinstance(step, Delete)] == [V1]
    assert plan.steps[promotion_index(plan.steps) or 0].traffic.fallback == (V2,)  # type: ignore[union-attr]


def test_a_stable_that_serves_nobody_is_replaced_without_a_canary() -> None:
    seen = observed(status(V1, RevisionState.FAILED), traffic=all_to(V1))
    plan = plan_rollout(V2, bundle(V2), Policy(), seen, CAN)
    assert weights(plan.steps, V2) == [100]


def test_a_strategy_that_the_target_cannot_do_is_refused_with_those_it_can() -> None:
    with pytest.raises(ConfigError, match="cannot do a canary rollout; it can do: rolling"):
        plan_rollout(V1, bundle(V1), Policy(), observed(), Capabilities(frozenset({"rolling"})))


def test_steps_that_the_target_cannot_set_are_refused() -> None:
    with pytest.raises(ConfigError, match="moves traffic in steps of 10 %"):
        plan_rollout(V1, bundle(V1), Policy(), observed(), Capabilities(CAN.strategies, weight_step=10))


def test_the_way_back_is_one_flip_and_then_the_candidate_goes() -> None:
    half = Traffic({V1: 50, V2: 50}, stable=V1)
    plan = plan_return(V1, drop=V2, observed=observed(status(V1), status(V2), traffic=half))
    assert kinds(plan.steps) == ["shift", "drain", "delete"]
    assert weights(plan.steps, V1) == [100]


def test_the_way_back_from_a_first_release_sends_traffic_nowhere() -> None:
    plan = plan_return(None, drop=V1, observed=observed(status(V1), traffic=all_to(V1)))
    assert weights(plan.steps, V1) == [0]


def test_rollback_returns_to_the_revision_that_stable_took_over_from() -> None:
    seen = observed(status(V1), status(V2), status(V3), traffic=all_to(V1, V3))
    assert choose_return(seen, None) == V3


def test_rolling_back_twice_goes_further_back_and_not_forth_again() -> None:
    seen = observed(status(V1), status(V2), status(V3), traffic=all_to(V2))
    assert choose_return(seen, None) == V1


def test_rollback_can_name_a_version_a_bundle_or_a_revision() -> None:
    seen = observed(status(V1), status(V2), status(V3), traffic=all_to(V3, V2))
    assert {choose_return(seen, name) for name in ("1.0.0", "digits:1.0.0", V1)} == {V1}


def test_rollback_to_nothing_says_so() -> None:
    with pytest.raises(TargetRefused, match="no former revision"):
        choose_return(observed(status(V1), traffic=all_to(V1)), None)
    with pytest.raises(ConfigError, match=r"9\.9\.9 is not parked on this target"):
        choose_return(observed(status(V1), traffic=all_to(V1)), "9.9.9")


@given(
    strategy=st.sampled_from(["rolling", "blue-green", "canary"]),
    keep=st.integers(0, 3),
    share=st.integers(0, 99),
    states=st.lists(st.sampled_from(list(RevisionState)), min_size=2, max_size=2),
)
def test_whatever_is_observed_weights_are_whole_and_the_end_is_the_candidate(
    strategy: str, keep: int, share: int, states: list[RevisionState]
) -> None:
    mixed = {V1: 100 - share, V2: share} if share else {V1: 100}
    seen = observed(status(V1, states[0]), status(V2, states[1]), traffic=Traffic(mixed, stable=V1))
    plan = plan_rollout(V2, bundle(V2), Policy(strategy=strategy, keep=keep), seen, CAN)
    shifts = [step for step in plan.steps if isinstance(step, Shift)]
    assert shifts[-1].traffic.weights == {V2: 100}
    assert shifts[-1].traffic.stable == V2
    assert [step.promotes for step in shifts] == [False] * (len(shifts) - 1) + [True]
    for before, after in pairwise(shifts):
        assert after.before == before.traffic
    last = plan.steps.index(shifts[-1])
    assert all(plan.steps.index(step) > last for step in plan.steps if isinstance(step, Delete))


@given(st.sampled_from(["rolling", "blue-green", "canary"]))
def test_every_step_survives_the_journal(strategy: str) -> None:
    seen = observed(status(V1), status(V2), traffic=all_to(V2, V1))
    plan = plan_rollout(V3, bundle(V3), Policy(strategy=strategy), seen, CAN)
    assert tuple(decode(encode(step)) for step in plan.steps) == plan.steps
