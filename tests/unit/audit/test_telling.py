"""From the events of a rollout to its record: shares, numbers, outcome, reason."""

from __future__ import annotations

from typing import Any

import pytest

from audit_records import record
from modeldeploy.audit.chain import Record
from modeldeploy.audit.spool import Spool
from modeldeploy.audit.telling import Telling
from modeldeploy.errors import RolloutRejected, TargetUnavailable
from modeldeploy.events import Event

OLD, NEW = "1.0.0-0a0a0a0a", "1.1.0-0b0b0b0b"


def start(action: str = "deploy", candidate: str | None = NEW) -> Event:
    return event(
        "rollout.start", 1, rollout="000007-1", action=action, strategy="canary", candidate=candidate,
        stable=OLD, traffic={"weights": {OLD: 100, NEW: 0}, "stable": OLD, "fallback": []}, steps=[],
    )  # fmt: skip


def event(kind: str, at: float, message: str = "", **data: Any) -> Event:
    return Event(kind, at, message, data)


def judge(at: float, verdict: str) -> Event:
    return event("judge", at, verdict=verdict, elapsed=at, requests=9, measures=[{"gate": "p95"}], soak=1)


def told(*events: Event, error: BaseException | None = None, kind: str = "deploy") -> Record | None:
    passed: list[Event] = []
    telling = Telling(Spool("digits", "memory"), record(1, kind=kind, data={}), passed.append)
    for one in events:
        telling.emit(one)
    found = telling.finish(error)
    assert [one for one in passed if one in events] == list(events)  # all of it reaches the view
    return found


def test_a_promoted_canary_is_told_with_its_shares_and_the_numbers_of_each_judgement() -> None:
    found = told(
        start(),
        event("step.begin", 2),
        event("traffic", 3, weights={OLD: 95, NEW: 5}, stable=OLD),
        judge(4, "inconclusive"),
        judge(5, "pass"),
        event("step.done", 5, index=4, seconds=2.0),
        event("traffic", 6, weights={NEW: 100, OLD: 0}, stable=NEW),
        event("rollout.end", 7, outcome="promoted", seconds=6.0),
    )
    assert found is not None
    assert (found.at, found.rollout, found.revision) == (7, "000007-1", NEW)
    data = found.data
    assert (data["action"], data["strategy"], data["outcome"], data["seconds"]) == (
        "deploy", "canary", "promoted", 6.0,
    )  # fmt: skip
    assert data["before"] == {"at": 1, "weights": {OLD: 100}, "stable": OLD}
    assert [(one["at"], one["weights"], one["stable"]) for one in data["traffic"]] == [
        (3, {OLD: 95, NEW: 5}, OLD),
        (6, {NEW: 100}, NEW),
    ]
    [judged] = data["judgements"]
    assert (judged["verdict"], judged["weight"], judged["requests"]) == ("pass", 5, 9)
    assert judged["measures"] == [{"gate": "p95"}]


def test_a_refused_candidate_is_told_with_the_numbers_that_refused_it() -> None:
    found = told(
        start(),
        event("traffic", 3, weights={OLD: 95, NEW: 5}, stable=OLD),
        judge(4, "fail"),
        event("rollback.start", 5, reason="error_rate 20 % (limit 1 %)", towards="rejected"),
        start("return", None),
        event("traffic", 6, weights={OLD: 100}, stable=OLD),
        event("rollout.end", 7, outcome="rejected", seconds=6.0),
        error=RolloutRejected("it failed, and more"),
    )
    assert found is not None
    assert (found.data["outcome"], found.data["reason"]) == ("rejected", "error_rate 20 % (limit 1 %)")
    assert [one["verdict"] for one in found.data["judgements"]] == ["fail"]
    assert found.revision == NEW


def test_an_abort_tells_what_there_was_before() -> None:
    found = told(
        event("rollback.start", 5, reason="aborted by hand", towards="aborted"),
        start("return", None),
        event("traffic", 6, weights={OLD: 100}, stable=OLD),
        event("rollout.end", 7, outcome="aborted", seconds=6.0),
        kind="abort",
    )
    assert found is not None
    assert (found.data["action"], found.data["before"]["stable"], found.rollout) == ("abort", OLD, "000007-1")


def test_a_held_rollout_and_one_that_broke_off_say_why() -> None:
    held = told(start(), judge(2, "inconclusive"), event("rollout.held", 3, "undecided after 70 s"))
    assert held is not None
    assert (held.data["outcome"], held.data["reason"]) == ("held", "undecided after 70 s")
    broken = told(start(), error=TargetUnavailable("the router does not answer"))
    assert broken is not None
    assert (broken.data["outcome"], broken.data["error"], broken.data["reason"]) == (
        "unfinished", "TargetUnavailable", "the router does not answer",
    )  # fmt: skip


@pytest.mark.parametrize("error", [None, TargetUnavailable("no")])
def test_where_nothing_happened_nothing_is_recorded(error: Exception | None) -> None:
    assert told(event("build.step", 1, step="store"), event("step.progress", 2), error=error) is None
    assert Spool("digits", "memory").waiting() == []
