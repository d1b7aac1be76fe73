"""From staging to production: what policy does not allow is refused with the reason, and all is on record."""

from __future__ import annotations

import http.client
import re
import shutil
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from modeldeploy import ops
from modeldeploy.config.edit import Part
from modeldeploy.errors import ConfigError, PreflightError, RegistryError, RolloutHeld
from modeldeploy.events import Event
from modeldeploy.model import BundleRef, Finding, Level
from modeldeploy.ops.promotion import Approval, Promoted
from process_place import free_port
from story_project import Running, Story

pytestmark = pytest.mark.story

LOCKED = 7

POLICY = """

[policy.prod]
from = ["staging"]
require = ["test", "golden", "signed", "approved:2"]
min_age = "6s"

[registry]
url = "./registry"

[signing]
key = "cosign.key"
public_keys = ["cosign.pub"]
"""


@dataclass
class Team:
    """A project with a staging and a production target on this machine, and the people who work on it."""

    user: Story
    monkeypatch: pytest.MonkeyPatch
    prod_port: int
    events: list[Event] = field(default_factory=list)

    @property
    def root(self) -> Path:
        return self.user.folder

    def emit(self, event: Event) -> None:
        self.events.append(event)

    def told(self, kind: str) -> list[Event]:
        return [event for event in self.events if event.kind == kind]

    def become(self, name: str) -> None:
        self.monkeypatch.setenv("LOGNAME", name)

    def build(self, bump: Part | None = None) -> BundleRef:
        built = ops.build(self.root, bump=bump, emit=self.emit)
        self.user.keep_lock()
        return built.ref

    def promote(self) -> Promoted:
        return ops.promote(self.root, "staging", "prod", emit=self.emit)

    def refused(self) -> dict[str, Finding]:
        """What the policy misses, by requirement."""
        with pytest.raises(PreflightError) as caught:
            self.promote()
        assert caught.value.exit_code == 5
        return {finding.check.partition(": ")[2]: finding for finding in caught.value.findings}

    def answer_of(self, port: int) -> str:
        """The header of an answer that a user gets."""
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
        try:
            body = (self.root / "samples.json").read_bytes()
            connection.request("POST", "/predict", body, {"content-type": "application/json"})
            answer = connection.getresponse()
            answer.read()
            return answer.headers["x-model-version"]
        finally:
            connection.close()

    def push(self) -> None:
        ops.push(self.root, emit=self.emit)

    def approve(self, *, note: str = "", revoke: bool = False) -> Approval:
        return ops.approve(self.root, "digits:1.0.0", "prod", note=note, revoke=revoke, emit=self.emit)


@pytest.fixture
def team(user: Story, monkeypatch: pytest.MonkeyPatch) -> Iterator[Team]:
    user.init()
    user.hurry(steps="[50]", soak="200ms", requests=5)
    prod = free_port()
    text = user.file.read_text()
    name = re.search(r'(?m)^name = "(.*?)"', text)
    assert name
    local = text[text.index("[targets.local]") :]
    staging = local.replace("targets.local", "targets.staging")
    other = re.sub(r"(?m)^port = \d+", f"port = {prod}", local).replace("targets.local", "targets.prod")
    user.file.write_text(text.replace(local, staging) + "\n" + other + POLICY)
    user.edit("name", '"digits"')
    monkeypatch.setenv("COSIGN_PASSWORD", "correct horse")
    monkeypatch.delenv("GITHUB_ACTIONS", raising=False)
    ops.keygen(user.folder, password=lambda: b"correct horse")
    team = Team(user, monkeypatch, prod)
    try:
        yield team
    finally:
        for target in ("staging", "prod"):
            ops.destroy(team.root, target, emit=team.emit)
        shutil.rmtree(user.home / "targets")  # nothing is left for the story to destroy


def test_a_bundle_goes_to_production_when_all_that_policy_asks_is_there_and_not_before(team: Team) -> None:
    team.become("ada")
    built = team.build()
    all_that_is_missing_is_told_at_once(team)
    staging_tests_and_age_are_met_one_by_one(team, built)
    a_signature_and_two_people_are_asked_for(team)
    done = team.promote()
    assert (done.result, done.bundle.digest) == ("promoted", built.digest)
    header = team.answer_of(team.prod_port)
    an_answer_leads_back_to_all_of_it(team, header, built)
    what_was_live_is_told(team, header)


def all_that_is_missing_is_told_at_once(team: Team) -> None:
    with pytest.raises(PreflightError, match="staging runs nothing"):
        team.promote()
    with pytest.raises(PreflightError) as caught:
        ops.deploy(team.root, "prod", emit=team.emit)
    missing = {finding.check: finding for finding in caught.value.findings}
    assert list(missing) == [
        "prod: from", "prod: min_age", "prod: test", "prod: golden", "prod: signed", "prod: approved:2",
    ]  # fmt: skip
    planned = ops.plan(team.root, "prod", emit=team.emit)
    assert [(each.check, each.level) for each in planned.findings] == [
        (each, Level.WARNING) for each in missing
    ]
    assert "staging runs nothing" in missing["prod: from"].message
    assert missing["prod: from"].remedy == "mdeploy deploy staging digits:1.0.0"
    assert missing["prod: from"].where.rpartition(":")[0].endswith("modeldeploy.toml")


def staging_tests_and_age_are_met_one_by_one(team: Team, built: BundleRef) -> None:
    ops.deploy(team.root, "staging", emit=team.emit)
    missing = team.refused()
    assert list(missing) == ["min_age", "test", "signed", "approved:2"]  # golden: replayed on staging
    assert "6 s are asked for: " in missing["min_age"].message
    assert f"no mdeploy test of digits:1.0.0 ({built.digest[:19]}) is on record" in missing["test"].message
    assert missing["test"].remedy == "mdeploy test digits:1.0.0"
    assert "mdeploy push digits:1.0.0" in missing["signed"].message
    assert "0 of 2 approvals" in missing["approved:2"].message
    assert missing["approved:2"].remedy == "mdeploy approve digits:1.0.0 --for prod"
    assert ops.smoke(team.root, ref="digits:1.0.0", emit=team.emit).passed
    while "min_age" in team.refused():
        time.sleep(0.5)


def a_signature_and_two_people_are_asked_for(team: Team) -> None:
    assert list(team.refused()) == ["signed", "approved:2"]
    team.push()
    assert "it is not signed" in team.refused()["signed"].message
    ops.sign(team.root, "digits:1.0.0", emit=team.emit)
    assert list(team.refused()) == ["approved:2"]
    team.approve()
    team.approve(note="again")
    assert "1 of 2 approvals" in team.refused()["approved:2"].message  # nobody counts twice
    team.become("grace")
    team.approve()
    team.approve(revoke=True)
    assert "grace@" in team.refused()["approved:2"].message
    assert "took it back" in team.refused()["approved:2"].message
    assert team.approve().wanted == 2


def an_answer_leads_back_to_all_of_it(team: Team, header: str, built: BundleRef) -> None:
    found = ops.trace(team.root, header)
    assert found.bundle == built
    assert [one.by.partition("@")[0] for one in found.approvals] == ["ada", "ada", "grace", "grace", "grace"]
    assert [(one.kind, one.target, one.summary) for one in found.rollouts] == [
        ("deploy", "staging", "promoted"),
        ("promote", "prod", "promoted from staging"),
    ]
    assert found.rollouts[-1].data["golden"]["total"] > 0
    policy = [check["check"] for check in found.rollouts[-1].data["policy"]]
    assert policy[:2] == ["prod: from", "prod: min_age"]
    assert {(one.target, one.weight) for one in found.live} == {("staging", 100), ("prod", 100)}
    assert len(found.tests) == len(found.pushes) == 1


def what_was_live_is_told(team: Team, header: str) -> None:
    now = ops.at(team.root, "now", "prod")
    assert [(one.revision, one.weight, one.stable) for one in now.periods] == [(header, 100, True)]
    assert now.periods[0].by.startswith("grace@")
    assert ops.at(team.root, "1h ago").periods == ()
    with pytest.raises(ConfigError, match="is yet to come"):
        ops.at(team.root, "2999-01-01")
    assert "UTC" in now.shown


def first_release(team: Team, *policy: str) -> None:
    """Version 1.0.0 is on both targets, 1.1.0 is built; of the policy, some lines are left."""
    for line in (
        'from = ["staging"]',
        'require = ["test", "golden", "signed", "approved:2"]',
        'min_age = "6s"',
    ):
        if line not in policy:
            team.user.file.write_text(team.user.file.read_text().replace(f"{line}\n", ""))
    team.build()
    ops.deploy(team.root, "staging", emit=team.emit)
    team.promote()
    team.user.second_model()
    team.build("minor")


def test_what_is_not_settled_is_not_promoted_and_resume_asks_the_policy_again(team: Team) -> None:
    first_release(team, 'from = ["staging"]')
    root, emit = team.root, team.emit
    text = team.user.file.read_text()
    team.user.file.write_text(text.replace('patience = "60s"', 'patience = "3s"'))
    with pytest.raises(
        PreflightError, match=r"does not let digits:1\.1\.0 in: 1 of 1 requirements is not met"
    ):
        ops.deploy(root, "prod", emit=emit)
    with pytest.raises(RolloutHeld):  # without users a canary is undecided
        ops.deploy(root, "staging", emit=emit)
    with pytest.raises(PreflightError, match=r"staging is not settled: a deploy of 1\.1\.0-.* is unfinished"):
        team.promote()
    ops.at(root, "now", "staging")
    assert [one.weight for one in ops.at(root, "now", "staging").periods] == [50, 50]
    with team.user.users():
        ops.resume(root, "staging", emit=emit)

    with pytest.raises(RolloutHeld):
        team.promote()
    with team.user.users():
        ops.rollback(root, "staging", emit=emit)
    with pytest.raises(PreflightError, match="does not let"):  # it is not stable on staging any more
        ops.resume(root, "prod", emit=emit)
    ops.abort(root, "prod", emit=emit)
    kinds = [(one.kind, one.target, one.data["outcome"]) for one in ops.audit(root).entries]
    assert kinds == [
        ("abort", "prod", "aborted"),
        ("rollback", "staging", "rolled-back"),
        ("promote", "prod", "held"),
        ("deploy", "staging", "promoted"),
        ("deploy", "staging", "held"),
        ("promote", "prod", "promoted"),
        ("deploy", "staging", "promoted"),
    ]


def test_of_two_promotions_at_once_one_wins_and_what_happens_to_the_source_changes_nothing(
    team: Team,
) -> None:
    first_release(team)
    with team.user.users():
        new = ops.deploy(team.root, "staging", emit=team.emit).revision
    team.user.file.write_text(team.user.file.read_text().replace('"200ms"', '"2s"'))
    team.user.port = team.prod_port
    with team.user.users():
        both = [team.user.begin("promote staging prod --json") for _ in range(2)]
        winner = next(one for one in forever(both) if '"judge"' in one.told())
        ops.rollback(team.root, "staging", emit=team.emit)
        ended = {one.end().code: one for one in both}
    assert set(ended) == {0, LOCKED}
    assert ended[0] is winner
    assert winner.end().result["bundle"]["version"] == "1.1.0"
    assert [one.revision for one in ops.at(team.root, "now", "prod").periods] == [new]
    assert [one.revision for one in ops.at(team.root, "now", "staging").periods] != [new]


def forever(commands: list[Running]) -> Iterator[Running]:
    """Each of them in turn, with a pause, for a while."""
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        yield from commands
        time.sleep(0.02)


def test_without_its_registry_a_rollback_is_as_quick_and_its_entry_comes_later(team: Team) -> None:
    first_release(team)
    root, emit = team.root, team.emit
    taken = []
    for gone in (False, True):
        with team.user.users():
            new = ops.deploy(root, "staging", emit=emit).revision
        entries = ops.audit(root).total
        if gone:
            shutil.move(team.root / "registry", team.root / "away")
            (team.root / "registry").write_text("a shared drive that is not mounted")
        began = time.monotonic()
        assert ops.rollback(root, "staging", emit=emit).previous == new
        taken.append(time.monotonic() - began)
    print(f"rollback with its registry {taken[0]:.3f} s, without {taken[1]:.3f} s")
    assert taken[1] < taken[0] + 0.5
    delayed = team.told("audit.delayed")
    assert len(delayed) == 1
    assert "1 audit entry waits" in delayed[0].message
    with pytest.raises(RegistryError):
        ops.audit(root)
    (team.root / "registry").unlink()
    shutil.move(team.root / "away", team.root / "registry")
    found = ops.audit(root)
    assert (found.total, found.waiting, found.entries[0].kind) == (entries + 1, 0, "rollback")
    assert ops.audit_verify(root).intact


def test_an_entry_that_was_edited_by_hand_is_found_and_nothing_relies_on_the_log_any_more(team: Team) -> None:
    first_release(team)
    for path in (team.root / "registry/digits/blobs/sha256").iterdir():
        if b'"kind":"promote"' in (content := path.read_bytes()):
            path.chmod(0o644)
            path.write_bytes(content.replace(b'"by":"', b'"by":"eve-', 1))
    found = ops.audit_verify(team.root)
    assert not found.intact
    assert found.fault is not None
    assert (found.fault.what, found.fault.line) == ("changed", 2)
    assert re.search(
        r"line 2: entry 2 was changed: expected sha256:\w{64}, found sha256:\w{64}", found.message
    )
    with pytest.raises(RegistryError, match="was changed"):
        ops.approve(team.root, "digits:1.0.0", "prod", emit=team.emit)
