"""Whose approvals count."""

from __future__ import annotations

from audit_records import record
from modeldeploy.audit.chain import Entry
from modeldeploy.ops.evidence import approvals_in


def approved(number: int, by: str, *, revoked: bool = False, target: str = "prod") -> Entry:
    return Entry(number, record(number, kind="approve", by=by, data={"for": target, "revoked": revoked}), "")


def people(*entries: Entry) -> tuple[list[str], tuple[str, ...]]:
    approvals, discounted = approvals_in(entries, "prod")
    return [approval.by for approval in approvals], discounted


def test_two_people_are_two() -> None:
    assert people(approved(1, "ada@laptop"), approved(2, "grace@github")) == (
        ["ada@laptop", "grace@github"],
        (),
    )


def test_one_person_on_two_machines_is_one() -> None:
    counted, discounted = people(approved(1, "root@laptop"), approved(2, "Root@desk"))
    assert counted == ["root@laptop"]
    assert discounted == ("Root@desk is the name of root@laptop (entry 2)",)


def test_an_approval_that_was_taken_back_and_one_for_another_target_do_not_count() -> None:
    counted, discounted = people(
        approved(1, "ada@laptop"),
        approved(2, "ada@laptop", revoked=True),
        approved(3, "grace@github", target="staging"),
    )
    assert counted == []
    assert discounted == ("ada@laptop took it back (entry 2)",)
