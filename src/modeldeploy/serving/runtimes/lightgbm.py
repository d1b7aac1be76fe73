"""LightGBM models in its own text format, which holds numbers and names only.

The text does not keep the classes of a classifier: labels are their numbers, from 0, in sorted order.
Categories of a pandas column that it was trained on go by their codes, in the order that the model keeps.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from ..spec import ModelSpec
from ..tensors.rules import Array
from .base import Settings, Value
from .tabular import LABEL, PROBABILITIES, VALUE, features, matrix, named, picked, tensor
from .trees import insist_lightgbm

_HALF = 0.5
_MANY = ("multiclass", "multiclassova")


class LightGBM:
    """A booster. Not parallel: LightGBM has an open data race where threads share one."""

    parallel = False

    def __init__(self, booster: Any, spec: ModelSpec, threads: int) -> None:
        self._booster, self._threads = booster, threads
        self._objective, self._classes = _objective(booster)
        self._matrix = matrix(spec, booster.num_feature(), _names(booster))
        self._wanted, self._where = [each.name for each in spec.outputs], spec.name
        picked(dict.fromkeys(_outputs(booster)), self._wanted, self._where)

    def run(self, arrays: Mapping[str, Array]) -> dict[str, Value]:
        """The outputs by name."""
        rows = self._matrix(arrays)
        scores = self._booster.predict(rows, num_threads=self._threads)
        return picked(self._answer(scores), self._wanted, self._where)

    def _answer(self, scores: Array) -> dict[str, Value]:
        if self._objective == "binary":
            return {
                LABEL: (scores > _HALF).astype(np.int64),
                PROBABILITIES: np.stack((1 - scores, scores), axis=-1),
            }
        if self._classes > 1:
            return {LABEL: scores.argmax(axis=-1).astype(np.int64), PROBABILITIES: scores}
        return {VALUE: scores}

    def close(self) -> None:
        """Nothing is held but memory."""


def load(folder: Path, spec: ModelSpec, settings: Settings) -> LightGBM:
    """Load a model."""
    return LightGBM(_booster(folder / spec.path), spec, settings.threads)


def describe(path: Path, options: Mapping[str, Any]) -> dict[str, Any]:
    """Inputs and outputs as the model tells them. Raises ValueError for a text that is not whole."""
    del options
    insist_lightgbm(path.read_bytes())  # first: LightGBM reads on behind the end of a text that is cut off
    booster = _booster(path)
    return {
        "inputs": [features(booster.num_feature(), "float64", nan=True)],
        "outputs": list(_outputs(booster).values()),
        "options": named(_names(booster)),
    }


def _outputs(booster: Any) -> dict[str, dict[str, Any]]:
    objective, classes = _objective(booster)
    if objective == "binary" or classes > 1:
        return {
            LABEL: tensor(LABEL, "int64"),
            PROBABILITIES: tensor(PROBABILITIES, "float64", max(2, classes)),
        }
    return {VALUE: tensor(VALUE, "float64")}


def _objective(booster: Any) -> tuple[str, int]:
    """Its name, and the number of classes; 1 where there are none."""
    told = str(booster.dump_model(num_iteration=1).get("objective", "")).split()
    name = told[0] if told else ""
    return name, booster.num_model_per_iteration() if name in _MANY else 1


def _names(booster: Any) -> list[str] | None:
    """What the features are called; None where LightGBM made their names up."""
    names: list[str] = booster.feature_name()
    return None if names == [f"Column_{index}" for index in range(len(names))] else names


def _booster(path: Path) -> Any:
    import lightgbm

    lightgbm.register_logger(_Silent())
    return lightgbm.Booster(model_file=str(path))


class _Silent:
    """LightGBM would print to the standard output."""

    def info(self, message: str) -> None:
        """Drop it."""

    def warning(self, message: str) -> None:
        """Drop it."""
