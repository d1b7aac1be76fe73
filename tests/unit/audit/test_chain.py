"""The chain: any change of the log is found, and the entry is named."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from modeldeploy.audit.chain import Broken, Entry, Head, Intact, Record, chain, genesis, lines_of, verify
from modeldeploy.model import BundleRef
from modeldeploy.oci.descriptor import digest_of

BUNDLE = BundleRef("digits", "1.0.0", "sha256:" + "a" * 64)


def record(number: int) -> Record:
    return Record(
        id=f"{number:024x}",
        at=1_700_000_000.25 + number,
        kind="deploy",
        by="ada@laptop",
        command=f"mdeploy deploy prod --note 'zweiundvierzig, {number} \u2013 \udcff'",
        project="digits",
        target="prod",
        bundle=BUNDLE,
        revision="1.0.0-0a0a0a0a",
        data={"outcome": "promoted", "seconds": 1.5, "traffic": [{"weights": {"a": 100}}]},
    )


def a_log(entries: int) -> tuple[list[bytes], Head]:
    return chain([record(number) for number in range(entries)], Head(0, genesis("digits")))


LINES, HEAD = a_log(7)
CONTENT = b"\n".join(LINES) + b"\n"


def broken(lines: list[bytes], head: Head | None = HEAD, seen: tuple[Head, ...] = ()) -> Broken:
    found = verify(lines, "digits", head, seen)
    assert isinstance(found, Broken)
    assert f"line {found.line}" in found.message
    return found


def test_a_log_that_nobody_touched_is_intact() -> None:
    assert verify(LINES, "digits", HEAD, [HEAD, Head(3, verify_head(3))]) == Intact(7, HEAD)
    assert verify([], "digits") == Intact(0, Head(0, genesis("digits")))


def verify_head(entries: int) -> str:
    found = verify(LINES[:entries], "digits")
    assert isinstance(found, Intact)
    return found.head.digest


def test_an_entry_is_read_as_it_was_written() -> None:
    entry = Entry.from_line(LINES[2])
    assert (entry.n, entry.record) == (3, record(2))
    assert entry.to_line() == LINES[2]


@given(at=st.integers(0, len(CONTENT) - 1), byte=st.integers(0, 255))
def test_any_edit_of_any_byte_is_found_and_located(at: int, byte: int) -> None:
    if CONTENT[at] == byte:
        return
    edited = CONTENT[:at] + bytes([byte]) + CONTENT[at + 1 :]
    found = broken(lines_of(edited))
    assert (found.what, found.line) == ("changed", CONTENT[:at].count(b"\n") + 1)
    assert found.expected != found.found


@given(data=st.data(), size=st.integers(1, 30))
def test_any_entries_taken_out_are_found_and_named(data: st.DataObject, size: int) -> None:
    lines, head = a_log(size)
    first = data.draw(st.integers(1, size))
    last = data.draw(st.integers(first, size))
    found = broken(lines[: first - 1] + lines[last:], head)
    assert (found.what, found.first, found.last) == ("cut" if last == size else "removed", first, last)
    assert found.line == first


@given(data=st.data(), size=st.integers(2, 20))
def test_any_two_entries_swapped_are_found_and_the_first_of_them_is_named(
    data: st.DataObject, size: int
) -> None:
    lines, head = a_log(size)
    one = data.draw(st.integers(0, size - 2))
    other = data.draw(st.integers(one + 1, size - 1))
    lines[one], lines[other] = lines[other], lines[one]
    found = broken(lines, head)
    assert (found.what, found.line, found.first) == ("moved", one + 1, other + 1)


@given(place=st.integers(0, 7), copied=st.integers(0, 6))
def test_a_copied_entry_is_found(place: int, copied: int) -> None:
    found = broken([*LINES[:place], LINES[copied], *LINES[place:]])
    # Which of two equal lines side by side is the copy, nobody can tell; before its original it looks moved.
    assert (found.what, found.line) in {
        ("inserted", place + 1),
        ("inserted", place + 2),
        ("moved", place + 1),
    }


@given(place=st.integers(1, 6))
def test_an_entry_that_is_forged_and_chained_to_the_one_before_is_found(place: int) -> None:
    forged, _ = chain([replace(record(99), by="eve@x")], Head(place, verify_head(place)))
    found = broken([*LINES[:place], *forged, *LINES[place:]])
    assert (found.what, found.line, found.first) == ("inserted", place + 1, place + 1)


def test_an_entry_put_behind_the_end_is_found() -> None:
    forged, _ = chain([record(99)], HEAD)
    found = broken([*LINES, *forged])
    assert (found.what, found.line) == ("inserted", 8)


def test_a_log_that_was_rewritten_from_an_entry_on_is_found_by_who_saw_it_before() -> None:
    rewritten, head = chain([replace(record(4), by="eve@x"), record(5), record(6)], Head(4, verify_head(4)))
    lines = [*LINES[:4], *rewritten]
    assert isinstance(verify(lines, "digits", head), Intact)
    seen = tuple(Head(n, verify_head(n)) for n in (2, 4, 6))
    found = broken(lines, head, seen)
    assert (found.what, found.first, found.last) == ("rewritten", 5, 6)
    assert "as seen before" in found.message


def test_a_log_that_was_cut_and_given_a_fitting_head_is_found_by_who_saw_it_before() -> None:
    head = Head(5, verify_head(5))
    assert isinstance(verify(LINES[:5], "digits", head), Intact)
    found = broken(LINES[:5], head, (HEAD,))
    assert (found.what, found.line, found.first, found.last) == ("cut", 6, 6, 7)


def test_another_projects_log_does_not_pass() -> None:
    found = verify(LINES, "letters", HEAD)
    assert isinstance(found, Broken)
    assert (found.what, found.line) == ("changed", 1)


@pytest.mark.parametrize(
    "line",
    [b"", b"{}", b"[1]", b"null", b"\xff", b"[" * 100_000, b'{"n":NaN}', b"1" * 5000, b'{"n":1,"n":1}'],
)
def test_nonsense_is_no_entry(line: bytes) -> None:
    with pytest.raises(ValueError, match=r"."):
        Entry.from_line(line)
    found = broken([*LINES[:2], line, *LINES[2:]])
    assert (found.what, found.line) == ("inserted", 3)


def test_entries_are_numbered_from_one_and_each_holds_the_digest_of_the_line_before() -> None:
    entries = [Entry.from_line(line) for line in LINES]
    assert [entry.n for entry in entries] == [1, 2, 3, 4, 5, 6, 7]
    assert entries[0].previous == genesis("digits")
    for line, entry in zip(LINES, entries[1:], strict=False):
        assert entry.previous == digest_of(line)
