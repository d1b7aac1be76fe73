"""XGBoost models in its own formats, JSON and UBJSON.

They hold numbers and texts only, nothing that runs. A model that stopped early is asked with the trees of
its best round, as XGBoost's own ``XGBClassifier.predict`` does.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from ..spec import ModelSpec
from ..tensors.rules import Array
from .base import Settings, Value
from .tabular import LABEL, PROBABILITIES, VALUE, features, matrix, named, picked, tensor
from .trees import insist_xgboost

_TREES = ("gbtree", "dart")
_HALF = 0.5


class XGBoost:
    """A booster, asked without the detour over a DMatrix."""

    def __init__(self, booster: Any, spec: ModelSpec) -> None:
        self._booster, self._model = booster, _Told(booster)
        self._matrix = matrix(spec, self._model.features, booster.feature_names)
        self._wanted, self._where = [each.name for each in spec.outputs], spec.name
        self._rounds = (0, self._model.rounds)
        self.parallel = self._model.trees
        """XGBoost says that predictions by trees may run in several threads; others not."""
        picked(dict.fromkeys(_outputs(self._model)), self._wanted, self._where)

    def run(self, arrays: Mapping[str, Array]) -> dict[str, Value]:
        """The outputs by name."""
        rows = self._matrix(arrays)
        if self._model.trees:
            scores = self._booster.inplace_predict(
                rows, iteration_range=self._rounds, validate_features=False
            )
        else:
            scores = self._booster.predict(_dmatrix(rows), validate_features=False)
        return picked(self._answer(scores), self._wanted, self._where)

    def _answer(self, scores: Array) -> dict[str, Value]:
        objective = self._model.objective
        if objective == "binary:logistic":
            return {
                LABEL: (scores > _HALF).astype(np.int64),
                PROBABILITIES: np.stack((1 - scores, scores), axis=-1),
            }
        if objective == "multi:softprob":
            return {LABEL: scores.argmax(axis=-1).astype(np.int64), PROBABILITIES: scores}
        if objective in {"multi:softmax", "binary:hinge"}:
            return {LABEL: scores.astype(np.int64)}
        return {VALUE: scores}

    def close(self) -> None:
        """Nothing is held but memory."""


class _Told:
    """What a booster's configuration tells of it."""

    def __init__(self, booster: Any) -> None:
        learner = json.loads(booster.save_config())["learner"]
        shared = learner["learner_model_param"]
        self.objective: str = learner["objective"]["name"]
        self.trees = learner["gradient_booster"]["name"] in _TREES
        self.features = booster.num_features()
        self.classes, self.targets = int(shared["num_class"]), int(shared["num_target"])
        best = booster.attr("best_iteration")
        self.rounds = int(best) + 1 if best is not None else 0


def load(folder: Path, spec: ModelSpec, settings: Settings) -> XGBoost:
    """Load a model."""
    booster = _booster(folder / spec.path)
    booster.set_param({"nthread": settings.threads})
    return XGBoost(booster, spec)


def describe(path: Path, options: Mapping[str, Any]) -> dict[str, Any]:
    """Inputs and outputs as the model tells them. Raises ValueError for trees that are none."""
    del options
    booster = _booster(path)
    told = _Told(booster)
    insist_xgboost(json.loads(booster.save_raw("json"))["learner"], told.features)
    return {
        "inputs": [features(told.features, "float32", nan=told.trees)],
        "outputs": list(_outputs(told).values()),
        "options": named(booster.feature_names),
    }


def _outputs(told: _Told) -> dict[str, dict[str, Any]]:
    label = tensor(LABEL, "int64")
    if told.objective in {"binary:logistic", "multi:softprob"} and told.targets < 2:
        return {LABEL: label, PROBABILITIES: tensor(PROBABILITIES, "float32", max(2, told.classes))}
    if told.objective in {"multi:softmax", "binary:hinge"}:
        return {LABEL: label}
    several = max(told.targets, told.classes)
    return {VALUE: tensor(VALUE, "float32", *((several,) if several > 1 else ()))}


def _booster(path: Path) -> Any:
    import xgboost

    xgboost.set_config(verbosity=0)
    return xgboost.Booster(model_file=str(path))


def _dmatrix(rows: Array) -> Any:
    import xgboost

    return xgboost.DMatrix(rows)
