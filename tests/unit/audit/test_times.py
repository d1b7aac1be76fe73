"""Times as people write them, with the zone always said."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest

from modeldeploy.audit.times import parse, show
from modeldeploy.errors import ConfigError

NOW = 1_800_000_000.0


@pytest.fixture
def in_berlin(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("TZ", "Europe/Berlin")
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


@pytest.mark.parametrize(
    ("text", "before"),
    [
        ("now", 0),
        ("2h ago", 7200),
        ("90 min ago", 5400),
        ("1d 2h ago", 93_600),
        ("30s ago", 30),
        ("5m ago", 300),
    ],
)
def test_how_long_ago_is_understood(text: str, before: float) -> None:
    assert parse(text, NOW) == NOW - before


@pytest.mark.usefixtures("in_berlin")
def test_a_time_without_a_zone_is_local_by_the_rules_of_that_day() -> None:
    assert parse("2026-11-22 14:00", NOW) == parse("2026-11-22T13:00:00Z", NOW)
    assert parse("2026-07-01 14:00", NOW) == parse("2026-07-01T12:00:00+00:00", NOW)
    assert parse("2026-11-22", NOW) == parse("2026-11-21T23:00:00Z", NOW)


@pytest.mark.usefixtures("in_berlin")
def test_a_time_is_shown_with_its_zone_and_in_utc() -> None:
    assert show(parse("2026-11-22T13:00:00Z", NOW)) == "2026-11-22 14:00:00 +0100 (2026-11-22 13:00:00 UTC)"


@pytest.mark.parametrize(
    "text", ["", "yesterday", "ago", "2 weeks ago", "25:00", "-1h ago", "9" * 400, "2026-13-01"]
)
def test_what_is_no_time_is_refused_with_what_would_be_one(text: str) -> None:
    with pytest.raises(ConfigError, match="is no time; expected ISO 8601"):
        parse(text, NOW)
