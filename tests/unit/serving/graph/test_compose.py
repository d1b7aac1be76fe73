"""Several models as one, and the hooks around them."""

from __future__ import annotations

import os
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from graph_place import Sum, model, rows, service, tensor
from modeldeploy.serving.graph.compose import compose
from modeldeploy.serving.graph.ensemble import EnsembleModel, vote
from modeldeploy.serving.graph.hooks import HookFailed
from modeldeploy.serving.problems import BadInput
from modeldeploy.serving.runtimes.base import Model
from modeldeploy.serving.spec import SpecError

X, Y = [tensor("x")], [tensor("y")]
ONE = {"m": model(X, Y)}


def double() -> Sum:
    return Sum(lambda x: {"y": x * 2})


def chain_of(last_type: str = "float32") -> tuple[Model, dict[str, Sum]]:
    models = {
        "a": model(X, [tensor("z")]),
        "b": model([tensor("v", last_type), tensor("x")], [tensor("y", last_type)]),
    }
    graph = {"kind": "chain", "models": ["a", "b"], "connect": {"b.v": "a.z", "b.x": "x"}}
    spec = service(models, graph, X, [tensor("y", last_type)])
    parts = {"a": Sum(lambda x: {"z": x + 1}), "b": Sum(lambda v, x: {"y": v * 10 + x}, parallel=False)}
    return compose(spec, parts, folder=Path()), parts


def test_a_chain_gives_each_model_what_it_is_connected_to() -> None:
    chain, parts = chain_of()
    answer = chain.run({"x": rows(1, 2)})
    assert np.array_equal(np.asarray(answer["y"]), rows(21, 32))
    assert list(answer) == ["y"]
    assert not chain.parallel
    chain.close()
    assert [part.closed for part in parts.values()] == [1, 1]


def test_a_chain_widens_numbers_on_the_way() -> None:
    chain, _ = chain_of("float64")
    assert np.asarray(chain.run({"x": rows(1)})["y"]).dtype == np.float64


def test_one_model_alone_is_asked_itself() -> None:
    only = double()
    assert compose(service(ONE, None, X, Y), {"m": only}, folder=Path()) is only


def test_what_clients_see_must_be_what_the_models_have() -> None:
    with pytest.raises(SpecError, match=r"outputs: \['other'\] are not the models': \['y'\]"):
        compose(service(ONE, None, X, [tensor("other")]), {"m": double()}, folder=Path())
    with pytest.raises(SpecError, match=r"inputs: x: .* a size of 4 is not 3"):
        compose(service(ONE, None, [tensor("x", shape=["n", 4])], Y), {"m": double()}, folder=Path())
    two = {"a": model(X, [tensor("z", "int64")]), "b": model([tensor("v")], Y)}
    with pytest.raises(SpecError, match=r"graph: a.z .* does not fit b.v"):
        compose(service(two, {"kind": "chain", "models": ["a", "b"]}, X, Y), {}, folder=Path())


def ensemble_of(combine: str, parts: dict[str, Sum], dtype: str = "float32", **more: Any) -> Model:
    outputs = [tensor("y", dtype)]
    graph = {"kind": "ensemble", "models": list(parts), "combine": combine, **more}
    spec = service({name: model(X, outputs) for name in parts}, graph, X, outputs)
    return compose(spec, parts, folder=Path())


def test_mean_and_weighted_mean_keep_the_type() -> None:
    parts = {"a": double(), "b": Sum(lambda x: {"y": x * 4, "more": x})}
    mean = np.asarray(ensemble_of("mean", parts).run({"x": rows(1)})["y"])
    assert mean.dtype == np.float32
    assert np.array_equal(mean, rows(3))
    weighted = ensemble_of("weighted", parts, weights=[1, 3]).run({"x": rows(1)})["y"]
    assert np.array_equal(np.asarray(weighted), rows(3.5))


def labels(*values: Any) -> Sum:
    return Sum(lambda x: {"y": np.array(values)[:, None].repeat(3, 1)})


def test_the_vote_goes_to_the_most_and_of_equals_to_whose_first_voter_stands_first() -> None:
    parts = {"a": labels(1, 2, 3), "b": labels(2, 1, 2), "c": labels(2, 3, 3), "d": labels(1, 3, 1)}
    elected = np.asarray(ensemble_of("vote", parts, "int64").run({"x": rows(0, 0, 0)})["y"])
    assert elected[:, 0].tolist() == [1, 3, 3]
    texts = [np.array(side, dtype=object) for side in (["cat", "dog"], ["dog", "dog"], ["dog", "cat"])]
    assert vote(texts).tolist() == ["dog", "dog"]
    assert vote([np.array([True, False]), np.array([False, False])]).tolist() == [True, False]


def test_members_of_an_ensemble_that_give_several_shapes_fail() -> None:
    parts = {"a": double(), "b": Sum(lambda x: {"y": x[:1]})}
    with pytest.raises(ValueError, match="several shapes"):
        ensemble_of("mean", parts).run({"x": rows(1, 2)})


@pytest.mark.skipif(os.cpu_count() == 1, reason="one processor has nothing to share out")
def test_members_that_take_long_run_at_the_same_time_and_their_errors_come_out() -> None:
    met = threading.Barrier(2, timeout=10)
    slow = True

    def wait(x: Any) -> dict[str, Any]:
        if slow:
            time.sleep(0.005)
        else:
            met.wait()  # passes only if both are in here at the same time
        return {"y": x}

    team = ensemble_of("mean", {"a": Sum(wait), "b": Sum(wait)})
    assert isinstance(team, EnsembleModel)
    for _ in range(18):
        team.run({"x": rows(1)})
    assert team._team.together
    slow = False
    assert np.array_equal(np.asarray(team.run({"x": rows(1)})["y"]), rows(1))
    met.abort()
    with pytest.raises(threading.BrokenBarrierError):
        team.run({"x": rows(1)})
    team.close()


def choice_of(parts: dict[str, Sum], *rules: tuple[str, str], shape: Any = ("batch",)) -> Model:
    inputs = [tensor("x", shape=[shape[0], 3]), tensor("age", "int64", shape)]
    parts = {name: parts[name] for name in ("big", *(name for _, name in rules))}
    models = {name: model(inputs, [tensor("y", shape=[shape[0], 3])]) for name in parts}
    listed = [{"when": when, "model": name} for when, name in rules]
    graph = {"kind": "choose", "rules": listed, "default": "big"}
    return compose(service(models, graph, inputs, models["big"]["outputs"]), parts, folder=Path())


def people() -> dict[str, Sum]:
    return {
        "big": Sum(lambda x, age: {"y": x + 100}),
        "small": Sum(lambda x, age: {"y": x + 10}),
        "tiny": Sum(lambda x, age: {"y": x + 1}),
    }


def test_the_rows_of_a_batch_are_split_among_the_models_and_come_back_in_order() -> None:
    parts = people()
    choice = choice_of(parts, ("age < 18 and age >= 6", "small"), ("age < 18", "tiny"))
    ages = np.array([40, 3, 10, 5, 60, 12])
    answer = np.asarray(choice.run({"x": rows(0, 1, 2, 3, 4, 5), "age": ages})["y"])
    assert answer[:, 0].tolist() == [100, 2, 12, 4, 104, 15]
    assert {name: part.asked for name, part in parts.items()} == {"big": [2], "small": [2], "tiny": [2]}


def test_rows_for_one_model_alone_are_not_copied_and_no_rows_go_to_the_default() -> None:
    parts = people()
    choice = choice_of(parts, ("age < 18", "tiny"))
    x = rows(1, 2)
    choice.run({"x": x, "age": np.array([1, 2])})
    assert (parts["tiny"].asked, parts["big"].asked) == ([2], [])
    empty = choice.run({"x": x[:0], "age": np.array([], dtype="int64")})
    assert np.asarray(empty["y"]).shape == (0, 3)


def test_the_first_rule_that_holds_decides_for_every_row() -> None:
    """Against a plain loop over the rows."""
    random = np.random.default_rng(0)
    choice = choice_of(people(), ("age < 5", "tiny"), ("age >= 3 and age < 9", "small"), ("age == 2", "big"))
    for count in (1, 2, 7, 30):
        ages = random.integers(0, 12, count)
        x = random.random((count, 3)).astype("float32")
        expected = [
            row + (1 if age < 5 else 10 if age < 9 else 100) for row, age in zip(x, ages, strict=True)
        ]
        assert np.array_equal(np.asarray(choice.run({"x": x, "age": ages})["y"]), np.array(expected))


def test_one_sample_without_a_batch_is_decided_as_a_whole() -> None:
    parts = people()
    choice = choice_of(parts, ("age < 18", "tiny"), shape=(1,))
    choice.run({"x": rows(1), "age": np.array([3])})
    assert parts["tiny"].asked == [1]


def test_models_of_a_choice_that_give_several_shapes_fail() -> None:
    parts = people() | {"tiny": Sum(lambda x, age: {"y": x[:, :2]})}
    with pytest.raises(ValueError, match="several shapes"):
        choice_of(parts, ("age < 18", "tiny")).run({"x": rows(1, 2), "age": np.array([3, 30])})


HOOKS = """
import numpy as np

def clean(arrays):
    celsius = arrays["celsius"]
    if (celsius < -273.15).any():
        raise ValueError("celsius is below absolute zero")
    celsius += 273.15   # it may write into what it is given
    return {"x": np.repeat(celsius[:, None].astype("float64"), 3, axis=1)}

def label(arrays):
    return {"warm": arrays["y"][:, 0] > 580, "rest": 1}

def label_parallel(arrays):
    return {"warm": arrays["y"][:, 0] > 580}
label_parallel.parallel = True

NUMBER = 3
def no_dict(arrays): return [1]
def no_x(arrays): return {"z": 1}
def texts(arrays): return {"x": np.array([["a", "b", "c"]])}
def wide(arrays): return {"x": np.zeros((len(arrays["celsius"]), 4))}
def long(arrays): return {"x": np.zeros((len(arrays["celsius"]) + 1, 3))}
def crash(arrays): raise KeyError("nothing of this reaches clients")
def refuse(arrays):
    from modeldeploy.serving.problems import BadInput
    raise BadInput("not today", field="celsius")
"""
CELSIUS = [tensor("celsius", shape=["batch"])]
WARM = [tensor("warm", "bool", ["batch"])]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.syspath_prepend(str(tmp_path))
    (tmp_path / "graph_hooks.py").write_text(HOOKS)
    return tmp_path


@pytest.fixture(autouse=True)
def _forget(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(__import__("sys").modules, "graph_hooks", raising=False)


def hooked(folder: Path, before: str = "clean", after: str = "label", part: Sum | None = None) -> Model:
    hooks = {key: f"graph_hooks:{name}" for key, name in (("before", before), ("after", after)) if name}
    spec = service(ONE, None, CELSIUS if before else X, WARM if after else Y, hooks=hooks)
    return compose(spec, {"m": part or double()}, folder=folder)


def test_hooks_turn_what_clients_send_into_what_the_model_takes_and_back(folder: Path) -> None:
    sent = np.array([0.0, 30.0], dtype="float32")
    sent.flags.writeable = False  # as it is where it lies in a request's own bytes
    answer = hooked(folder).run({"celsius": sent})
    assert {name: np.asarray(value).tolist() for name, value in answer.items()} == {"warm": [False, True]}
    assert sent.tolist() == [0.0, 30.0]


def test_a_hook_that_says_no_is_the_clients_fault_with_its_words(folder: Path) -> None:
    with pytest.raises(BadInput, match="celsius is below absolute zero"):
        hooked(folder).run({"celsius": np.array([-300.0], dtype="float32")})
    with pytest.raises(BadInput) as caught:
        hooked(folder, before="refuse").run({"celsius": np.zeros(1, dtype="float32")})
    assert caught.value.field == "celsius"
    with pytest.raises(HookFailed, match="postprocess: not today"):
        hooked(folder, after="refuse").run({"celsius": np.zeros(1, dtype="float32")})


@pytest.mark.parametrize(
    ("before", "says"),
    [
        ("no_dict", "preprocess gave list; expected a dict of arrays"),
        ("no_x", "preprocess gave no 'x', only z"),
        ("texts", r"preprocess gave 'x' as string; expected float32 \[batch, 3\]"),
        (
            "wide",
            r"preprocess gave 'x' as float32 \[2, 4\]; expected float32 \[batch, 3\]: a size of 4 is not 3",
        ),
        ("long", "3 rows are not 2"),
    ],
)
def test_a_hook_that_gives_something_else_is_the_services_fault(folder: Path, before: str, says: str) -> None:
    with pytest.raises(HookFailed, match=says):
        hooked(folder, before=before).run({"celsius": np.zeros(2, dtype="float32")})


def test_what_a_hook_raises_goes_through(folder: Path) -> None:
    for broken in (hooked(folder, before="crash"), hooked(folder, after="crash")):
        with pytest.raises(KeyError):
            broken.run({"celsius": np.zeros(1, dtype="float32")})


def test_a_hook_that_is_not_there_is_told_at_load(folder: Path) -> None:
    for name, says in (("gone", "has no attribute 'gone'"), ("NUMBER", "is int; expected a function")):
        with pytest.raises(SpecError, match=says):
            hooked(folder, before=name)


def test_a_service_runs_in_parallel_only_if_its_hooks_say_that_they_can(folder: Path) -> None:
    assert not hooked(folder, before="").parallel
    assert hooked(folder, before="", after="label_parallel").parallel
    part = double()
    hooked(folder, part=part).close()
    assert part.closed == 1
