import pytest
from hypothesis import given
from hypothesis import strategies as st

from modeldeploy.config import durations


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("10s", 10.0),
        ("50ms", 0.05),
        ("2m", 120.0),
        ("1h", 3600.0),
        ("1.5s", 1.5),
        ("1h30m", 5400.0),
        ("1m30s", 90.0),
        ("1s500ms", 1.5),
        ("168h", 604800.0),
    ],
)
def test_reads_lengths_of_time_with_a_unit(text: str, seconds: float) -> None:
    assert durations.parse(text) == seconds


@pytest.mark.parametrize(
    "text",
    [
        "",
        "10",
        "s",
        "10 s",
        "-1s",
        "1s1s",
        "1s1m",
        "1d",
        "10S",
        "1e3s",
        "0s",
        "0ms",
        "169h",
        "10s\n",
        "\u0661s",
        "9" * 50 + "s",
    ],
)
def test_refuses_everything_else(text: str) -> None:
    with pytest.raises(ValueError, match="duration"):
        durations.parse(text)


@given(st.integers(1, 604_800_000))
def test_reads_back_what_it_shows(milliseconds: int) -> None:
    seconds = milliseconds / 1000
    assert durations.parse(durations.show(seconds)) == pytest.approx(seconds)
