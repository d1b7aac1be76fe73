"""What fits together, what a graph takes and gives, and how both ends are named where it does not fit."""

from __future__ import annotations

from typing import Any

import pytest

from graph_place import model, shown, specs, tensor
from modeldeploy.serving.graph import form
from modeldeploy.serving.graph.wiring import Wired, wire
from modeldeploy.serving.spec import SpecError, TensorSpec

SCALER = model([tensor("raw")], [tensor("variable")])
CLASSIFIER = model([tensor("features")], [tensor("label", "int64", ["batch"]), tensor("probability")])


def wired(models: dict[str, dict[str, Any]], graph: dict[str, Any], *said: TensorSpec, **more: Any) -> Wired:
    return wire(form.read(graph, list(models)), specs(models), said, **more)


def chained(*models: dict[str, Any], connect: dict[str, str] | None = None) -> Wired:
    named = dict(zip("abcdef", models, strict=False))
    return wired(named, {"kind": "chain", "models": list(named), "connect": connect or {}})


def test_the_only_output_goes_to_the_only_input() -> None:
    chain = chained(SCALER, CLASSIFIER)
    assert chain.sources == {"a.raw": "raw", "b.features": "a.variable"}
    assert shown(chain.inputs) == ["raw float32 [batch, 3]"]
    assert shown(chain.outputs) == ["label int64 [batch]", "probability float32 [batch, 3]"]


def test_equal_names_are_connected_to_the_latest_model_that_has_them() -> None:
    middle = model([tensor("variable")], [tensor("variable"), tensor("other")])
    last = model([tensor("variable"), tensor("other")], [tensor("y")])
    chain = chained(SCALER, middle, last)
    assert chain.sources["c.variable"] == "b.variable"
    assert chain.sources["b.variable"] == "a.variable"


def test_connect_decides_and_may_name_an_input_of_the_service() -> None:
    two = model([tensor("features"), tensor("age", "int64", ["n"])], [tensor("y")])
    chain = chained(SCALER, two, connect={"b.features": "a.variable", "b.age": "age"})
    assert shown(chain.inputs) == ["raw float32 [batch, 3]", "age int64 [batch]"]


def test_numbers_are_widened_within_their_kind() -> None:
    wide = model([tensor("x", "float64")], [tensor("y")])
    assert chained(SCALER, wide).sources["b.x"] == "a.variable"


@pytest.mark.parametrize(
    ("models", "connect", "says"),
    [
        (
            (SCALER, model([tensor("x", "int64")], [tensor("y")])),
            {},
            "a.variable (float32 [batch, 3]) does not fit b.x (int64 [batch, 3]): float32 is not int64",
        ),
        (
            (SCALER, model([tensor("x", shape=["n", 4])], [tensor("y")])),
            {},
            "a.variable (float32 [batch, 3]) does not fit b.x (float32 [n, 4]): a size of 3 is not 4",
        ),
        ((SCALER, model([tensor("x", shape=["n"])], [tensor("y")])), {}, "2 dimensions are not 1"),
        (
            (model([tensor("x")], [tensor("p", "sequence(map(int64,float32))", None)]), CLASSIFIER),
            {},
            "is no tensor (export the model without ZipMap)",
        ),
        (
            (SCALER, model([tensor("x"), tensor("y")], [tensor("z")])),
            {},
            "nothing says what 'b.x' gets: a gives variable, none of that name; connect = {",
        ),
        (
            (SCALER, CLASSIFIER),
            {"b.feature": "a.variable"},
            "the input 'b.feature'; did you mean 'b.features'?",
        ),
        (
            (SCALER, CLASSIFIER),
            {"b.features": "a.varable"},
            "no model before it gives; did you mean 'a.variable'?",
        ),
        (
            (SCALER, CLASSIFIER),
            {"a.raw": "b.label"},
            "'a.raw' gets 'b.label', which no model before it gives",
        ),
        (
            (
                model([tensor("x", shape=[2, 3])], [tensor("y", shape=[2, 3])]),
                model([tensor("z")], [tensor("w")]),
                model([tensor("v", shape=[5, 3])], [tensor("u")]),
            ),
            {},
            "rows, and",
        ),
    ],
)
def test_what_does_not_fit_is_told_with_both_ends(models: Any, connect: dict[str, str], says: str) -> None:
    with pytest.raises(SpecError) as caught:
        chained(*models, connect=connect)
    assert says in str(caught.value)


def test_a_part_that_takes_one_row_makes_the_whole_chain_take_one() -> None:
    alone = model([tensor("x", shape=[1, 3])], [tensor("y", shape=[1, 3])])
    assert shown(chained(SCALER, alone).inputs) == ["raw float32 [1, 3]"]
    after = chained(SCALER, alone, model([tensor("z")], [tensor("w")]))
    assert shown(after.outputs) == ["w float32 [1, 3]"]
    reducing = model([tensor("x")], [tensor("y", shape=[1, 3])])
    assert shown(chained(reducing, SCALER).outputs) == ["variable float32 [1, 3]"]


MEMBER = model([tensor("x", minimum=0)], [tensor("label", "int64", ["batch"]), tensor("probability")])


def ensemble(combine: str, *members: dict[str, Any], **more: Any) -> Wired:
    named = dict(zip("abcdef", members, strict=False))
    return wired(named, {"kind": "ensemble", "models": list(named), "combine": combine, **more})


def test_an_ensemble_gives_what_can_be_combined() -> None:
    assert shown(ensemble("mean", MEMBER, MEMBER).outputs) == ["probability float32 [batch, 3]"]
    assert shown(ensemble("vote", MEMBER, MEMBER).outputs) == ["label int64 [batch]"]
    weighted = ensemble("weighted", MEMBER, MEMBER, weights=[1, 2], outputs=["probability"])
    assert shown(weighted.outputs) == ["probability float32 [batch, 3]"]


def test_an_ensemble_takes_every_input_once_and_its_narrowest_range() -> None:
    other = model(
        [tensor("x", shape=["n", 3], maximum=9, minimum=-1), tensor("age", "int64", ["n"])], MEMBER["outputs"]
    )
    inputs = ensemble("mean", MEMBER, other).inputs
    assert shown(inputs) == ["x float32 [batch, 3]", "age int64 [batch]"]
    assert (inputs[0].minimum, inputs[0].maximum) == (0, 9)


def test_a_value_may_be_missing_only_where_all_who_get_it_allow_that() -> None:
    gaps = model([tensor("x", nan=True)], MEMBER["outputs"])
    assert not ensemble("mean", gaps, MEMBER).inputs[0].nan
    assert ensemble("mean", gaps, gaps).inputs[0].nan
    graph = {"kind": "ensemble", "models": ["a", "b"]}
    said = TensorSpec("x", "float32", ("n", 3), nan=True)
    assert wired({"a": gaps, "b": gaps}, graph, said).inputs[0].nan
    with pytest.raises(SpecError, match="none of their values may be missing"):
        wired({"a": gaps, "b": MEMBER}, graph, said)


@pytest.mark.parametrize(
    ("combine", "other", "more", "says"),
    [
        ("mean", model([tensor("x", "int64")], MEMBER["outputs"]), {}, "take 'x' in two forms"),
        ("mean", MEMBER, {"outputs": ["label"]}, "a.label is int64, so mean of label is not possible"),
        ("vote", MEMBER, {"outputs": ["probability"]}, "a.probability is float32, so vote of"),
        ("mean", MEMBER, {"outputs": ["probabilty"]}, "has 'probabilty'; did you mean 'probability'?"),
        ("mean", model([tensor("x")], [tensor("y")]), {}, "there is nothing to combine by mean"),
        ("mean", model([tensor("x")], [tensor("y")]), {"outputs": ["y"]}, "a.y is not there"),
        (
            "mean",
            model([tensor("x")], [tensor("probability", shape=["batch", 4])]),
            {},
            "b.probability (float32 [batch, 4]) and a.probability (float32 [batch, 3]) are not alike",
        ),
    ],
)
def test_members_that_are_not_alike_are_told(combine: str, other: Any, more: Any, says: str) -> None:
    with pytest.raises(SpecError) as caught:
        ensemble(combine, MEMBER, other, **more)
    assert says in str(caught.value)


PERSON = model(
    [tensor("x"), tensor("age", "int64", ["batch"]), tensor("country", "string", ["batch", 1])], [tensor("y")]
)


def choose(when: str, *said: TensorSpec, other: dict[str, Any] = PERSON) -> Wired:
    graph = {"kind": "choose", "rules": [{"when": when, "model": "a"}], "default": "b"}
    return wired({"a": other, "b": PERSON}, graph, *said)


def test_a_choice_takes_all_inputs_and_gives_what_all_models_give() -> None:
    small = model([tensor("x")], [tensor("extra"), tensor("y")])
    choice = choose("age < 18 and country == 'FR' and x[2] > 0", other=small)
    assert [one.name for one in choice.inputs] == ["x", "age", "country"]
    assert shown(choice.outputs) == ["y float32 [batch, 3]"]


@pytest.mark.parametrize(
    ("when", "says"),
    [
        ("agee < 18", "rules[0]: column 1: there is no input 'agee'; did you mean 'age'?"),
        (
            "age == 3 and x < 1",
            "column 14: x (float32 [batch, 3]) has several values in each row: write x[0]",
        ),
        ("x[3] < 1", "has no column 3; the first is 0"),
        ("age[0] < 1", "age (int64 [batch]) has no columns"),
        ("age == 'x'", "age (int64 [batch]) is compared with 'x'"),
        ("age == true", "is compared with True"),
        ("country < 'x'", "has no order: only == and !="),
        ("country == 3", "is compared with 3"),
    ],
)
def test_a_rule_that_cannot_be_decided_is_told_with_its_column(when: str, says: str) -> None:
    with pytest.raises(SpecError) as caught:
        choose(when)
    assert says in str(caught.value)


def test_what_clients_send_may_have_inputs_for_the_rules_alone() -> None:
    said = [
        *(TensorSpec(name, dtype, shape) for name, dtype, shape in SENT),
        TensorSpec("plan", "string", ("n",)),
    ]
    assert [one.name for one in choose("plan == 'free'", *said).inputs] == ["x", "age", "country", "plan"]
    with pytest.raises(SpecError, match=r"service.inputs has 'plan', which no part of the choice takes"):
        choose("age < 3", *said)
    with pytest.raises(SpecError, match="the models take 'country'"):
        choose("age < 3", *said[:2])


SENT: list[tuple[str, str, Any]] = [
    ("x", "float32", ("n", 3)),
    ("age", "int64", ("n",)),
    ("country", "string", ("n", 1)),
]
