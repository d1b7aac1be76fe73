"""One of several models for each row: the rows of a request are split, and put together again in order."""

from __future__ import annotations

import functools
import operator
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from ..problems import BadInput
from ..runtimes.base import Model, Value
from ..spec import ModelSpec, TensorSpec
from ..tensors.rules import Array
from .form import Choose
from .rules import All, Comparison, Not, Rule

_OPERATORS: Mapping[str, Callable[[Any, Any], Any]] = {
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
    "==": operator.eq,
    "!=": operator.ne,
}


class ChooseModel:
    """A choice as one model."""

    def __init__(
        self,
        choose: Choose,
        inputs: Sequence[TensorSpec],
        outputs: Sequence[TensorSpec],
        specs: Mapping[str, ModelSpec],
        models: Mapping[str, Model],
    ) -> None:
        self.parallel = all(model.parallel for model in models.values())
        self._cases = choose.cases
        self._default = choose.default
        self._models = {
            name: (model, tuple(one.name for one in specs[name].inputs)) for name, model in models.items()
        }
        self._rows_of = inputs[0].name if all(one.batched for one in inputs) else None
        self._outputs = tuple(one.name for one in outputs)

    def run(self, arrays: Mapping[str, Array]) -> dict[str, Value]:
        """The outputs, each row by the model that the rules choose for it."""
        rows = 1 if self._rows_of is None else len(arrays[self._rows_of])
        chosen = self.choices(arrays, rows)
        if len(chosen) == 1:
            ((name, _),) = chosen.items()
            return self._ask(name, arrays)
        outputs: dict[str, Value] = {}
        for name, places in chosen.items():
            part = self._ask(name, {key: value[places] for key, value in arrays.items()})
            for output, value in part.items():
                _scatter(outputs, output, np.asarray(value), places, rows)
        return outputs

    def choices(self, arrays: Mapping[str, Array], rows: int) -> dict[str, Array]:
        """For each model that is asked, the places of its rows, ascending."""
        undecided = np.ones(rows, dtype=bool)
        masks: dict[str, Array] = {}
        left = rows
        for case in self._cases:
            mask = holds(case.rule, arrays, rows) & undecided
            taken = int(np.count_nonzero(mask))
            if taken:
                undecided &= ~mask
                masks[case.model] = masks[case.model] | mask if case.model in masks else mask
                left -= taken
            if not left:
                break
        if left or not masks:
            masks[self._default] = masks[self._default] | undecided if self._default in masks else undecided
        return {name: np.flatnonzero(mask) for name, mask in masks.items()}

    def _ask(self, name: str, arrays: Mapping[str, Array]) -> dict[str, Value]:
        model, inputs = self._models[name]
        answer = model.run({key: arrays[key] for key in inputs})
        return {output: answer[output] for output in self._outputs}

    def close(self) -> None:
        """Close all models."""
        for model, _ in self._models.values():
            model.close()


def holds(rule: Rule, arrays: Mapping[str, Array], rows: int) -> Array:
    """For each row whether a rule holds. Raises `BadInput` for an input that has no one value in each row."""
    if isinstance(rule, Comparison):
        compared = _OPERATORS[rule.operator](_values(rule, arrays, rows), rule.constant)
        return np.asarray(compared, dtype=bool)
    if isinstance(rule, Not):
        return ~holds(rule.inner, arrays, rows)
    join = operator.and_ if isinstance(rule, All) else operator.or_
    return functools.reduce(join, (holds(part, arrays, rows) for part in rule.parts))


def _values(rule: Comparison, arrays: Mapping[str, Array], rows: int) -> Array:
    value = arrays[rule.name]
    if rule.column is None:
        if value.size != rows:
            raise _not_one(rule, value, rows)
        return value.reshape(rows)
    if value.ndim != 2 or value.shape[0] != rows or rule.column >= value.shape[1]:
        raise _not_one(rule, value, rows)
    return value[:, rule.column]


def _not_one(rule: Comparison, value: Array, rows: int) -> BadInput:
    what = "one value" if rule.column is None else f"a column {rule.column}"
    return BadInput(
        f"{rule.name} decides which model answers, and does not have {what} in each of {rows} rows",
        field=rule.name,
        expected=f"{what} in each row",
        got=f"shape {list(value.shape)}",
    )


def _scatter(outputs: dict[str, Value], name: str, part: Array, places: Array, rows: int) -> None:
    whole = outputs.get(name)
    if whole is None:
        whole = outputs[name] = np.empty((rows, *part.shape[1:]), dtype=part.dtype)
    if not isinstance(whole, np.ndarray) or part.shape != (len(places), *whole.shape[1:]):
        raise ValueError(f"models give {name} in several shapes: {part.shape} for {len(places)} rows")
    if part.dtype.kind == "U" and part.dtype.itemsize > whole.dtype.itemsize:
        whole = outputs[name] = whole.astype(part.dtype)
    whole[places] = part
