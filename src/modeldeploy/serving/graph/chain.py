"""Models one after the other: each gets what clients sent and what those before it gave."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from ..runtimes.base import Model, Value
from ..spec import ModelSpec
from ..tensors.rules import Array
from .wiring import Wired

_Step = tuple[str, Model, tuple[tuple[str, str, np.dtype[np.generic] | None], ...]]
"""A model's name, the model, and for each of its inputs where it comes from and what it is cast to."""


class ChainModel:
    """A chain as one model."""

    def __init__(self, wired: Wired, specs: Mapping[str, ModelSpec], models: Mapping[str, Model]) -> None:
        self.parallel = all(model.parallel for model in models.values())
        self._models = tuple(models.values())
        types = {f"{name}.{one.name}": one.dtype for name, spec in specs.items() for one in spec.outputs}
        self._steps: list[_Step] = [
            (name, model, _bindings(specs[name], wired.sources, types)) for name, model in models.items()
        ]
        self._inputs = frozenset(wired.sources.values()) - types.keys()

    def run(self, arrays: Mapping[str, Array]) -> dict[str, Value]:
        """The last model's outputs."""
        known: dict[str, Value] = {name: arrays[name] for name in self._inputs}
        outputs: dict[str, Value] = {}
        for name, model, bindings in self._steps:
            outputs = model.run({own: _cast(known[source], dtype) for own, source, dtype in bindings})
            known |= {f"{name}.{output}": value for output, value in outputs.items()}
        return outputs

    def close(self) -> None:
        """Close all models."""
        for model in self._models:
            model.close()


def _bindings(
    spec: ModelSpec, sources: Mapping[str, str], types: Mapping[str, str]
) -> tuple[tuple[str, str, np.dtype[np.generic] | None], ...]:
    found = []
    for one in spec.inputs:
        source = sources[f"{spec.name}.{one.name}"]
        other = types.get(source, one.dtype)
        found.append((one.name, source, None if other == one.dtype else np.dtype(one.dtype)))
    return tuple(found)


def _cast(value: Value, dtype: np.dtype[np.generic] | None) -> Array:
    return np.asarray(value) if dtype is None else np.asarray(value).astype(dtype)
