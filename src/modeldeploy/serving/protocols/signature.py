"""What protocols ask of a service's signature."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from ..runtimes.base import Value
from ..spec import ServiceSpec, TensorSpec
from ..tensors.encode import without_batch
from ..tensors.rules import Array
from .base import Asked

_KEPT = 64
"""Signatures that are kept; a process serves one, a test many."""
_known: dict[int, tuple[Sequence[TensorSpec], bool]] = {}


def joinable_rows(specs: Sequence[TensorSpec], arrays: Mapping[str, Array]) -> int:
    """Size of the batch that an engine may join with others; 0 where the inputs have no common one."""
    known = _known.get(id(specs))
    if known is None or known[0] is not specs:
        if len(_known) >= _KEPT:
            _known.clear()
        known = _known[id(specs)] = (specs, _joinable(specs))
    return len(arrays[specs[0].name]) if known[1] else 0


def _joinable(specs: Sequence[TensorSpec]) -> bool:
    """True if every input's leading dimension, and no other, is the batch."""
    if not specs or not all(tensor.batched for tensor in specs):
        return False
    leading = {(tensor.shape or ("",))[0] or "" for tensor in specs}
    others = {size for tensor in specs for size in (tensor.shape or ())[1:]}
    return len(leading) == 1 and not leading & others


class Unbatcher:
    """Takes the batch dimension from the outputs of one sample that came without it."""

    def __init__(self, spec: ServiceSpec) -> None:
        self._batched = {output.name: output.batched or output.shape is None for output in spec.outputs}

    def __call__(self, asked: Asked, value: Value, name: str) -> Value:
        """The output as the request's sender counts its dimensions."""
        return without_batch(value, batched=self._batched[name]) if asked.single else value
