"""From an empty folder to a running service, to a better version, and back: as typed by a user."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from story_project import Story, story

pytestmark = pytest.mark.story


@pytest.fixture
def newcomer(tmp_path: Path, shared: Path) -> Iterator[Story]:
    """Nothing is prepared, and every path has spaces and letters outside ASCII."""
    place = tmp_path / "Ünser Büro & 数字"
    with story(place / "erstes Modell", place / "Heim von Łukasz", shared) as newcomer:
        yield newcomer


def test_the_main_job(newcomer: Story) -> None:
    newcomer.init()
    newcomer.hurry()
    first = it_is_checked_built_and_tried(newcomer)
    it_is_released(newcomer)
    second = a_better_model_gets_a_version_of_its_own(newcomer)
    promoted = it_takes_over_under_load(newcomer)
    one_can_see_what_runs(newcomer, {"digits:1.0.0": (first, 0), "digits:1.1.0": (second, 100)})
    there_is_a_way_back(newcomer, promoted)
    nothing_is_left_to_do(newcomer)
    nothing_is_left_running(newcomer)


def it_is_checked_built_and_tried(user: Story) -> str:
    """Returns the bundle's digest."""
    assert "no errors" in user.type("check").out
    built = user.build()
    assert built["ref"] == "digits:1.0.0"
    assert Path(built["path"]).is_dir()
    again = user.build()
    assert (again["digest"], again["unchanged"]) == (built["digest"], True)
    tried = user.ask("test").result
    assert tried["passed"] is True
    assert {check["check"] for check in tried["checks"]} >= {"ready", "golden", "schema"}
    digest: str = built["digest"]
    assert digest.startswith("sha256:")
    return digest


def it_is_released(user: Story) -> None:
    user.ask("plan local", ends_with=8)
    assert user.endpoint in user.type("deploy local").out
    user.ask("plan local", ends_with=0)
    asked = user.type("predict local --input samples.json")
    assert json.loads(asked.out)["digit"] == [0, 6]
    assert "from 1.0.0-" in asked.err


def a_better_model_gets_a_version_of_its_own(user: Story) -> str:
    """Returns the new bundle's digest."""
    user.second_model()
    refused = user.ask("build", ends_with=4).error
    assert "digits:1.0.0" in refused["message"]
    assert "--bump" in refused["hint"]
    built = user.build("build --bump minor")
    assert built["ref"] == "digits:1.1.0"
    planned = user.ask("plan local", ends_with=8).result
    assert (planned["current"], planned["wanted"]) == ("digits:1.0.0", "digits:1.1.0")
    return str(built["digest"])


def it_takes_over_under_load(user: Story) -> dict[str, Any]:
    """Returns the result of the deploy."""
    with user.users() as load:
        deployed = user.ask("deploy local")
    assert load.report.failures == {}
    result = deployed.result
    assert (result["result"], result["endpoint"]) == ("promoted", user.endpoint)
    shares = [event["data"]["weights"].get(result["revision"]) for event in deployed.events("traffic")]
    assert shares == [10, 50, 100]
    assert set(load.report.versions) == {result["previous"], result["revision"]}
    return result


def one_can_see_what_runs(user: Story, expected: dict[str, tuple[str, int]]) -> None:
    status = user.status()
    assert (status["endpoint"], status["rollout"]) == (user.endpoint, None)
    told = {one["bundle"]: (one["digest"], one["weight"]) for one in status["revisions"]}
    assert told == expected
    assert {one["state"] for one in status["revisions"]} == {"ready"}
    assert user.type("status local").out.startswith(f"local  {user.endpoint}  up")
    assert "ready after" in user.type("logs local").out
    assert user.ask("logs local --tail 1").lines[0]["type"] == "log"


def there_is_a_way_back(user: Story, promoted: dict[str, Any]) -> None:
    back = user.ask("rollback local").result
    assert (back["result"], back["revision"]) == ("rolled-back", promoted["previous"])
    assert user.weights() == {"1.0.0": 100, "1.1.0": 0}
    assert "from 1.0.0-" in user.type("predict local --input samples.json").err
    history = user.ask("history local").result["rollouts"]
    assert [record["outcome"] for record in history] == ["rolled-back", "promoted", "promoted"]
    assert "rolled back by hand" in user.type("history local").out


def nothing_is_left_to_do(user: Story) -> None:
    for command in ("resume local", "abort local"):
        assert user.ask(command).result["result"] == "unchanged"


def nothing_is_left_running(user: Story) -> None:
    assert user.processes()
    user.type("destroy local")
    assert user.status()["revisions"] == []
    assert user.processes() == {}
    assert "no errors" in user.type("doctor").out
