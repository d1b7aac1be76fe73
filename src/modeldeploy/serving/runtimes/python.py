"""Models that are a Python class of the project's own.

The class has ``load(path)``, called once, and ``predict(arrays)``: from a dictionary of arrays by input name
to one of arrays by output name. ``close()`` and ``parallel`` (True: several threads may call ``predict``)
are optional.
"""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from ..spec import DTYPES, ModelSpec, SpecError, TensorSpec
from ..tensors.rules import Array
from .base import Settings, Value


class Python:
    """An object of the project's class."""

    def __init__(self, model: Any, spec: ModelSpec) -> None:
        self._model, self._spec = model, spec
        self.parallel = bool(getattr(model, "parallel", False))

    def run(self, arrays: Mapping[str, Array]) -> dict[str, Value]:
        """The outputs by name. Raises TypeError or ValueError where they are not those of the spec."""
        answer = self._model.predict(dict(arrays))
        if not isinstance(answer, Mapping):
            raise TypeError(f"predict gave {type(answer).__name__}; expected a dictionary of arrays")
        return {each.name: checked(each, answer, arrays, self._spec) for each in self._spec.outputs}

    def close(self) -> None:
        """Close the model, if it can be closed."""
        if close := getattr(self._model, "close", None):
            close()


def load(folder: Path, spec: ModelSpec, settings: Settings) -> Python:
    """Make an object of the class, and let it load its file or folder."""
    del settings  # the class runs as many threads as it likes
    model = _class(str(spec.options.get("class", "")))()
    for method in ("load", "predict"):
        if not callable(getattr(model, method, None)):
            raise SpecError(f"models.{spec.name}: {spec.options['class']} has no method {method}")
    model.load(str(folder / spec.path))
    return Python(model, spec)


def describe(path: Path, options: Mapping[str, Any]) -> dict[str, Any]:
    """Nothing: the project file tells its inputs and outputs. Raises where the class cannot be imported."""
    del path
    _class(str(options.get("class", "")))
    return {"inputs": [], "outputs": [], "options": {"class": options["class"]}}


def checked(
    tensor: TensorSpec, answer: Mapping[str, Any], arrays: Mapping[str, Array], spec: ModelSpec
) -> Array:
    """One output as the spec has it. Raises ValueError."""
    if tensor.name not in answer:
        raise ValueError(f"predict gave no {tensor.name!r}, only {sorted(map(str, answer))}")
    array = np.asarray(answer[tensor.name])
    kind = "string" if array.dtype.kind in "OUS" else array.dtype.name
    if kind != tensor.dtype and tensor.dtype in DTYPES:
        raise ValueError(f"predict gave {tensor.name!r} as {kind}; expected {tensor}")
    if tensor.shape is not None and not _fits(array.shape, tensor, arrays, spec):
        raise ValueError(f"predict gave {tensor.name!r} of the shape {list(array.shape)}; expected {tensor}")
    return array.astype(object) if kind == "string" else array


def _fits(shape: tuple[int, ...], tensor: TensorSpec, arrays: Mapping[str, Array], spec: ModelSpec) -> bool:
    wanted = tensor.shape or ()
    if len(shape) != len(wanted):
        return False
    rows = next((len(arrays[each.name]) for each in spec.inputs if each.batched), None)
    if tensor.batched and rows is not None and shape[0] != rows:
        return False
    return all(not isinstance(want, int) or want == size for size, want in zip(shape, wanted, strict=True))


def _class(told: str) -> Any:
    module, _, name = told.partition(":")
    if not module or not name:
        raise SpecError(f'class: expected "module:Class", got {told!r}')
    try:
        return getattr(importlib.import_module(module), name)
    except AttributeError as error:
        raise SpecError(f"class: the module {module} has no {name}") from error
