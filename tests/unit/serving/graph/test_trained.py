"""Models that trained and exported one by one, combined here, answer as scikit-learn's own combinations."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sklearn.datasets import load_iris
from sklearn.ensemble import RandomForestClassifier, VotingClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from graph_place import service, tensor
from modeldeploy.bundle import signature
from modeldeploy.serving.graph import form
from modeldeploy.serving.graph.compose import compose
from modeldeploy.serving.graph.wiring import wire
from modeldeploy.serving.runtimes.base import Model, Settings
from modeldeploy.serving.runtimes.onnx import load

X, Y = load_iris(return_X_y=True)
ROWS = X.astype("float32")


def exported(folder: Path, **trained: Any) -> dict[str, Any]:
    """The models' part of a spec, each with the signature that its ONNX file tells."""
    from skl2onnx import to_onnx

    models = {}
    for name, estimator in trained.items():
        zipmap = {} if isinstance(estimator, StandardScaler) else {"options": {"zipmap": False}}
        path = folder / f"{name}.onnx"
        path.write_bytes(to_onnx(estimator, ROWS[:1], target_opset=17, **zipmap).SerializeToString())
        models[name] = {"framework": "onnx", "path": path.name, **signature.read(path).to_json()}
    return models


def served(folder: Path, models: dict[str, Any], graph: dict[str, Any]) -> Model:
    """The graph of the exported models, loaded as a bundle loads them."""
    parts = service(models, graph, [tensor("x")], [tensor("y")]).models
    wired = wire(form.read(graph, list(models)), parts)
    inputs, outputs = ([as_json(one) for one in side] for side in (wired.inputs, wired.outputs))
    spec = service(models, graph, inputs, outputs)
    loaded = {part.name: load(folder, part, Settings(threads=1)) for part in spec.models}
    return compose(spec, loaded, folder=folder)


def as_json(one: Any) -> dict[str, Any]:
    return {"name": one.name, "dtype": one.dtype, "shape": list(one.shape)}


def test_a_chain_of_scaler_and_classifier_is_scikit_learns_pipeline(tmp_path: Path) -> None:
    pipeline = make_pipeline(StandardScaler(), LogisticRegression()).fit(X, Y)
    models = exported(tmp_path, scaler=pipeline[0], classifier=pipeline[1])
    chain = served(tmp_path, models, {"kind": "chain", "models": ["scaler", "classifier"]})
    answer = chain.run({"X": ROWS})
    assert np.asarray(answer["label"]).tolist() == pipeline.predict(X).tolist()
    assert np.asarray(answer["probabilities"]) == pytest.approx(pipeline.predict_proba(X), abs=1e-5)


@pytest.mark.parametrize("weights", [None, [3, 1]])
def test_a_mean_of_two_classifiers_is_scikit_learns_soft_vote(
    tmp_path: Path, weights: list[int] | None
) -> None:
    members = [
        ("line", LogisticRegression(max_iter=500)),
        ("forest", RandomForestClassifier(5, random_state=0)),
    ]
    soft = VotingClassifier(members, voting="soft", weights=weights).fit(X, Y)
    models = exported(tmp_path, **dict(zip(("line", "forest"), soft.estimators_, strict=True)))
    graph: dict[str, Any] = {"kind": "ensemble", "models": ["line", "forest"], "combine": "mean"}
    graph |= {"combine": "weighted", "weights": weights} if weights else {}
    answer = served(tmp_path, models, graph).run({"X": ROWS})
    assert np.asarray(answer["probabilities"]) == pytest.approx(soft.predict_proba(X), abs=1e-5)


def test_a_vote_of_three_classifiers_is_scikit_learns_hard_vote(tmp_path: Path) -> None:
    members = [(f"f{seed}", RandomForestClassifier(1, max_depth=2, random_state=seed)) for seed in range(3)]
    hard = VotingClassifier(members, voting="hard").fit(X, Y)
    names = [name for name, _ in members]
    models = exported(tmp_path, **dict(zip(names, hard.estimators_, strict=True)))
    answer = served(tmp_path, models, {"kind": "ensemble", "models": names, "combine": "vote"}).run(
        {"X": ROWS}
    )
    alone = np.array([estimator.predict(X) for estimator in hard.estimators_])
    undecided = np.array([len(set(column)) == 3 for column in alone.T])
    label = np.asarray(answer["label"])
    assert label[~undecided].tolist() == hard.predict(X)[~undecided].tolist()
    assert label[undecided].tolist() == alone[0][undecided].tolist()


def test_a_choice_by_a_column_is_each_models_own_answer_row_by_row(tmp_path: Path) -> None:
    wide, narrow = (RandomForestClassifier(3, random_state=seed).fit(X, Y) for seed in (0, 1))
    models = exported(tmp_path, wide=wide, narrow=narrow)
    rules = [{"when": "X[2] > 3.5 and X[0] <= 6", "model": "narrow"}]
    answer = served(tmp_path, models, {"kind": "choose", "rules": rules, "default": "wide"}).run({"X": ROWS})
    chosen = (ROWS[:, 2] > 3.5) & (ROWS[:, 0] <= 6)
    expected = np.where(chosen[:, None], narrow.predict_proba(X), wide.predict_proba(X))
    assert 0 < chosen.sum() < len(X)
    assert np.asarray(answer["probabilities"]) == pytest.approx(expected, abs=1e-5)
