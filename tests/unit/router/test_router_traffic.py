from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from modeldeploy.model import RevisionId, Traffic
from modeldeploy.router.traffic import decode, encode

ONE = RevisionId("1.0.0-3f2a9c1b")
TWO = RevisionId("2.0.0-rc.1-00ff00ff")

revisions = st.text("abcdefghijklmnopqrstuvwxyz0123456789.-", min_size=1, max_size=40).map(RevisionId)


@st.composite
def traffics(draw: st.DrawFn) -> Traffic:
    names = draw(st.lists(revisions, unique=True, max_size=4))
    cuts = (
        sorted(draw(st.lists(st.integers(0, 100), min_size=len(names) - 1, max_size=len(names) - 1)))
        if names
        else []
    )
    shares = [upper - lower for lower, upper in zip([0, *cuts], [*cuts, 100], strict=True)]
    weights = dict(zip(names, shares, strict=True)) if names else {}
    stable = draw(st.none() | revisions)
    return Traffic(weights, stable, tuple(draw(st.lists(revisions, max_size=3))))


def test_the_line_has_the_documented_form() -> None:
    traffic = Traffic({TWO: 5, ONE: 95}, stable=ONE, fallback=(TWO, ONE))
    assert encode(7, traffic) == f"7;w={ONE}:95,{TWO}:5;s={ONE};f={TWO},{ONE}"
    assert encode(0, Traffic()) == "0;w=;s=;f="


@given(generation=st.integers(0, 2**63), traffic=traffics())
def test_what_was_encoded_is_decoded(generation: int, traffic: Traffic) -> None:
    assert decode(encode(generation, traffic)) == (generation, traffic)


@given(traffic=traffics())
def test_equal_traffic_has_equal_lines(traffic: Traffic) -> None:
    backwards = Traffic(dict(reversed(list(traffic.weights.items()))), traffic.stable, traffic.fallback)
    assert encode(1, backwards) == encode(1, traffic)


@given(line=st.text(max_size=60) | st.text("0123456789;w=sf:,.-abc", max_size=60))
def test_any_other_text_is_refused_with_a_clear_error(line: str) -> None:
    try:
        generation, traffic = decode(line)
    except ValueError as error:
        assert str(error)  # noqa: PT017  what is decoded needs no error
    else:
        assert decode(encode(generation, traffic)) == (generation, traffic)


@pytest.mark.parametrize(
    "line",
    [
        "",
        "by hand",
        "7",
        "-1;w=;s=;f=",
        "7;w=a:50;s=;f=",
        "7;w=a:50,a:50;s=;f=",
        "7;w=a:+100;s=;f=",
        "7;w=a:\u0661\u0660\u0660;s=;f=",
        "7;w=A:100;s=;f=",
        "7;w=a:100;s=;f=,",
        "7;w=a:100;s=;f=\n",
        "7;w=a:100;f=;s=",
    ],
)
def test_a_line_that_nobody_here_wrote_is_refused(line: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        decode(line)


@pytest.mark.parametrize("name", ["", "a;b", "a:b", "a,b", "A", "a_b", "a b", "ä"])
def test_a_revision_that_would_break_the_line_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match="revision id"):
        encode(1, Traffic(stable=RevisionId(name)))
