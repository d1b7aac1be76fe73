"""What was live when, and since when a bundle has been stable: by the log, whatever single clocks say."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from audit_records import BUNDLE, record
from modeldeploy.audit.chain import Entry, Head, chain, genesis
from modeldeploy.audit.timeline import live_at, steady_since
from modeldeploy.model import BundleRef

NEW = BundleRef("digits", "1.1.0", "sha256:" + "b" * 64)
OLD_ID, NEW_ID = "1.0.0-0a0a0a0a", "1.1.0-0b0b0b0b"
T0 = 1_700_000_000.0


def move(at: float, stable: str | None, **weights: int) -> dict[str, Any]:
    named = {{"old": OLD_ID, "new": NEW_ID}[name]: share for name, share in weights.items()}
    return {"at": T0 + at, "weights": named, "stable": stable}


def entries(*rollouts: dict[str, Any]) -> list[Entry]:
    records = [record(number, **{"by": "ada@laptop", **facts}) for number, facts in enumerate(rollouts)]
    lines, _ = chain(records, Head(0, genesis("digits")))
    return [Entry.from_line(line) for line in lines]


def rollout(at: float, *moves: dict[str, Any], outcome: str = "promoted", **facts: Any) -> dict[str, Any]:
    return {"at": T0 + at, "data": {"outcome": outcome, "traffic": list(moves)}, **facts}


FIRST = rollout(10, move(9, OLD_ID, old=100))
CANARY = rollout(
    60, move(20, OLD_ID, old=95, new=5), move(40, OLD_ID, old=50, new=50), move(59, NEW_ID, new=100),
    bundle=NEW, revision=NEW_ID, by="grace@desk",
)  # fmt: skip
BACK = rollout(100, move(99, OLD_ID, old=100), outcome="rolled-back", kind="rollback", by="eve@x")
GONE = rollout(200, {"at": T0 + 200, "weights": {}, "stable": None}, outcome="destroyed", kind="destroy")
LOG = entries(FIRST, CANARY, BACK, GONE)


@pytest.mark.parametrize(
    ("at", "live"),
    [
        (0, {}),
        (15, {OLD_ID: 100}),
        (30, {OLD_ID: 95, NEW_ID: 5}),
        (59, {NEW_ID: 100}),
        (98.9, {NEW_ID: 100}),
        (150, {OLD_ID: 100}),
        (201, {}),
    ],
)
def test_what_was_live_is_told_for_any_time_with_the_weights_of_a_canary(
    at: float, live: dict[str, int]
) -> None:
    assert {one.revision: one.weight for one in live_at(LOG, T0 + at)} == live


def test_each_share_is_told_with_since_until_by_whom_and_of_what_bundle() -> None:
    [old, new] = live_at(LOG, T0 + 30, "prod")
    assert (old.bundle, old.weight, old.stable, old.since - T0, old.by) == (
        BUNDLE,
        95,
        True,
        20,
        "grace@desk",
    )
    assert (new.bundle, new.weight, new.stable) == (NEW, 5, False)
    assert (new.until or 0) - T0 == 40
    [now] = live_at(LOG[:3], T0 + 1000)
    assert (now.since - T0, now.until, now.by, now.entry) == (99, None, "eve@x", 3)


def test_other_targets_are_told_apart() -> None:
    log = entries(
        FIRST, rollout(30, move(30, NEW_ID, new=100), target="staging", bundle=NEW, revision=NEW_ID)
    )
    assert [(one.target, one.revision) for one in live_at(log, T0 + 99)] == [
        ("prod", OLD_ID),
        ("staging", NEW_ID),
    ]
    assert [one.target for one in live_at(log, T0 + 99, "staging")] == ["staging"]


def test_a_change_from_outside_is_told_from_when_the_next_rollout_saw_it() -> None:
    seen = rollout(50, move(49, NEW_ID, new=100), bundle=NEW, revision=NEW_ID)
    seen["data"]["before"] = move(45, OLD_ID, old=60, new=40)
    found = live_at(entries(FIRST, seen), T0 + 46)
    assert {one.revision: one.weight for one in found} == {OLD_ID: 60, NEW_ID: 40}


def since(log: list[Entry], digest: str = NEW.digest, now: float = 10_000) -> float | None:
    found = steady_since(log, "prod", digest, T0 + now)
    return found.since - T0 if found else None


def test_the_age_counts_from_the_end_of_the_rollout_that_made_it_stable() -> None:
    assert since(LOG[:2]) == 60
    assert since(LOG[:2], BUNDLE.digest) is None
    assert since(LOG[:3], BUNDLE.digest) == 100  # the rollback began its time anew
    assert since(LOG[:3]) is None
    assert since(LOG) is None


def test_a_rollout_that_is_not_over_counts_from_when_it_is_finished() -> None:
    killed = rollout(60, move(59, NEW_ID, new=100), outcome="unfinished", bundle=NEW, revision=NEW_ID)
    finished = rollout(500, outcome="promoted", bundle=NEW, revision=NEW_ID)
    finished["data"]["before"] = move(490, NEW_ID, new=100)
    assert since(entries(FIRST, killed)) is None
    assert since(entries(FIRST, killed, finished)) == 500


def test_another_configuration_of_the_same_bundle_does_not_begin_anew() -> None:
    again = rollout(300, move(299, "1.1.0-0c0c0c0c"), bundle=NEW, revision="1.1.0-0c0c0c0c")
    assert since(entries(FIRST, CANARY, again)) == 60


def test_a_clock_that_was_behind_makes_nothing_older() -> None:
    late = entries({"kind": "test", "at": T0 + 5000, "data": {}}, {**CANARY})
    found = steady_since(late, "prod", NEW.digest, T0 + 6000)
    assert found is not None
    assert found.since == T0 + 5000
    assert "clock of grace@desk was behind" in found.note


def test_a_clock_that_is_ahead_is_not_believed() -> None:
    found = steady_since(entries({**CANARY, "at": T0 + 9e8}), "prod", NEW.digest, T0 + 100)
    assert found is not None
    assert found.since == T0 + 100
    assert "ahead" in found.note
    later = entries({"kind": "test", "at": T0 + 9e8, "data": {}}, CANARY)
    assert since(later, now=1000) == 60  # nor does it make what comes after younger


@given(jumps=st.lists(st.floats(-1e6, 1e6), min_size=2, max_size=6), now=st.floats(0, 1e6))
def test_no_clock_makes_a_bundle_older_than_the_order_of_the_log_allows(
    jumps: list[float], now: float
) -> None:
    log = entries(*[{"kind": "test", "at": T0 + jump, "data": {}} for jump in jumps], CANARY)
    found = steady_since(log, "prod", NEW.digest, T0 + now)
    assert found is not None
    assert found.since <= T0 + now
    sane = [entry.record.at for entry in log if entry.record.at <= T0 + now]
    assert found.since >= min(max(sane, default=0), T0 + now)
