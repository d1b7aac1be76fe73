"""What the frameworks for tables have in common: how rows come in, and what goes out.

A model of a table takes one matrix, the input ``features`` of the shape ``[batch, number of features]``:
that is what these frameworks compute on, what clients of other servers send them, and what can be joined
with other requests by one copy. A project that wants its clients to name the columns declares one input of
the shape ``["batch"]`` for each instead; they are put together in the order that the model was trained with.

A classifier answers with ``label`` and, where it knows them, ``probabilities`` (one for each class, in the
order of the classes); anything else with ``value``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from ..spec import ModelSpec, SpecError
from ..tensors.rules import Array

FEATURES, LABEL, PROBABILITIES, VALUE = "features", "label", "probabilities", "value"
BATCH = "batch"
MOST_NAMES = 10_000
"""Features that are named in a service's description; with more, none is."""

Matrix = Callable[[Mapping[str, Array]], Any]
"""From a request's arrays to what the model takes."""


def tensor(name: str, dtype: str, *sizes: int, **more: object) -> dict[str, Any]:
    """One tensor of a description, with a free first dimension."""
    return {"name": name, "dtype": dtype, "shape": [BATCH, *sizes], **more}


def features(count: int, dtype: str, *, nan: bool) -> dict[str, Any]:
    """The matrix that a model of a table takes. ``nan``: a value may be missing, which NaN says."""
    return tensor(FEATURES, dtype, count, **({"nan": True} if nan else {}))


def named(names: Sequence[str] | None) -> dict[str, Any]:
    """The options that keep what the features are called."""
    return {"features": list(names)} if names and len(names) <= MOST_NAMES else {}


def matrix(spec: ModelSpec, count: int, names: Sequence[str] | None) -> Matrix:
    """How to put a request's arrays together. ``names``: what the model calls its features, if it does.

    Raises `SpecError` where the inputs of the spec are neither one matrix nor one column for each feature.
    """
    if len(spec.inputs) == 1 and len(spec.inputs[0].shape or ()) == 2:
        only = spec.inputs[0]
        if only.shape and only.shape[1] not in {count, None} and not isinstance(only.shape[1], str):
            raise SpecError(f"models.{spec.name}: input {only} is not the model's [batch, {count}]")
        return _the_only(only.name)
    order = columns(spec, count, names)
    dtype = np.result_type(*(np.dtype(each.dtype) for each in spec.inputs))

    def stacked(arrays: Mapping[str, Array]) -> Array:
        rows = len(arrays[order[0]])
        whole = np.empty((rows, count), dtype)
        for index, name in enumerate(order):
            whole[:, index] = arrays[name].reshape(rows)
        return whole

    return stacked


def columns(spec: ModelSpec, count: int, names: Sequence[str] | None) -> list[str]:
    """Names of the inputs in the order of the model's features. Raises `SpecError`."""
    told = [each.name for each in spec.inputs]
    flat = all(each.shape is not None and len(each.shape) == 1 for each in spec.inputs)
    if not flat or len(told) != count:
        raise SpecError(
            f"models.{spec.name}: expected one input of the shape [batch, {count}], or {count} of the shape"
            f" [batch], one for each feature; got {', '.join(map(str, spec.inputs))[:300]}"
        )
    if names is None:
        return told
    if missing := sorted(set(names) - set(told)):
        raise SpecError(
            f"models.{spec.name}: no input is called {missing[0]!r}, as a feature of the model is"
        )
    return list(names)


def picked(outputs: Mapping[str, Any], wanted: Sequence[str], where: str) -> dict[str, Any]:
    """The outputs that the spec names, in its order. Raises `SpecError` for one that the model has not."""
    if missing := [name for name in wanted if name not in outputs]:
        raise SpecError(f"models.{where}: the model has no output {missing[0]!r}; it has {sorted(outputs)}")
    return {name: outputs[name] for name in wanted}


def _the_only(name: str) -> Matrix:
    return lambda arrays: arrays[name]
