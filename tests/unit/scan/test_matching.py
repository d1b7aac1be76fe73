"""Which advisories concern which version: by the rules of OSV."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from packaging.version import Version

from modeldeploy.scan import matching, severity
from modeldeploy.scan.advisories import Database
from modeldeploy.scan.found import Package, Vulnerability


def advisory(**changes: Any) -> dict[str, Any]:
    affected = {
        "package": {"ecosystem": "PyPI", "name": "Some_Package"},
        "ranges": [{"type": "ECOSYSTEM", "events": [{"introduced": "0"}, {"fixed": "2.0"}]}],
    }
    value: dict[str, Any] = {
        "id": "GHSA-aaaa-bbbb-cccc",
        "modified": "2026-11-01T00:00:00Z",
        "aliases": ["CVE-2026-1"],
        "summary": "It does what it should not.",
        "affected": [affected],
    }
    return value | changes


def found(version: str, *advisories: dict[str, Any], name: str = "some-package") -> list[Vulnerability]:
    database = Database(Path("db"), {"some-package": list(advisories)})
    return list(matching.matches(database, [Package(name, version)]))


def affected_by(*events: dict[str, str], versions: object = None, kind: str = "ECOSYSTEM") -> dict[str, Any]:
    package = {"ecosystem": "PyPI", "name": "some-package"}
    value: dict[str, Any] = {"package": package, "ranges": [{"type": kind, "events": list(events)}]}
    return value if versions is None else {**value, "versions": versions}


RANGES = [
    ([{"introduced": "0"}, {"fixed": "2.0"}], {"0.1": True, "1.9": True, "2.0rc1": True, "2.0": False}),
    ([{"introduced": "1.0"}, {"fixed": "2.0"}], {"0.9": False, "1.0": True, "1.0.post1": True, "3": False}),
    ([{"introduced": "1.0"}, {"last_affected": "1.5"}], {"1.5": True, "1.5.1": False, "1.4": True}),
    ([{"introduced": "0"}], {"0.0.1": True, "99": True}),
    ([{"fixed": "2.0"}, {"introduced": "0"}], {"1.0": True, "2.0": False}),
    (
        [{"introduced": "1"}, {"fixed": "1.2"}, {"introduced": "2"}, {"fixed": "2.2"}],
        {"1.1": True, "1.5": False, "2.1": True, "2.2": False},
    ),
    ([{"introduced": "0"}, {"fixed": "3"}, {"limit": "2"}], {"1": True, "2.5": False}),
    ([{"introduced": "0"}, {"fixed": "3"}, {"limit": "*"}], {"2.5": True}),
    ([{"introduced": "0"}, {"fixed": "2.0"}], {"2.0+cpu": False, "1.9+cu121": True}),
    ([], {"1.0": False}),
]


@pytest.mark.parametrize(("events", "versions"), RANGES, ids=range(len(RANGES)))
def test_ranges_are_read_as_osv_says(events: list[dict[str, str]], versions: dict[str, bool]) -> None:
    entry = affected_by(*events)
    for version, expected in versions.items():
        public = Version(Version(version).public)
        assert matching.is_affected(entry, public) is expected, version


def test_versions_are_compared_as_versions_not_as_text() -> None:
    assert matching.is_affected(affected_by(versions=["1.0.0"]), Version("1"))
    assert not matching.is_affected(affected_by(versions=["1.0.1"]), Version("1.0.10"))


def test_ranges_of_commits_say_nothing_about_versions() -> None:
    assert not matching.is_affected(affected_by({"introduced": "0"}, kind="GIT"), Version("1"))


def test_an_event_that_is_no_version_does_not_hide_the_vulnerability() -> None:
    entry = affected_by({"introduced": "long ago"}, {"fixed": "soon"})
    assert matching.is_affected(entry, Version("1.0"))


def test_a_vulnerability_is_told_with_what_fixes_it() -> None:
    (each,) = found("1.5", advisory())
    assert (each.id, each.aliases, each.fixed) == ("GHSA-aaaa-bbbb-cccc", ("CVE-2026-1",), "2.0")
    assert each.summary == "It does what it should not."


def test_names_are_compared_in_their_canonical_form() -> None:
    assert found("1.5", advisory(), name="Some.Package")


def test_what_was_withdrawn_counts_no_more() -> None:
    assert found("1.5", advisory(withdrawn="2026-11-02T00:00:00Z")) == []


def test_one_vulnerability_under_several_names_is_told_once() -> None:
    own = advisory(id="PYSEC-2026-7", aliases=["CVE-2026-1"], summary="")
    third = advisory(id="CVE-2026-1", aliases=["BIT-1"], database_specific={"severity": "HIGH"})
    other = advisory(id="GHSA-zzzz-zzzz-zzzz", aliases=[])
    told = found("1.5", own, third, advisory(), other)
    assert [each.id for each in told] == ["GHSA-aaaa-bbbb-cccc", "GHSA-zzzz-zzzz-zzzz"]
    assert told[0].aliases == ("BIT-1", "CVE-2026-1", "PYSEC-2026-7")
    assert told[0].severity == "high"


NONSENSE: list[dict[str, Any]] = [
    {"aliases": 7},
    {"summary": ["a"]},
    {"summary": "\x1b[2J" + "x" * 10_000},
    {"severity": "HIGH"},
    {"severity": [7, {"score": 7}, {"type": "CVSS_V3", "score": "CVSS:3.1/AV:X"}]},
    {"database_specific": []},
]


@pytest.mark.parametrize("changes", NONSENSE, ids=range(len(NONSENSE)))
def test_nonsense_beside_the_versions_does_no_harm(changes: dict[str, Any]) -> None:
    (each,) = found("1.5", advisory(**changes))
    assert each.id
    assert each.summary.isprintable()
    assert len(each.summary) <= 160


@pytest.mark.parametrize(
    "ranges", [7, [7], [{"type": "ECOSYSTEM", "events": 7}], [{"type": "ECOSYSTEM"}], None]
)
def test_nonsense_in_place_of_ranges_does_no_harm(ranges: object) -> None:
    entry = {"package": {"ecosystem": "PyPI", "name": "some-package"}, "ranges": ranges, "versions": ["1.5"]}
    assert found("1.5", advisory(affected=[entry]))
    assert not found("1.6", advisory(affected=[entry]))


SCORES = {
    "CVSS:3.1/AV:N/AC:L/PR:N/UI:N/S:U/C:H/I:H/A:H": (9.8, "critical"),
    "CVSS:3.1/AV:N/AC:L/PR:N/UI:N/S:C/C:H/I:H/A:H": (10.0, "critical"),
    "CVSS:3.1/AV:N/AC:L/PR:N/UI:R/S:C/C:L/I:L/A:N": (6.1, "medium"),
    "CVSS:3.0/AV:L/AC:H/PR:H/UI:R/S:U/C:L/I:N/A:N": (1.8, "low"),
    "CVSS:3.1/AV:N/AC:L/PR:N/UI:N/S:U/C:N/I:N/A:H": (7.5, "high"),
    "CVSS:3.1/AV:N/AC:L/PR:N/UI:N/S:U/C:N/I:N/A:N": (0.0, "unknown"),
}


@pytest.mark.parametrize("vector", SCORES)
def test_scores_are_those_of_the_specification(vector: str) -> None:
    score, level = SCORES[vector]
    assert severity.base_score(vector) == pytest.approx(score)
    assert severity.of({"severity": [{"type": "CVSS_V3", "score": vector}]}) == level
