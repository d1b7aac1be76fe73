"""The language of rules: what it takes, what it refuses and where, and that it means what it says."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from modeldeploy.serving.graph.choose import holds
from modeldeploy.serving.graph.rules import (
    All,
    Comparison,
    Not,
    Rule,
    RuleError,
    Some,
    comparisons,
    parse_rule,
)
from modeldeploy.serving.problems import BadInput

ROWS: Mapping[str, Any] = {
    "age": np.array([3, 18, 40, 70]),
    "income": np.array([[0.0], [np.nan], [5.5], [-1.0]], dtype="float32"),
    "country": np.array(["FR", "DE", "FR", "IT"], dtype=object),
    "member": np.array([True, False, True, False]),
    "x": np.arange(8).reshape(4, 2),
    "serving_default_x:0": np.array([1, 2, 3, 4]),
}


@pytest.mark.parametrize(
    ("rule", "expected"),
    [
        ("age < 18", [1, 0, 0, 0]),
        ("18 > age", [1, 0, 0, 0]),
        ("age >= 18 and country == 'FR'", [0, 0, 1, 0]),
        ('country != "FR"', [0, 1, 0, 1]),
        ("member == true", [1, 0, 1, 0]),
        ("not member == true or age == 3", [1, 1, 0, 1]),
        ("age == 3 or age == 18 and member == true", [1, 0, 0, 0]),
        ("(age == 3 or age == 18) and member == false", [0, 1, 0, 0]),
        ("income > -2", [1, 0, 1, 1]),
        ("income != 0", [0, 1, 1, 1]),
        ("x[1] >= 3", [0, 1, 1, 1]),
        ("`serving_default_x:0` <= +2.5e0", [1, 1, 0, 0]),
        ("not (not age < .5e2)", [1, 1, 1, 0]),
    ],
)
def test_a_rule_holds_for_its_rows(rule: str, expected: list[int]) -> None:
    assert holds(parse_rule(rule), ROWS, 4).tolist() == [bool(value) for value in expected]


@pytest.mark.parametrize(
    ("rule", "column", "says"),
    [
        ("", 1, "the rule ends here; expected an input"),
        ("age", 4, "the rule ends here; expected one of < <= > >= == !="),
        ("age = 18", 5, "'=' means nothing here; expected a comparison"),
        ("age < 18 && x < 1", 10, "'&&' means nothing here"),
        ("age < 18 AND x < 1", 10, "'AND' cannot stand here; expected and, or, or nothing more"),
        ("age < 18 extra", 10, "'extra' cannot stand here"),
        ("(age < 18", 10, "the rule ends here; expected the ) that belongs to the ( in column 1"),
        ("age < )", 7, "')' cannot stand here; expected an input, a number"),
        ("name == 'x", 9, "the ' is never closed"),
        ("3 < 4", 1, "two constants are compared"),
        ("age < income", 1, "two inputs are compared with each other; expected an input and a constant"),
        ("x[-1] < 3", 3, "'-1' cannot stand here; expected the number of a column"),
        ("x[1.5] < 3", 3, "'1.5' cannot stand here"),
        ("x[1 < 3", 5, "'<' cannot stand here; expected ]"),
        ("age < 1e999", 7, "infinite"),
        ("age < 18years", 7, "means nothing here"),
        ("__import__('os').system('true')", 11, "'(' cannot stand here"),
        ("age.real < 3", 4, "'.' means nothing here"),
        ("age < -x", 7, "means nothing here"),
        ("and < 3", 1, "'and' cannot stand here"),
        ("not " * 30 + "age < 3", 81, "more than 20 parentheses and nots"),
        ("age < 1 or " * 200 + "age < 1", 1000, "longer than 1000"),
    ],
)
def test_what_is_no_rule_is_refused_with_the_column(rule: str, column: int, says: str) -> None:
    with pytest.raises(RuleError) as caught:
        parse_rule(rule)
    assert caught.value.column == column
    assert says in str(caught.value)


def test_a_slip_of_another_language_is_answered_with_the_right_word() -> None:
    slips = {
        "a = 1": "==",
        "a < 1 && b < 1": "and",
        "a < 1 || b < 1": "or",
        "a => 1": ">=",
        "a < 1 OR b < 1": "or",
    }
    for rule, right in slips.items():
        with pytest.raises(RuleError) as caught:
            parse_rule(rule)
        assert caught.value.nearest == right, rule


@pytest.mark.parametrize(
    ("rule", "arrays"),
    [
        ("x < 3", {"x": np.zeros((2, 3))}),
        ("x[3] < 3", {"x": np.zeros((2, 3))}),
        ("x[0] < 3", {"x": np.zeros(2)}),
    ],
)
def test_an_input_without_one_value_in_each_row_is_the_clients_fault(
    rule: str, arrays: dict[str, Any]
) -> None:
    with pytest.raises(BadInput, match="x decides which model answers") as caught:
        holds(parse_rule(rule), arrays, 2)
    assert caught.value.field == "x"


names = st.sampled_from(["age", "size", "_x1", "größe", "not", "odd name", "a:b", "true"])
constants = st.one_of(
    st.integers(-(10**17), 10**17),
    st.floats(allow_nan=False, allow_infinity=False),
    st.booleans(),
    st.text("ab'é 0(", max_size=5),
)
leaves: st.SearchStrategy[Rule] = st.builds(
    Comparison,
    names,
    st.none() | st.integers(0, 99),
    st.sampled_from(["<", "<=", ">", ">=", "==", "!="]),
    constants,
)
rules = st.recursive(
    leaves,
    lambda inner: st.one_of(
        st.builds(Not, inner),
        st.builds(All, st.lists(inner, min_size=2, max_size=3).map(tuple)),
        st.builds(Some, st.lists(inner, min_size=2, max_size=3).map(tuple)),
    ),
    max_leaves=6,
)


def plain(rule: Rule) -> object:
    """A rule without the columns of its text."""
    if isinstance(rule, Comparison):
        return (rule.name, rule.column, rule.operator, type(rule.constant), rule.constant)
    if isinstance(rule, Not):
        return ("not", plain(rule.inner))
    return (type(rule).__name__, *map(plain, rule.parts))


@given(rules)
@settings(max_examples=150, deadline=None)
def test_every_rule_that_is_written_down_is_read_back_the_same(rule: Rule) -> None:
    text = str(rule)
    if len(text) <= 1000:
        assert plain(parse_rule(text)) == plain(rule)


@given(st.text(st.sampled_from("abx0 19.<>=!()[]'\"`\tandortru_-+eé&|\n\x00"), max_size=40))
@settings(max_examples=150, deadline=None)
def test_any_text_is_a_rule_or_is_refused_in_its_columns(text: str) -> None:
    column = 1
    found: list[Comparison] | None = None
    try:
        found = [*comparisons(parse_rule(text))]
    except RuleError as error:
        column = error.column
    assert 1 <= column <= len(text) + 1
    assert found is None or found


@given(rules)
@settings(max_examples=150, deadline=None)
def test_rules_are_evaluated_as_python_evaluates_them(rule: Rule) -> None:
    """The same as plain Python on every single row."""
    columns = np.array([[0.5, -3.0], [7.0, 1e17], [0.0, 12.0]])
    arrays = dict.fromkeys(["age", "size", "_x1", "größe", "not", "odd name", "a:b", "true"], columns)
    numeric = all(isinstance(one.constant, int | float) and one.column in (0, 1) for one in comparisons(rule))
    if numeric:
        expected = [by_hand(rule, row) for row in columns.tolist()]
        assert holds(rule, arrays, 3).tolist() == expected


def by_hand(rule: Rule, row: list[float]) -> bool:
    if isinstance(rule, Comparison):
        value, constant = row[rule.column or 0], rule.constant
        assert isinstance(constant, int | float)
        return {
            "<": value < constant,
            "<=": value <= constant,
            ">": value > constant,
            ">=": value >= constant,
            "==": value == constant,
            "!=": value != constant,
        }[rule.operator]
    if isinstance(rule, Not):
        return not by_hand(rule.inner, row)
    parts = [by_hand(part, row) for part in rule.parts]
    return all(parts) if isinstance(rule, All) else any(parts)
