"""The commands that change a target, through the real use cases and engine, on the fake target."""

from __future__ import annotations

import json
import os
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from cli import scenes
from cli.conftest import Type
from modeldeploy import ops
from modeldeploy.cli.interrupt import asking_to_stop
from modeldeploy.errors import ConfigError
from modeldeploy.events import Emit
from modeldeploy.model import Finding, Level, RevisionId
from modeldeploy.rollout.engine import Outcome
from modeldeploy.testing import Behaviour, FakeWorld


def lines_of(out: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in out.splitlines()]


@pytest.fixture
def deploys(world: FakeWorld, monkeypatch: pytest.MonkeyPatch) -> FakeWorld:
    """`deploy` needs a built bundle; here it rolls 1.1.0 out on the fake target by the real engine."""

    def deploy(
        _root: Path, _target: str, *, emit: Emit, interrupted: Callable[[], bool], **_: object
    ) -> Outcome:
        return scenes.engine(world, emit, interrupted).deploy(scenes.NEW, scenes.verify)

    monkeypatch.setattr(ops, "deploy", deploy)
    return world


def test_a_deploy_ends_with_who_has_the_traffic_and_how_to_go_back(mdeploy: Type, deploys: FakeWorld) -> None:
    typed = mdeploy("deploy")

    assert typed.code == 0
    assert typed.out.splitlines()[0].startswith(
        "1.1.0-3f2a9c1b has all traffic; 1.0.0-3f2a9c1b is parked, to go back: mdeploy rollback local ("
    )
    assert typed.out.splitlines()[1] == deploys.observe().endpoint
    assert "START    canary rollout of 1.1.0-3f2a9c1b, to take over from 1.0.0-3f2a9c1b" in typed.err
    assert "[4/10]   send 5 % to 1.1.0-3f2a9c1b, 95 % to 1.0.0-3f2a9c1b" in typed.err
    assert "error rate 0 % (limit <= 1 %, stable" in typed.err
    assert "END      promoted after" in typed.err


def test_json_is_events_and_then_one_result(mdeploy: Type, deploys: FakeWorld) -> None:
    typed = mdeploy("deploy", "local", "--json")

    *events, last = lines_of(typed.out)
    assert {event["type"] for event in events} == {"event"}
    assert [event["kind"] for event in events][:2] == ["rollout.start", "step.begin"]
    assert all(set(event) == {"type", "kind", "at", "message", "data"} for event in events)
    assert last["type"] == "result"
    assert last["ok"] is True
    assert last["command"] == "deploy"
    assert last["result"]["result"] == "promoted"
    assert last["result"]["revision"] == scenes.NEW.id
    assert not typed.err


def test_a_bad_candidate_ends_with_10_the_numbers_and_the_way_things_are(
    mdeploy: Type, deploys: FakeWorld
) -> None:
    deploys.behave("1.1.0", Behaviour(error_share=0.2))

    typed = mdeploy("deploy")

    assert typed.code == 10
    assert "1.1.0-3f2a9c1b failed: error_rate 20 %" in typed.err
    assert "100 %" in typed.err.split("error: ")[1]
    assert "GATE" in typed.err
    assert not typed.out


def test_the_log_of_a_candidate_that_was_taken_back_is_kept(mdeploy: Type, deploys: FakeWorld) -> None:
    deploys.behave("1.1.0", Behaviour(wrong_answers=True))
    assert mdeploy("deploy").code == 10

    typed = mdeploy("logs", "--revision", "1.1.0")

    assert typed.code == 0
    assert "POST /predict 200" in typed.out


def test_a_rejection_s_last_json_line_holds_the_measures(mdeploy: Type, deploys: FakeWorld) -> None:
    deploys.behave("1.1.0", Behaviour(error_share=0.2))

    last = lines_of(mdeploy("deploy", "--json").out)[-1]

    assert last["type"] == "error"
    assert last["error"]["kind"] == "RolloutRejected"
    assert last["error"]["exit_code"] == 10
    verdicts = {measure["gate"]: measure["verdict"] for measure in last["error"]["details"]["measures"]}
    assert verdicts["error_rate"] == "fail"


def test_no_traffic_is_held_with_11_and_resume_and_abort_are_named(mdeploy: Type, deploys: FakeWorld) -> None:
    deploys.rate = 0.5

    typed = mdeploy("deploy")

    assert typed.code == 11
    assert "mdeploy resume" in typed.err
    assert "mdeploy abort" in typed.err
    status = mdeploy("status")
    assert "unfinished: deploy of 1.1.0-3f2a9c1b by ada@laptop" in status.out
    assert "try: mdeploy resume local" in status.out
    assert "candidate" in status.out
    assert mdeploy("abort").code == 0
    assert "unfinished" not in mdeploy("status").out


def test_destroy_in_the_middle_of_a_rollout_ends_it(mdeploy: Type, deploys: FakeWorld) -> None:
    deploys.rate = 0.5
    mdeploy("deploy")

    assert mdeploy("destroy", "--yes").code == 0

    assert "unfinished" not in mdeploy("status").out
    assert "aborted" in mdeploy("history").out
    assert mdeploy("deploy").code == 0


def test_rollback_goes_to_the_one_before_and_history_tells_both(mdeploy: Type, deploys: FakeWorld) -> None:
    mdeploy("deploy")

    typed = mdeploy("rollback")

    assert typed.code == 0
    assert typed.out.startswith("1.0.0-3f2a9c1b has all traffic again (")
    history = mdeploy("history").out.splitlines()
    assert history[0].split()[:4] == ["WHEN", "ROLLOUT", "WHAT", "CANDIDATE"]
    assert "rollback" in history[1]
    assert "deploy" in history[2]
    assert "promoted" in history[2]
    told = lines_of(mdeploy("history", "--json", "--limit", "1").out)[-1]["result"]
    assert [record["action"] for record in told["rollouts"]] == ["rollback"]


def test_rollback_takes_the_revision_that_is_named(mdeploy: Type, deploys: FakeWorld) -> None:
    mdeploy("deploy")

    assert mdeploy("rollback", "--to", "9.9.9").code == 3
    assert mdeploy("rollback", "--to", "1.0.0").code == 0


def test_abort_without_a_rollout_changes_nothing(mdeploy: Type, world: FakeWorld) -> None:
    typed = mdeploy("abort")

    assert typed.code == 0
    assert "nothing to do: 1.0.0-3f2a9c1b has all traffic already" in typed.out


def test_destroy_in_a_script_needs_nobody_to_answer(mdeploy: Type, world: FakeWorld) -> None:
    assert mdeploy("destroy", "local").code == 0
    assert not world.observe().revisions


def test_up_starts_the_target_and_shows_it(mdeploy: Type, world: FakeWorld) -> None:
    world.reboot()

    typed = mdeploy("up")

    assert typed.code == 0
    assert "REVISION" in typed.out
    assert "mdeploy status local" in typed.err


def test_a_lone_word_with_a_colon_is_a_bundle(
    mdeploy: Type, world: FakeWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[tuple[str, str | None]] = []

    def plan(_root: Path, target: str, *, ref: str | None, **_: object) -> None:
        asked.append((target, ref))
        raise ConfigError("enough")

    monkeypatch.setattr(ops, "plan", plan)
    for words in (["plan"], ["plan", "digits:1.0.0"], ["plan", "local", "digits:1.0.0"]):
        mdeploy(*words)

    assert asked == [("local", None), ("local", "digits:1.0.0"), ("local", "digits:1.0.0")]


def test_the_exit_code_of_plan_tells_nothing_from_something(
    mdeploy: Type, world: FakeWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    from modeldeploy.ops.rollouts import PlannedStep, PlanView

    step = PlannedStep("create", "create 1.1.0-3f2a9c1b from digits:1.1.0")
    revision = RevisionId("1.1.0-3f2a9c1b")
    views = iter(
        [
            PlanView(
                (step,), nothing_to_do=False, current="digits:1.0.0", wanted="digits:1.1.0", revision=revision
            ),
            PlanView(
                (), nothing_to_do=True, current="digits:1.1.0", wanted="digits:1.1.0", revision=revision
            ),
        ]
    )
    monkeypatch.setattr(ops, "plan", lambda *_, **__: next(views))

    something, nothing = mdeploy("plan"), mdeploy("plan")

    assert something.code == 8
    assert something.out.splitlines() == [
        "local: digits:1.0.0 -> digits:1.1.0",
        "   1  create 1.1.0-3f2a9c1b from digits:1.1.0",
        "to do it: mdeploy deploy local",
    ]
    assert nothing.code == 0
    assert nothing.out == "nothing to do: local runs digits:1.1.0\n"


def test_plan_tells_what_policy_would_refuse_instead_of_what_to_type(
    mdeploy: Type, world: FakeWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    from modeldeploy.ops.rollouts import PlannedStep, PlanView

    revision = RevisionId("1.1.0-3f2a9c1b")
    missing = Finding("local: test", Level.WARNING, "no test is on record", "mdeploy test digits:1.1.0")
    view = PlanView(
        (PlannedStep("create", "create it"),), False, None, "digits:1.1.0", revision, findings=(missing,)
    )
    monkeypatch.setattr(ops, "plan", lambda *_, **__: view)

    typed = mdeploy("plan")

    assert typed.code == 8
    assert typed.out.splitlines()[2:] == [
        "a deploy of digits:1.1.0 would be refused now:",
        "!  warning  local: test  no test is on record",
        "                         try: mdeploy test digits:1.1.0",
    ]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_the_first_signal_asks_and_the_second_stops_at_once(number: int) -> None:
    told: list[str] = []
    before = signal.getsignal(number)
    answers: list[bool] = []

    def twice() -> None:
        with asking_to_stop(told.append) as interrupted:
            for _ in range(2):
                answers.append(interrupted())
                os.kill(os.getpid(), number)
            time.sleep(1)

    with pytest.raises(KeyboardInterrupt):
        twice()

    assert answers == [False, True]
    assert told == ["Interrupted: stopping where it is safe. Ctrl-C again stops at once."]
    assert signal.getsignal(number) is before


def test_ctrl_c_in_a_canary_takes_it_back(mdeploy: Type, deploys: FakeWorld) -> None:
    presses: list[float] = []

    def press_once(now: float) -> None:
        if not presses and deploys.observe().traffic.weight(scenes.NEW.id) == 5:
            presses.append(now)
            os.kill(os.getpid(), signal.SIGINT)

    deploys.clock.on_advance(press_once)

    typed = mdeploy("deploy")

    assert presses
    assert typed.code == 10
    assert "Interrupted: stopping where it is safe" in typed.err
    assert "interrupted and taken back" in typed.err
    assert deploys.observe().traffic.weight(scenes.OLD.id) == 100


def test_a_second_ctrl_c_exits_130_and_names_the_ways_on(
    mdeploy: Type, world: FakeWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    def deploy(*_: object, **__: object) -> None:
        os.kill(os.getpid(), signal.SIGINT)
        os.kill(os.getpid(), signal.SIGINT)
        time.sleep(1)

    monkeypatch.setattr(ops, "deploy", deploy)

    typed = mdeploy("deploy", "local")

    assert typed.code == 130
    assert "mdeploy resume local" in typed.err
    assert "mdeploy abort local" in typed.err
    assert lines_of(mdeploy("deploy", "--json").out)[-1]["error"]["kind"] == "Stopped"
