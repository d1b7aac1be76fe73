"""The commands that share bundles, promote them and look back, as people and programs see them."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from cli.conftest import Type
from modeldeploy import ops
from modeldeploy.audit.chain import Broken
from modeldeploy.audit.timeline import Period
from modeldeploy.bundle.build import Built
from modeldeploy.bundle.compare import (
    Differences,
    FileChange,
    LayerChange,
    PackageChange,
    SettingChange,
    Side,
)
from modeldeploy.bundle.usage import Kept, Waste
from modeldeploy.model import BundleRef, Finding, Level, RevisionId
from modeldeploy.ops.imaging import ImageBuilt, LayerBuilt, PlatformBuilt
from modeldeploy.ops.inventory import Collected
from modeldeploy.ops.naming import Alias, Move
from modeldeploy.ops.promotion import Approval, Promoted
from modeldeploy.ops.shipping import Layer, Pushed
from modeldeploy.ops.tracing import AuditEntry, AuditVerified, AuditView, LiveNow, LiveThen, Trace

NOON = 1_800_014_400.0
"""2027-01-15 12:00 UTC."""
REF = BundleRef("digits", "1.1.0", "sha256:" + "12" * 32)


def entry(n: int, kind: str, **more: Any) -> AuditEntry:
    known: dict[str, Any] = {"target": None, "revision": None, "rollout": None, "summary": "", "data": {}}
    return AuditEntry(
        n, NOON, kind, "ada@laptop", f"mdeploy {kind}", bundle=REF, previous="", **{**known, **more}
    )


def answers(monkeypatch: pytest.MonkeyPatch, name: str, value: object) -> list[tuple[Any, ...]]:
    """Let a use case give this value; what it was asked for is in the list."""
    asked: list[tuple[Any, ...]] = []

    def use_case(*words: object, **options: object) -> object:
        asked.append((words[1:], {name: given for name, given in options.items() if name != "emit"}))
        return value

    monkeypatch.setattr(ops, name, use_case)
    return asked


def last(typed: str) -> Any:
    return json.loads(typed.splitlines()[-1])["result"]


def test_push_tells_what_was_sent_of_what_there_is(
    mdeploy: Type, project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    layers = (
        Layer("model", "sha256:1", 500_000_000, "present", 0),
        Layer("code", "sha256:2", 7912, "sent", 7912),
    )
    pushed = Pushed(
        "digits:1.1.0",
        REF.digest,
        "127.0.0.1:5000/digits",
        "sha256:3",
        "sha256:4",
        ("1.1.0",),
        False,
        layers,
        0.4,
    )
    asked = answers(monkeypatch, "push", pushed)

    typed = mdeploy("push", "--image", "--to", "http://127.0.0.1:5000")
    told = last(mdeploy("push", "1.1.0", "--no-image", "--json").out)

    assert typed.out.splitlines() == [f"digits:1.1.0  {REF.digest}", "image  sha256:4"]
    assert "sent 7.9 kB of 500 MB to 127.0.0.1:5000/digits in 0.4 s" in typed.err
    assert asked == [
        ((None,), {"to": "http://127.0.0.1:5000", "image": True}),
        (("1.1.0",), {"to": None, "image": False}),
    ]
    assert (told["sent"], told["size"], told["layers"][1]["how"]) == (7912, 500_007_912, "sent")


def test_pull_prints_what_build_prints(mdeploy: Type, project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    answers(monkeypatch, "pull", Built(REF, project / "bundle", unchanged=False))

    assert mdeploy("pull", "@prod").out == f"digits:1.1.0  {REF.digest}\n"
    assert set(last(mdeploy("pull", "1.1.0", "--json").out)) == {"ref", "digest", "path", "unchanged"}


def test_an_image_is_listed_layer_by_layer(
    mdeploy: Type, project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    layers = (
        LayerBuilt("base", "debian", "sha256:1", 22_900_000, False),
        LayerBuilt("code", "code", "sha256:2", 38_900, True),
    )
    built = ImageBuilt(
        "digits:1.1.0",
        REF.digest,
        "sha256:9",
        "digits:1.1.0",
        "none",
        (PlatformBuilt("linux/arm64", "sha256:9", 22_938_900, layers),),
        0.2,
        output="digits.tar",
    )
    asked = answers(monkeypatch, "image", built)

    typed = mdeploy("image", "--platform", "linux/arm64", "--output", "digits.tar")

    assert typed.out.splitlines() == [
        "linux/arm64  LAYER   SIZE",
        "base         debian  22.9 MB  kept",
        "code         code    38.9 kB  made",
        "linux/arm64  sha256:9  22.9 MB",
        "digits:1.1.0  sha256:9  (0.2 s)",
        "written to digits.tar",
    ]
    assert asked[0][1]["output"] == project / "digits.tar"
    assert asked[0][1]["platforms"] == ["linux/arm64"]


def test_verify_ends_with_5_where_something_is_not_what_it_should_be(
    mdeploy: Type, project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    answers(monkeypatch, "verify", (Finding("signature", Level.ERROR, "nobody signed it", "mdeploy sign"),))

    typed = mdeploy("verify", "1.1.0")

    assert typed.code == 5
    assert "nobody signed it" in typed.out


def test_an_alias_is_shown_with_where_it_was(
    mdeploy: Type, project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    old = BundleRef("digits", "1.0.0", "sha256:00")
    one = Alias(
        "prod", REF, "registry/digits", previous=old, moved=True, history=(Move(NOON, "ada@laptop", REF),)
    )
    answers(monkeypatch, "alias", one)
    answers(monkeypatch, "aliases", ())

    assert mdeploy("alias", "@prod", "1.1.0").out.splitlines() == [
        f"@prod -> digits:1.1.0  {REF.digest} (was digits:1.0.0)",
        "  since 2027-01-15 12:00  digits:1.1.0  by ada@laptop",
    ]
    assert mdeploy("alias").out == "there is no alias yet\n"


def test_promote_tells_from_where_to_where(
    mdeploy: Type, project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    new, old = RevisionId("1.1.0-3f2a9c1b"), RevisionId("1.0.0-9b1c22d0")
    answers(
        monkeypatch,
        "promote",
        Promoted(REF, "staging", "prod", "promoted", new, old, "http://127.0.0.1:1", 12.0),
    )

    lines = mdeploy("promote", "staging", "prod").out.splitlines()

    assert lines[0] == "digits:1.1.0 (sha256:121212121212): staging -> prod"
    assert "to go back: mdeploy rollback prod" in lines[1]


@pytest.mark.parametrize(("revoked", "verb"), [(False, "approves"), (True, "takes back the approval of")])
def test_approve_tells_who_approves_now(
    mdeploy: Type, project: Path, monkeypatch: pytest.MonkeyPatch, *, revoked: bool, verb: str
) -> None:
    answers(monkeypatch, "approve", Approval(REF, "prod", "ada@laptop", revoked, ("bob@desk",), 2))

    assert mdeploy("approve", "1.1.0", "--for", "prod").out.splitlines() == [
        f"ada@laptop {verb} digits:1.1.0 (sha256:121212121212) for prod",
        "approvals now: 1 of 2 (bob@desk)",
    ]


def test_approve_says_that_a_person_counts_once(
    mdeploy: Type, project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    answers(
        monkeypatch, "approve", Approval(REF, "prod", "ada@laptop", False, ("ada@laptop",), 2, again=True)
    )

    typed = mdeploy("approve", "1.1.0", "--for", "prod")

    assert typed.out.startswith("ada@laptop approves again, which counts once: digits:1.1.0 (")


@pytest.mark.parametrize(
    ("before", "told"), [(None, "is new: commit it"), ("old", "has changed: commit it"), ("new", None)]
)
def test_a_lock_that_was_written_is_told_to_be_committed(
    mdeploy: Type, project: Path, monkeypatch: pytest.MonkeyPatch, *, before: str | None, told: str | None
) -> None:
    lock = project / "modeldeploy.image.lock"
    if before:
        lock.write_text(before)

    def image(*_: object, **__: object) -> ImageBuilt:
        lock.write_text("new")
        return ImageBuilt("digits:1.1.0", REF.digest, "sha256:9", "digits:1.1.0", "none", (), 0.2)

    monkeypatch.setattr(ops, "image", image)

    assert (f"modeldeploy.image.lock {told}" in mdeploy("image").err) is (told is not None)
    assert "commit it" not in mdeploy("image").err


def test_the_audit_log_is_a_table_and_its_check_has_an_exit_code(
    mdeploy: Type, project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    answers(
        monkeypatch,
        "audit",
        AuditView("registry", (entry(2, "approve", target="prod", summary="approved"),), 2, 1),
    )
    broken = Broken("changed", 2, 2, 2, "sha256:a", "sha256:b")
    answers(monkeypatch, "audit_verify", AuditVerified("registry", False, 1, "", broken, broken.message))

    typed, verified = mdeploy("audit"), mdeploy("audit", "verify")

    assert typed.out.splitlines()[1].split() == [
        *("2", "2027-01-15", "12:00", "approve", "prod", "digits:1.1.0", "ada@laptop", "approved"),
    ]
    assert "1 entries of this machine wait" in typed.out
    assert verified.code == 4
    assert "line 2: entry 2 was changed" in verified.out


def test_at_tells_what_was_live(mdeploy: Type, project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    period = Period("prod", "1.1.0-3f2a9c1b", REF, 95, True, NOON, None, "ada@laptop", "mdeploy deploy", 7)
    answers(monkeypatch, "at", LiveThen(NOON, "2027-01-15 12:00:00 UTC", (period,)))

    lines = mdeploy("at", "2h ago", "prod").out.splitlines()

    assert lines[0] == "at 2027-01-15 12:00:00 UTC"
    assert "95 %" in lines[2]
    assert "now" in lines[2]


def test_trace_goes_back_to_commit_and_approver_with_the_numbers(
    mdeploy: Type, project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    measure = {"gate": "error_rate", "candidate": 0.001, "limit": 0.01, "unit": "share", "verdict": "pass"}
    judged = {"weight": 25, "verdict": "pass", "measures": [measure]}
    found = Trace(
        "1.1.0-3f2a9c1b",
        REF,
        "c0ffee",
        True,
        None,
        pushes=(entry(1, "push"),),
        tests=(),
        approvals=(entry(2, "approve", target="prod", summary="approved for prod"),),
        others=(),
        rollouts=(entry(3, "promote", target="prod", summary="promoted", data={"judgements": [judged]}),),
        live=(LiveNow("prod", "ready", 100, True),),
        unasked=("edge: it does not answer",),
    )
    answers(monkeypatch, "trace", found)

    text = mdeploy("trace", "1.1.0-3f2a9c1b").out

    assert "commit     c0ffee with changes" in text
    assert "approve on prod by ada@laptop: approved for prod  (entry 2)" in text
    assert "at 25 %: pass" in text
    assert "error rate" in text
    assert "prod: 100 %, stable" in text
    assert "edge: it does not answer" in text


def test_why_names_files_packages_and_settings(
    mdeploy: Type, project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = Differences(
        Side("digits:1.0.0", "sha256:1"),
        Side("the project", None),
        False,
        "1 file, 1 package and 1 setting differ",
        (FileChange("src/service.py", "code", "changed", 100, 120, ("-a", "+b")),),
        (PackageChange("numpy", "2.0.0", "2.1.0"), PackageChange("scipy", "1.0", "1.0", hashes_only=True)),
        (SettingChange("python", "3.11", "3.12"),),
        (SettingChange("git.commit", "a", "b"),),
        (LayerChange("linux/amd64", "base", "debian", "12.5", "12.6"),),
        ("it was not built yet",),
    )
    answers(monkeypatch, "why", found)

    assert mdeploy("why", "1.0.0").out.splitlines() == [
        "- digits:1.0.0  sha256:1",
        "+ the project  (not built yet)",
        "1 file, 1 package and 1 setting differ",
        "  setting  python: 3.11 -> 3.12",
        "  package  numpy: 2.0.0 -> 2.1.0",
        "  package  scipy: other files of it",
        "  code     ~ src/service.py  changed, 100 B -> 120 B",
        "             -a",
        "             +b",
        "  image    linux/amd64 base debian: 12.5 -> 12.6",
        "  built    git.commit: a -> b (no part of the content)",
        "  note     it was not built yet",
    ]


@pytest.mark.parametrize(
    ("dry", "end"), [(True, "would free 1.0 MB; to do it: mdeploy gc"), (False, "freed 1.0 MB")]
)
def test_gc_lists_what_goes_and_what_stays(
    mdeploy: Type, project: Path, monkeypatch: pytest.MonkeyPatch, *, dry: bool, end: str
) -> None:
    kept = Kept("digits:1.1.0", REF.digest, "revision 1.1.0-3f2a9c1b is on prod")
    found = Collected(
        dry, (Waste("bundle", "digits:0.9.0", 1_000_000),), (kept,), 1_000_000, ("edge: no answer",)
    )
    asked = answers(monkeypatch, "gc", found)

    lines = mdeploy("gc", "--keep", "0", "--days", "1", *(["--dry-run"] if dry else [])).out.splitlines()

    assert asked[0][1] == {"dry_run": dry, "keep_versions": 0, "keep_days": 1}
    assert lines[1].split() == ["bundle", "digits:0.9.0", "1.0", "MB"]
    assert lines[2] == "kept: digits:1.1.0  sha256:121212121212  revision 1.1.0-3f2a9c1b is on prod"
    assert lines[-1] == end


def test_an_overlay_is_chosen_by_an_option_or_the_environment(
    mdeploy: Type, project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("MDEPLOY_ENV", raising=False)
    with (project / "modeldeploy.toml").open("a") as file:
        file.write('\n[env.far.targets.far]\ndriver = "process"\nport = 18081\n')

    near, far = mdeploy("status", "far"), mdeploy("--env", "far", "status", "far", "--json")

    assert near.code == 3
    assert far.code == 0, far.out
    assert "MDEPLOY_ENV" not in os.environ
