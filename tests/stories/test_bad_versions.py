"""Bad versions are refused by the right gate, with numbers and log lines; users are safe on the old one."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest

from modeldeploy.testing.load import Report
from story_project import Story, only_from, share, story

pytestmark = pytest.mark.story

REJECTED = 10


@pytest.fixture(scope="module")
def user(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Story]:
    """A user whose first version is live. No bad version may change that, so all tests share it."""
    folder = tmp_path_factory.mktemp("bad-versions")
    shared = tmp_path_factory.getbasetemp() / "bundles"
    with story(folder / "project", folder / "home", shared) as user:
        share(user.home, shared)
        user.init()
        user.hurry(steps="[20, 50]", requests=20, p95='"150ms"', patience='"60s"')
        user.edit("keep", '1\nready_timeout = "120s"')
        user.deploy()
        yield user


@dataclass(frozen=True)
class Refusal:
    """A deploy that was refused, and what users saw meanwhile."""

    version: str
    error: dict[str, Any]
    seen: Report

    @property
    def gate(self) -> str:
        return str(self.error["details"]["gate"])

    @property
    def log(self) -> str:
        return "\n".join(self.error["details"]["log"])

    @property
    def message(self) -> str:
        return str(self.error["message"])


def deploy_under_load(user: Story) -> Refusal:
    """Deploy what is in the folder as the next version; it must be refused and leave all as it was."""
    version = user.build("build --bump minor")["ref"].partition(":")[2]
    with user.users(keep_alive=3, fresh=1, pause=0.02) as load:
        refused = user.ask("deploy local", ends_with=REJECTED)
    assert user.weights() == {"1.0.0": 100}, "stable has all traffic, and the candidate is gone"
    assert user.status()["rollout"] is None
    newest = user.ask("history local --limit 1").result["rollouts"][0]
    assert newest["outcome"] == "rejected"
    assert newest["reason"] in refused.error["message"]
    return Refusal(version, refused.error, load.report)


def test_one_that_fails_a_fifth_of_its_requests(user: Story) -> None:
    user.own_service("errors")
    refused = deploy_under_load(user)
    assert refused.gate in {"error_rate", "max_error_increase"}
    measured = re.search(r"error_rate ([\d.]+) % \(limit 1 %, stable 0 %\)", refused.message)
    assert measured, refused.message
    assert 5 < float(measured[1]) < 60
    assert "lost the connection to the feature store" in refused.log
    assert only_from(refused.seen, refused.version) == {}, "nobody but the candidate failed"
    answered = sum(count for who, count in refused.seen.versions.items() if who.startswith(refused.version))
    assert 5 <= refused.seen.failed < 0.6 * answered


def test_one_that_is_slow(user: Story) -> None:
    user.own_service("slow")
    service = user.folder / "service.py"
    service.write_text(service.read_text().replace("time.sleep(0.15)", "time.sleep(0.3)"))
    refused = deploy_under_load(user)
    assert refused.gate == "p95"
    measured = re.search(r"p95 ([\d.]+) (ms|s) \(limit 150 ms", refused.message)
    assert measured, refused.message
    assert float(measured[1]) * (1000 if measured[2] == "s" else 1) > 250
    assert refused.seen.failures == {}


def test_one_that_never_becomes_ready(user: Story) -> None:
    user.own_service("never-ready")
    user.edit("ready_timeout", '"6s"')
    refused = deploy_under_load(user)
    user.edit("ready_timeout", '"120s"')
    assert refused.gate == "readiness"
    assert "was not ready within 6 s; its state is starting" in refused.message
    assert "/readyz" in refused.message
    assert (refused.seen.failures, set(refused.seen.versions)) == ({}, {user.status()["stable"]})


def test_one_that_crashes_when_it_starts(user: Story) -> None:
    user.own_service("crash")
    refused = deploy_under_load(user)
    assert refused.gate == "readiness"
    assert "gave up; its state is failed" in refused.message
    assert "cannot open the feature store: connection refused" in refused.log
    assert (refused.seen.failures, set(refused.seen.versions)) == ({}, {user.status()["stable"]})


def test_one_whose_answers_differ_from_its_golden_samples(user: Story) -> None:
    golden = (user.folder / "golden.npz").read_bytes()
    user.own_service("none")
    user.second_model()
    (user.folder / "golden.npz").write_bytes(golden)
    refused = deploy_under_load(user)
    assert refused.gate == "golden"
    assert re.search(r"digit\[\d+\]: \d here, \d recorded", refused.message), refused.message
    assert (refused.seen.failures, set(refused.seen.versions)) == ({}, {user.status()["stable"]})
