"""The dimensions of outputs as the sender of a request counts them."""

from __future__ import annotations

from ..runtimes.base import Value
from ..spec import ServiceSpec
from ..tensors.encode import without_batch
from .base import Asked


class Unbatcher:
    """Takes the batch dimension from the outputs of one sample that came without it."""

    def __init__(self, spec: ServiceSpec) -> None:
        self._batched = {output.name: output.batched or output.shape is None for output in spec.outputs}

    def __call__(self, asked: Asked, value: Value, name: str) -> Value:
        """The output as the request's sender counts its dimensions."""
        return without_batch(value, batched=self._batched[name]) if asked.single else value
