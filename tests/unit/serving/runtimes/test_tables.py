"""Models of scikit-learn, XGBoost and LightGBM, trained here, answer as their frameworks themselves do."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from framework_place import TABLES, asked, environment, trained

CLASSIFIED = {"label", "probabilities"}
QUESTIONS: dict[str, dict[str, Any]] = {
    "pipeline.skops": {"framework": "sklearn", "given": "rows"},
    "forest.skops": {"framework": "sklearn", "given": "rows", "options": {"trust": True}},
    "hist.skops": {"framework": "sklearn", "given": "missing", "options": {"trust": True}},
    "linear.skops": {"framework": "sklearn", "given": "rows"},
    "vectors.skops": {"framework": "sklearn", "given": "rows"},
    "groups.skops": {"framework": "sklearn", "given": "rows"},
    "framed.skops": {"framework": "sklearn", "given": "rows"},
    "chosen.skops": {"framework": "sklearn", "given": "rows"},
    "scaler.skops": {"framework": "sklearn", "given": "rows"},
    "several.json": {"framework": "xgboost", "given": "missing"},
    "several.ubj": {"framework": "xgboost", "given": "missing"},
    "binary.json": {"framework": "xgboost", "given": "wide"},
    "stopped.json": {"framework": "xgboost", "given": "narrow"},
    "flat.json": {"framework": "xgboost", "given": "narrow"},
    "three.txt": {"framework": "lightgbm", "given": "missing"},
    "two.txt": {"framework": "lightgbm", "given": "wide"},
    "number.txt": {"framework": "lightgbm", "given": "narrow"},
}
PICKLE = {"framework": "sklearn", "path": "pickled.pkl", "options": {"format": "pickle"}}


def column(name: str, dtype: str = "float32") -> dict[str, Any]:
    return {"name": name, "dtype": dtype, "shape": ["batch"]}


CALLED = {"inputs": [column(name) for name in "dacb"]}
MIXED = {"inputs": [column("age", "float64"), column("city", "string")]}
REFUSED: dict[str, dict[str, Any]] = {
    "own types": {"framework": "sklearn", "path": "own.skops"},
    "no estimator": {"framework": "sklearn", "path": "nothing.skops"},
    "cut skops": {"framework": "sklearn", "path": "cut.skops"},
    "cut json": {"framework": "xgboost", "path": "cut.json"},
    "cut ubj": {"framework": "xgboost", "path": "cut.ubj"},
    "cut txt": {"framework": "lightgbm", "path": "cut.txt"},
    "a node that is not there": {"framework": "xgboost", "path": "astray.json"},
    "a tree in a circle": {"framework": "lightgbm", "path": "circle.txt"},
    "absurd sizes": {"framework": "xgboost", "path": "absurd.json"},
    "wrong columns": {"framework": "xgboost", "path": "called.json", "declared": {"inputs": [column("z")]}},
}


@pytest.fixture(scope="session")
def tables() -> Path:
    return environment("tables", TABLES)


@pytest.fixture(scope="session")
def models(tables: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = trained(tables, Path(__file__).with_name("train_tables.py"), tmp_path_factory.mktemp("tables"))
    for name in ("pipeline.skops", "several.json", "several.ubj", "three.txt"):
        content = (folder / name).read_bytes()
        (folder / f"cut{Path(name).suffix}").write_bytes(content[: len(content) // 3])
    model = json.loads((folder / "several.json").read_text())
    learner = model["learner"]
    learner["gradient_booster"]["model"]["trees"][0]["left_children"][0] = 10**6
    (folder / "astray.json").write_text(json.dumps(model))
    learner["learner_model_param"]["num_feature"] = "99999999999"
    (folder / "absurd.json").write_text(json.dumps(model))
    text = (folder / "three.txt").read_text()
    first = next(line for line in text.splitlines() if line.startswith("left_child="))
    (folder / "circle.txt").write_text(text.replace(first, first.replace("=1 ", "=0 "), 1))
    return folder


@pytest.fixture(scope="session")
def expected(models: Path) -> Any:
    return json.loads((models / "expected.json").read_text())


@pytest.fixture(scope="session")
def answers(tables: Path, models: Path, expected: Any) -> dict[str, dict[str, Any]]:
    """All answers of all models, asked in one process: for all rows (NAME), and for the second (NAME, 1)."""
    given = expected["inputs"]
    questions: dict[str, dict[str, Any]] = {}
    for name, question in QUESTIONS.items():
        rows = given[question["given"]]
        questions[name] = {**question, "path": name, "inputs": {"features": rows}}
        questions[f"{name}, 1"] = {**question, "path": name, "inputs": {"features": rows[1:2]}}
    questions["pickled.pkl"] = {**PICKLE, "inputs": {"features": given["rows"]}}
    a, b, c, d = (
        dict(zip("abcd", np.array(given["rows"])[:2].T.tolist(), strict=True))[name] for name in "abcd"
    )
    called = {"framework": "xgboost", "path": "called.json"}
    questions["called.json"] = {**called, "declared": CALLED, "inputs": {"a": a, "b": b, "c": c, "d": d}}
    questions["by matrix"] = {**called, "inputs": {"features": given["rows"][:2]}}
    mixed = {"age": [20, 30, 40, 50], "city": ["Bern", "Rom", "Rom", "Oslo"]}
    columns = {"columns": {"age": "float64", "city": "string"}}
    questions["mixed.skops"] = {
        "framework": "sklearn", "path": "mixed.skops", "options": columns, "declared": MIXED, "inputs": mixed
    }  # fmt: skip
    questions |= REFUSED
    return dict(zip(questions, asked(tables, models, list(questions.values())), strict=True))


def same(answer: Any, wanted: Any) -> None:
    assert "error" not in answer, answer
    assert answer["answer"].keys() == wanted.keys()
    for name, values in wanted.items():
        if isinstance(np.array(values).flat[0], str):
            assert answer["answer"][name] == values
        else:
            np.testing.assert_allclose(answer["answer"][name], values, rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize("name", QUESTIONS)
def test_a_model_answers_as_its_framework_does(name: str, answers: Any, expected: Any) -> None:
    same(answers[name], expected["outputs"][name])


@pytest.mark.parametrize("name", QUESTIONS)
def test_one_row_gets_the_same_answer_alone_as_among_others(name: str, answers: Any) -> None:
    alone, among = answers[f"{name}, 1"]["answer"], answers[name]["answer"]
    same({"answer": alone}, {output: values[1:2] for output, values in among.items()})


@pytest.mark.parametrize("name", QUESTIONS)
def test_what_comes_is_what_was_described(name: str, answers: Any) -> None:
    described, answer = answers[name]["described"], answers[name]
    (matrix,) = described["inputs"]
    assert matrix["name"] == "features" and matrix["shape"][0] == "batch"
    assert [each["name"] for each in described["outputs"]] == list(answer["answer"])
    for each in described["outputs"]:
        shape = np.array(answer["answer"][each["name"]]).shape
        assert shape == (4, *each["shape"][1:])
        assert answer["dtypes"][each["name"]] == {"string": "object"}.get(each["dtype"], each["dtype"])


def test_only_models_that_know_what_is_missing_take_nan(answers: Any) -> None:
    taking = {name for name in QUESTIONS if answers[name]["described"]["inputs"][0].get("nan")}
    trees = {name for name in QUESTIONS if name.endswith((".json", ".ubj", ".txt"))} - {"flat.json"}
    assert trees | {"hist.skops", "forest.skops"} <= taking
    assert not taking & {"flat.json", "pipeline.skops", "linear.skops", "vectors.skops"}


def test_threads_may_share_a_model_only_where_its_framework_says_so(answers: Any) -> None:
    sharing = {name for name in QUESTIONS if answers[name]["parallel"]}
    assert sharing == {"several.json", "several.ubj", "binary.json", "stopped.json"}


def test_a_pickle_that_is_trusted_answers_like_the_skops_file(answers: Any, expected: Any) -> None:
    same(answers["pickled.pkl"], expected["outputs"]["pipeline.skops"])


def test_columns_are_put_in_the_order_that_the_model_was_trained_with(answers: Any, expected: Any) -> None:
    same(answers["called.json"], expected["outputs"]["called.json"])
    same(answers["by matrix"], expected["outputs"]["called.json"])
    assert answers["by matrix"]["described"]["options"]["features"] == ["a", "b", "c", "d"]


def test_columns_of_texts_and_numbers_reach_a_pipeline_as_a_table(answers: Any, expected: Any) -> None:
    same(answers["mixed.skops"], expected["outputs"]["mixed.skops"])


@pytest.mark.parametrize(
    ("case", "words"),
    [
        ("own types", "own_step"),
        ("no estimator", "holds a dict; expected an estimator"),
        ("cut skops", "not a zip file"),
        ("cut json", "Expecting"),
        ("cut ubj", "XGBoostError"),
        ("cut txt", "it is cut off"),
        ("a node that is not there", "tree 0 is no tree"),
        ("a tree in a circle", "tree 0 is no tree"),
        ("absurd sizes", "num_feature"),
        ("wrong columns", "expected one input of the shape [batch, 4], or 4 of the shape [batch]"),
    ],
)
def test_what_is_no_model_is_refused_with_a_reason(case: str, words: str, answers: Any) -> None:
    assert words in answers[case]["error"]
