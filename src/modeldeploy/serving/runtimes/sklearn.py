"""scikit-learn models from skops files, and from pickles that the project trusts.

A skops file names each type in it. Those that skops deems safe are loaded; others are refused by name, unless
the project trusts the file, which is checked when it is built: the option ``trusted`` has the types' names.
"""

from __future__ import annotations

import io
import pickle
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from ..spec import ModelSpec, SpecError
from ..tensors.rules import Array
from .base import Settings, Value
from .tabular import LABEL, PROBABILITIES, VALUE, columns, features, matrix, named, picked, tensor

SKOPS, PICKLE = "skops", "pickle"
"""The option ``format``."""
SCORE, TRANSFORMED = "score", "transformed"
_ALIKE = ("RandomForestClassifier", "ExtraTreesClassifier", "BaggingClassifier")
"""Whose ``predict`` is, by definition, the class of the largest probability: asked once, not twice."""


class Untrusted(ValueError):
    """A file that holds types which are not known to be safe. ``types``: their names."""

    def __init__(self, types: list[str]) -> None:
        super().__init__(f"it holds types that are not known to be safe: {', '.join(types[:8])}")
        self.types = types


class Sklearn:
    """An estimator, or a pipeline that ends in one. scikit-learn promises nothing about threads."""

    parallel = False

    def __init__(self, estimator: Any, spec: ModelSpec, threads: int) -> None:
        import threadpoolctl

        self._limits = threadpoolctl.ThreadpoolController()
        self._threads = threads
        _one_job(estimator)
        self._before, self._last = _split(estimator)
        self._matrix = _frame(estimator, spec)
        self._wanted, self._where = [each.name for each in spec.outputs], spec.name
        picked(dict.fromkeys(_methods(self._last)), self._wanted, self._where)
        self._answer = _answers(self._last, self._wanted)
        self._limits.limit(limits=threads)

    def run(self, arrays: Mapping[str, Array]) -> dict[str, Value]:
        """The outputs by name."""
        rows = self._matrix(arrays)
        if self._before is not None:
            rows = self._before.transform(rows)
        return {name: _plain(value) for name, value in self._answer(rows).items()}

    def close(self) -> None:
        """Nothing is held but memory."""


def load(folder: Path, spec: ModelSpec, settings: Settings) -> Sklearn:
    """Load a model. Raises `Untrusted` for types that neither skops nor the project knows to be safe."""
    return Sklearn(_estimator(folder / spec.path, spec.options), spec, settings.threads)


def describe(path: Path, options: Mapping[str, Any]) -> dict[str, Any]:
    """Inputs and outputs as the estimator tells them, asked with two rows of zeros for the shapes.

    With the option ``trust`` (the project trusts the file) all its types are let in, and named among the
    options that the service is given. Raises `Untrusted` otherwise.
    """
    kept = {"format": options.get("format", SKOPS)}
    if kept["format"] == SKOPS and (types := _unknown(path)):
        if not options.get("trust"):
            raise Untrusted(types)
        kept["trusted"] = types
    estimator = _estimator(path, kept)
    count, names = _feature_count(estimator), _names(estimator)
    _, last = _split(estimator)
    dtypes = options.get("columns") or {}
    if dtypes:
        return {"inputs": [], "outputs": _described(estimator, last, dtypes, count), "options": kept}
    return {
        "inputs": [features(count, "float64", nan=_takes_nan(estimator))],
        "outputs": _described(estimator, last, {}, count),
        "options": kept | named(names),
    }


def _described(estimator: Any, last: Any, dtypes: Mapping[str, str], count: int) -> list[dict[str, Any]]:
    """The outputs; their types and shapes are seen from an answer where the estimator does not tell them."""
    told = []
    for name, method in _methods(last).items():
        if name == LABEL and hasattr(last, "classes_") and not isinstance(last.classes_, list):
            dtype, sizes = _name(np.asarray(last.classes_).dtype), ()
        else:
            given = np.asarray(_plain(getattr(estimator, method)(_zeros(estimator, dtypes, count))))
            dtype, sizes = _name(given.dtype), given.shape[1:]
        told.append(tensor(name, dtype, *sizes))
    return told


def _zeros(estimator: Any, dtypes: Mapping[str, str], count: int) -> Any:
    """Two rows that say nothing, in the form that the estimator takes."""
    names = _names(estimator)
    if not dtypes and (names is None or not _wants_names(estimator)):
        _forget_names(estimator)
        return np.zeros((2, count))
    import pandas as pd

    stored = {name: dtypes.get(name, "float64") for name in names or dtypes}
    return pd.DataFrame(
        {name: np.full(2, "" if dtype == "string" else 0, _stored(dtype)) for name, dtype in stored.items()}
    )


def _stored(dtype: str) -> str:
    return "object" if dtype == "string" else dtype


def _methods(last: Any) -> dict[str, str]:
    """What an estimator gives, by output name: the method that gives it."""
    if not hasattr(last, "predict"):
        return {TRANSFORMED: "transform"} if hasattr(last, "transform") else {}
    kind = getattr(last, "_estimator_type", None) or _kind(last)
    if kind not in {"classifier", "clusterer", "outlier_detector"}:
        return {VALUE: "predict"}
    several = isinstance(getattr(last, "classes_", None), list)
    if kind == "classifier" and hasattr(last, "predict_proba") and not several:
        return {LABEL: "predict", PROBABILITIES: "predict_proba"}
    if kind in {"classifier", "outlier_detector"} and hasattr(last, "decision_function") and not several:
        return {LABEL: "predict", SCORE: "decision_function"}
    return {LABEL: "predict"}


def _kind(last: Any) -> str | None:
    from sklearn.utils import get_tags

    told: str | None = get_tags(last).estimator_type
    return told


def _answers(last: Any, wanted: list[str]) -> Callable[[Any], dict[str, Any]]:
    """What to call for a request's rows, as few methods as its outputs need."""
    methods = _methods(last)
    if wanted == [LABEL, PROBABILITIES] and type(last).__name__ in _ALIKE:
        classes = last.classes_

        def at_once(rows: Any) -> dict[str, Any]:
            chances = last.predict_proba(rows)
            return {LABEL: classes.take(chances.argmax(axis=1)), PROBABILITIES: chances}

        return at_once
    calls = {name: getattr(last, methods[name]) for name in wanted}
    return lambda rows: {name: call(rows) for name, call in calls.items()}


def _frame(estimator: Any, spec: ModelSpec) -> Callable[[Mapping[str, Array]], Any]:
    """How a request becomes rows: a matrix, or a table of pandas where columns have names or texts."""
    count, names = _feature_count(estimator), _names(estimator)
    mixed = len({each.dtype for each in spec.inputs}) > 1 or any(
        each.dtype == "string" for each in spec.inputs
    )
    if len(spec.inputs) > 1 and mixed:
        import pandas as pd

        order = columns(spec, count, names)
        return lambda arrays: pd.DataFrame({name: arrays[name] for name in order})
    forgotten = matrix(spec, count, names)
    if names is not None and _wants_names(estimator):
        import pandas as pd

        return lambda arrays: pd.DataFrame(forgotten(arrays), columns=names)
    if names is not None:
        _forget_names(estimator)
    return forgotten


def _wants_names(estimator: Any) -> bool:
    """True if something in it picks columns by their names, so that it must be given a table."""
    parts = (estimator, *estimator.get_params().values())
    return any(type(part).__name__ in {"ColumnTransformer", "FunctionTransformer"} for part in parts)


def _forget_names(estimator: Any) -> None:
    """Let it take a matrix without a warning for each request: the columns are in the order of the names."""
    warnings.filterwarnings("ignore", "X does not have valid feature names")  # of what is deeper inside
    for step in (estimator, *(step for _, step in getattr(estimator, "steps", []))):
        if "feature_names_in_" in getattr(step, "__dict__", {}):
            del step.feature_names_in_


def _one_job(estimator: Any) -> None:
    """Forests would start threads for each request that cost more than they bring."""
    wanted = {name: 1 for name in estimator.get_params() if name.split("__")[-1] == "n_jobs"}
    if wanted:
        estimator.set_params(**wanted)


def _split(estimator: Any) -> tuple[Any, Any]:
    """What is done to the rows first (None for nothing), and the last step of it."""
    steps = getattr(estimator, "steps", None)
    if not steps:
        return None, estimator
    last = steps[-1][1]
    if last is None or last == "passthrough":
        return None, estimator
    return (estimator[:-1] if len(steps) > 1 else None), last


def _feature_count(estimator: Any) -> int:
    count = getattr(estimator, "n_features_in_", None)
    if count is None:
        raise SpecError(
            f"the {type(estimator).__name__} does not know its number of features; was it trained (fit)?"
        )
    return int(count)


def _names(estimator: Any) -> list[str] | None:
    names = getattr(estimator, "feature_names_in_", None)
    return None if names is None else [str(name) for name in names]


def _takes_nan(estimator: Any) -> bool:
    from sklearn.utils import get_tags

    try:
        return bool(get_tags(estimator).input_tags.allow_nan)
    except Exception:  # noqa: BLE001  # an estimator of somebody's own may have no tags: then it takes none
        return False


def _unknown(path: Path) -> list[str]:
    import skops.io

    return sorted(skops.io.get_untrusted_types(file=path))


def _estimator(path: Path, options: Mapping[str, Any]) -> Any:
    if options.get("format") == PICKLE:
        found = _unpickled(path)
    else:
        import skops.io

        types = _unknown(path)
        if unknown := sorted(set(types) - set(options.get("trusted", ()))):
            raise Untrusted(unknown)
        found = skops.io.load(path, trusted=types)
    if not hasattr(found, "get_params"):
        raise SpecError(f"it holds a {type(found).__name__}; expected an estimator of scikit-learn")
    return found


def _unpickled(path: Path) -> Any:
    """What a pickle holds. Only of files that the project trusts: `mdeploy build` insists on it."""
    content = path.read_bytes()
    if content[:1] == b"\x80" and b"NumpyArrayWrapper" not in content:
        return pickle.load(io.BytesIO(content))  # noqa: S301  # trusted by name in the project file
    import joblib

    return joblib.load(path)


def _plain(value: Any) -> Any:
    """An array of a type that has a name in specs; texts as objects."""
    array = value.toarray() if hasattr(value, "toarray") else np.asarray(value)
    if array.dtype.kind in "US":
        return array.astype(object)
    return array.astype(np.int64) if array.dtype.kind == "i" else array


def _name(dtype: np.dtype[Any]) -> str:
    if dtype.kind in "OUS":
        return "string"
    return "int64" if dtype.kind == "i" else dtype.name
