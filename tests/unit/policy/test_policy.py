"""A policy says of each thing that it asks whether it is met; if not, what is missing and what to type."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from modeldeploy.config.settings import PolicySettings
from modeldeploy.model import BundleRef, Finding, Level
from modeldeploy.policy import Approval, Evidence, Mark, Signature, Standing, duration, evaluate, unmet

NOW = 1_800_000_000.0
BUNDLE = BundleRef("digits", "1.1.0", "sha256:" + "b" * 64)
OLD = BundleRef("digits", "1.0.0", "sha256:" + "a" * 64)
MARK = Mark(7, NOW - 60, "ada@laptop", passed=True)
ALL = PolicySettings(
    "prod", ("staging",), frozenset({"test", "golden", "signed", "scanned"}), approvals=2, min_age=3600
)
GOOD = Evidence(
    BUNDLE,
    NOW,
    standings=(Standing("staging", BUNDLE, since=NOW - 7200, entry=5),),
    tests=(MARK,),
    samples=8,
    replays=(MARK,),
    signature=Signature(verified=True, told="signed by ci.pub"),
    approvals=(Approval("ada@laptop", NOW - 9, 8), Approval("grace@desk", NOW - 8, 9)),
    scans=(MARK,),
)


def only_fault(evidence: Evidence, settings: PolicySettings = ALL) -> Finding:
    found = unmet(evaluate(settings, evidence))
    assert len(found) == 1, found
    return found[0]


def test_what_has_all_that_is_asked_for_may_go() -> None:
    found = evaluate(ALL, GOOD)
    assert [finding.check for finding in found] == [
        "prod: from", "prod: min_age", "prod: test", "prod: golden", "prod: signed", "prod: approved:2",
        "prod: scanned",
    ]  # fmt: skip
    assert {finding.level for finding in found} == {Level.OK}


def test_a_policy_that_asks_nothing_refuses_nothing() -> None:
    assert evaluate(PolicySettings("prod"), Evidence(BUNDLE, NOW)) == ()


def test_all_that_is_missing_is_told_at_once_each_with_its_command() -> None:
    found = unmet(evaluate(ALL, Evidence(BUNDLE, NOW, standings=(Standing("staging", OLD, since=1.0),))))
    assert {finding.check: finding.remedy for finding in found} == {
        "prod: from": "mdeploy deploy staging digits:1.1.0",
        "prod: min_age": "mdeploy promote staging prod",
        "prod: test": "mdeploy test digits:1.1.0",
        "prod: golden": "mdeploy golden, then mdeploy build --bump patch",
        "prod: signed": "mdeploy sign digits:1.1.0",
        "prod: approved:2": "mdeploy approve digits:1.1.0 --for prod",
        "prod: scanned": "mdeploy scan digits:1.1.0",
    }


def test_another_bundle_on_the_source_is_named() -> None:
    fault = only_fault(replace(GOOD, standings=(Standing("staging", OLD),)), replace(ALL, min_age=0))
    assert "digits:1.1.0 (sha256:bbbbbbbbbbbb) is not stable on staging" in fault.message
    assert "staging runs digits:1.0.0 (sha256:aaaaaaaaaaaa)" in fault.message


def test_the_same_version_with_another_digest_is_another_bundle() -> None:
    twin = replace(BUNDLE, digest=OLD.digest)
    fault = only_fault(replace(GOOD, standings=(Standing("staging", twin),)), replace(ALL, min_age=0))
    assert "another bundle of the same version" in fault.message


@pytest.mark.parametrize("doubt", ["does not answer: refused", "a rollout of 1.2.0 is unfinished"])
def test_a_source_that_cannot_be_told_does_not_count(doubt: str) -> None:
    fault = only_fault(
        replace(GOOD, standings=(Standing("staging", BUNDLE, since=1.0, doubt=doubt),)),
        replace(ALL, min_age=0),
    )
    assert doubt in fault.message
    assert fault.remedy == "mdeploy status staging"


def test_one_of_several_sources_is_enough() -> None:
    settings = replace(ALL, sources=("staging", "shadow"))
    standings = (Standing("staging", OLD), Standing("shadow", BUNDLE, since=NOW - 4000))
    assert unmet(evaluate(settings, replace(GOOD, standings=standings))) == ()


@pytest.mark.parametrize(("age", "met"), [(3599.0, False), (3600.0, True), (1e6, True), (-50.0, False)])
def test_the_age_counts_to_the_second(age: float, *, met: bool) -> None:
    standings = (Standing("staging", BUNDLE, since=NOW - age, entry=5),)
    found = unmet(evaluate(ALL, replace(GOOD, standings=standings)))
    assert (found == ()) is met


def test_an_age_that_is_too_young_says_how_long_and_until_when() -> None:
    fault = only_fault(replace(GOOD, standings=(Standing("staging", BUNDLE, since=NOW - 600, entry=5),)))
    assert "stable on staging for 10 min, since 2027-01-15 07:50:00 UTC (entry 5)" in fault.message
    assert "1 h are asked for: 50 min to go, until 2027-01-15 08:50:00 UTC" in fault.message
    assert fault.remedy == "mdeploy promote staging prod"


def test_an_age_that_no_entry_tells_is_not_guessed() -> None:
    fault = only_fault(replace(GOOD, standings=(Standing("staging", BUNDLE),)))
    assert "no entry of the audit log tells" in fault.message


def test_the_newest_test_counts() -> None:
    failed = replace(MARK, passed=False, entry=9, told="golden: 3 of 8 differ")
    fault = only_fault(replace(GOOD, tests=(MARK, failed)))
    assert "golden: 3 of 8 differ" in fault.message
    assert "(entry 9)" in fault.message
    assert unmet(evaluate(ALL, replace(GOOD, tests=(failed, MARK)))) == ()


def test_golden_samples_must_be_in_the_bundle_and_have_been_reproduced() -> None:
    assert "holds no golden samples" in only_fault(replace(GOOD, samples=0)).message
    fault = only_fault(replace(GOOD, replays=()))
    assert "8 golden samples" in fault.message
    assert fault.remedy == "mdeploy test digits:1.1.0"


def test_a_signature_that_does_not_count_says_why() -> None:
    fault = only_fault(replace(GOOD, signature=Signature(verified=False, told="it is by another key")))
    assert "it is by another key" in fault.message


def test_approvals_are_counted_and_who_is_missing_is_said() -> None:
    fault = only_fault(replace(GOOD, approvals=GOOD.approvals[:1], discounted=("eve@x took it back",)))
    assert "1 of 2 approvals" in fault.message
    assert "for prod: ada@laptop" in fault.message
    assert "eve@x took it back" in fault.message
    assert "another person has to approve" in fault.message


def test_a_scan_with_findings_that_block_is_told() -> None:
    bad = replace(MARK, passed=False, told="2 known vulnerabilities")
    assert "2 known vulnerabilities" in only_fault(replace(GOOD, scans=(bad,))).message


@given(
    settings=st.builds(
        PolicySettings,
        st.just("prod"),
        st.sampled_from([("staging",), ("staging", "shadow")]),
        st.frozensets(st.sampled_from(["test", "golden", "signed", "scanned"])),
        st.integers(0, 3),
        st.sampled_from([0.0, 60.0, 3600.0]),
    )
)
def test_no_evidence_meets_nothing(settings: PolicySettings) -> None:
    found = evaluate(settings, Evidence(BUNDLE, NOW))
    assert len(found) == 1 + len(settings.require) + bool(settings.approvals) + bool(settings.min_age)
    assert unmet(found) == found
    assert all(finding.remedy.startswith("mdeploy ") for finding in found)


def test_durations_are_rounded_up_and_short() -> None:
    assert [duration(one) for one in (0, 0.2, 59.9, 61, 3600, 3661, 90_000)] == [
        "0 s", "1 s", "1 min", "1 min 1 s", "1 h", "1 h 1 min", "1 d 1 h",
    ]  # fmt: skip
