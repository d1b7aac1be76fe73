"""Values as people read them."""

from __future__ import annotations

import pytest

from modeldeploy.cli import text
from modeldeploy.cli.jsonlines import plain
from modeldeploy.model import BundleRef, Level, Sealed


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [
        (0.04, "0.0 s"),
        (0.34, "0.3 s"),
        (9.96, "10 s"),
        (59.6, "1 min 0 s"),
        (123, "2 min 3 s"),
        (3900, "1 h 5 min"),
    ],
)
def test_durations(seconds: float, shown: str) -> None:
    assert text.duration(seconds) == shown


@pytest.mark.parametrize(
    ("seconds", "shown"), [(-5, "0 s"), (59, "59 s"), (61, "1 min"), (7300, "2 h"), (200000, "2 d")]
)
def test_ages(seconds: float, shown: str) -> None:
    assert text.age(seconds) == shown


@pytest.mark.parametrize(
    ("value", "unit", "shown"),
    [
        (0.198, "share", "19.8 %"),
        (0.0, "share", "0 %"),
        (0.0123, "s", "12.3 ms"),
        (12.0, "s", "12 s"),
        (1.25, "x", "1.25 x"),
        (12345.0, "requests", "12 345"),
        (None, "share", "-"),
    ],
)
def test_numbers_of_gates(value: float | None, unit: str, shown: str) -> None:
    assert text.number(value, unit) == shown


def test_a_hostile_log_line_does_nothing_to_the_terminal() -> None:
    line = "\x1b]0;owned\x07\x1b[2J\x1b[31mred\x1b[0m\x07 \u202etxet\x9b1m\rback\ttab"

    assert text.clean(line).split() == ["red", "txet1mback", "tab"]
    assert not any(ord(sign) < 32 or 127 <= ord(sign) < 160 for sign in text.clean(line))


def test_tables_align_words_left_and_numbers_right() -> None:
    assert text.table(("NAME", "WEIGHT"), [("a", "5 %"), ("longer", "100 %")]) == [
        "NAME    WEIGHT",
        "a          5 %",
        "longer   100 %",
    ]


def test_values_become_json_and_secrets_do_not() -> None:
    told = plain(
        {"ref": BundleRef("a", "1", "sha256:0"), "level": Level.OK, "env": Sealed({"KEY": "hunter2"})}
    )

    assert told == {
        "ref": {"name": "a", "version": "1", "digest": "sha256:0"},
        "level": "ok",
        "env": {"KEY": "***"},
    }


def test_an_endless_bucket_is_null_because_json_has_no_infinity() -> None:
    assert plain((1.0, float("inf"), float("nan"))) == [1.0, None, None]


def test_a_value_without_a_json_form_is_refused_rather_than_guessed() -> None:
    with pytest.raises(TypeError, match="has no form in JSON"):
        plain(object())


def test_a_structured_log_line_is_told_in_words() -> None:
    trace = 'Traceback (most recent call last):\\n  File \\"service.py\\", line 29\\nRuntimeError: no store'
    line = f'{{"time": "x", "level": "error", "message": "Exception on /predict", "traceback": "{trace}"}}'
    told = text.log_line(line)
    assert told == 'error   Exception on /predict: RuntimeError: no store (File "service.py", line 29)'


def test_any_other_log_line_is_told_as_it_is() -> None:
    assert text.log_line("plain \x1b[31mred") == "plain red"
    assert text.log_line('{"odd": 1}') == '{"odd": 1}'
