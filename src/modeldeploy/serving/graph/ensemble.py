"""Models side by side: all get the same inputs, and their outputs become one by mean or by vote."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import numpy as np

from ..runtimes.base import Model, Value
from ..spec import ModelSpec, TensorSpec
from ..tensors.rules import Array
from .form import Ensemble

_WORTH = 0.0005
"""Seconds for all models one after the other; of less, handing them to threads costs more than it gives."""
_TRIALS = 6
_FASTER = 0.9
"""How much of the time threads may take at the most to be worth it."""
_UNTIL_NEXT = 10_000
"""Runs until it is tried again: requests may have become larger."""


class EnsembleModel:
    """An ensemble as one model.

    Its members run in threads of their own where that has shown to be faster.
    """

    def __init__(
        self,
        ensemble: Ensemble,
        outputs: Sequence[TensorSpec],
        specs: Mapping[str, ModelSpec],
        models: Mapping[str, Model],
    ) -> None:
        self.parallel = all(model.parallel for model in models.values())
        self._members = [
            (model, tuple(one.name for one in specs[name].inputs)) for name, model in models.items()
        ]
        self._outputs = tuple((one.name, np.dtype(_numpy(one.dtype))) for one in outputs)
        self._weights = _shares(ensemble, len(models)) if ensemble.combine != "vote" else None
        self._team = Team(len(models))

    def run(self, arrays: Mapping[str, Array]) -> dict[str, Value]:
        """The combined outputs. Raises ValueError where members give outputs of several shapes."""
        answers = self._team.run(
            [partial(model.run, {name: arrays[name] for name in names}) for model, names in self._members]
        )
        combined: dict[str, Value] = {}
        for name, dtype in self._outputs:
            parts = [np.asarray(answer[name]) for answer in answers]
            if len({part.shape for part in parts}) > 1:
                raise ValueError(f"models give {name} in several shapes: {[part.shape for part in parts]}")
            if self._weights:
                combined[name] = mean(parts, self._weights, dtype)
            else:
                combined[name] = vote([part.astype(dtype, copy=False) for part in parts])
        return combined

    def close(self) -> None:
        """End the threads and close all models."""
        self._team.close()
        for model, _ in self._members:
            model.close()


class Team:
    """Calls that are made one after the other, or at the same time where that has shown to be faster.

    A framework may use all processors for one call already, so nothing but a trial can tell.
    """

    def __init__(self, size: int) -> None:
        self._threads = size - 1 if (os.cpu_count() or 1) > 1 else 0
        self._pool = ThreadPoolExecutor(max(1, self._threads), thread_name_prefix="ensemble")
        self._trial: dict[bool, list[float]] = {False: [], True: []}
        self._left = 0
        self.together = False
        """True if the next calls are made at the same time."""

    def run(self, calls: Sequence[Callable[[], dict[str, Value]]]) -> list[dict[str, Value]]:
        """What the calls give, in their order. Raises what the first of them raises that does."""
        if not self._threads:
            return [call() for call in calls]
        if self._left:
            self._left -= 1
            return self._run(calls, together=self.together)
        slow, both = self._trial[False], self._trial[True]
        together = len(slow) >= _TRIALS and (len(slow) > len(both))
        began = time.perf_counter()
        answers = self._run(calls, together=together)
        self._trial[together].append(time.perf_counter() - began)
        self._decide(slow, both)
        return answers

    def _decide(self, slow: list[float], both: list[float]) -> None:
        """After some calls of both kinds in turn; of quick calls, threads are not even tried."""
        if len(slow) == _TRIALS and not both and _median(slow) < _WORTH:
            self.together = False
        elif len(both) >= _TRIALS:
            self.together = _median(both) < _FASTER * _median(slow[-_TRIALS:])
        else:
            return
        self._trial = {False: [], True: []}
        self._left = _UNTIL_NEXT

    def _run(
        self, calls: Sequence[Callable[[], dict[str, Value]]], *, together: bool
    ) -> list[dict[str, Value]]:
        if not together:
            return [call() for call in calls]
        waiting = [self._pool.submit(call) for call in calls[1:]]
        try:
            first = calls[0]()
        finally:
            # All end before the caller goes on: the arrays may be a buffer that is used again.
            outcomes = [future.exception() for future in waiting]
        failed = next((error for error in outcomes if error is not None), None)
        if failed is not None:
            raise failed
        return [first, *(future.result() for future in waiting)]

    def close(self) -> None:
        """End the threads."""
        self._pool.shutdown()


def _median(seconds: Sequence[float]) -> float:
    return sorted(seconds)[len(seconds) // 2]


def mean(parts: Sequence[Array], weights: Sequence[float], dtype: np.dtype[np.generic]) -> Array:
    """The weighted mean, element by element. ``weights`` add up to 1. Summed in double precision."""
    total = parts[0] * np.float64(weights[0])
    for part, weight in zip(parts[1:], weights[1:], strict=True):
        total += part * np.float64(weight)
    return np.asarray(total, dtype=dtype)


def vote(parts: Sequence[Array]) -> Array:
    """The label with the most votes, element by element.

    Of labels with equally many, the one whose first voter stands first.
    """
    votes = np.array([sum((other == part).astype(np.int32) for other in parts) for part in parts])
    winner = votes.argmax(axis=0)
    chosen = parts[0].copy()
    for index, part in enumerate(parts[1:], 1):
        chosen[winner == index] = part[winner == index]
    return chosen


def _shares(ensemble: Ensemble, count: int) -> tuple[float, ...]:
    weights = ensemble.weights or (1.0,) * count
    return tuple(weight / sum(weights) for weight in weights)


def _numpy(dtype: str) -> str:
    return "object" if dtype == "string" else dtype
