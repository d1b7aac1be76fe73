"""Users send requests all the time, and versions come and go: nobody's request is lost."""

from __future__ import annotations

from collections import Counter

import pytest

from modeldeploy.testing.load import Report
from story_project import Story

pytestmark = pytest.mark.story

ENOUGH = 20_000
KEEP_ALIVE, FRESH = 4, 2
"""Users who keep their connection open, and users who open a new one for each request."""


def test_no_request_is_lost_in_canary_promotion_and_rollback(user: Story) -> None:
    user.init()
    user.hurry(steps="[5, 25, 50]", soak="2s", requests=50)
    user.deploy()
    user.second_model()
    user.build("build --bump minor")
    seen: list[Report] = []
    while sum(report.sent for report in seen) < ENOUGH:
        with user.users(keep_alive=KEEP_ALIVE, fresh=FRESH, pause=0.0) as load:
            assert user.deploy()["result"] == "promoted"
            assert user.ask("rollback local").result["result"] == "rolled-back"
        seen.append(load.report)
    tell(seen)
    assert [report.failures for report in seen] == [{}] * len(seen)
    assert all(len(report.versions) == 2 for report in seen), "both versions answered each time"


def tell(seen: list[Report]) -> None:
    """The numbers, for whoever runs this with ``-s``."""
    versions: Counter[str] = Counter()
    for report in seen:
        versions.update(report.versions)
    seconds = sum(report.seconds for report in seen)
    slowest = max(report.latencies["max"] for report in seen)
    print(
        f"\n{versions.total()} requests in {seconds:.0f} s over {len(seen)} rollouts and rollbacks, "
        f"{sum(report.failed for report in seen)} lost, slowest {1000 * slowest:.0f} ms; {dict(versions)}"
    )
