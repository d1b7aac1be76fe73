"""Functions of the project's own, before and after the models."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from ..problems import BadInput, Problem
from ..runtimes.base import Model, Value
from ..spec import FILE, SpecError, TensorSpec
from ..tensors.rules import Array
from .wiring import fits

Hook = Callable[[dict[str, Any]], Any]
_LONGEST = 500


class HookFailed(RuntimeError):
    """A hook raised or gave something else than what comes after it takes: the service's fault."""


class Hooked:
    """A model with functions of the project's own around it.

    ``before`` gets what clients sent, as arrays by name, and gives what the models take; it says no by
    `BadInput`, or any other ValueError, whose text the client is told. ``after`` gets what the models gave
    and gives what clients get.
    """

    def __init__(
        self,
        model: Model,
        *,
        before: Hook | None,
        after: Hook | None,
        sent: tuple[TensorSpec, ...],
        taken: tuple[TensorSpec, ...],
        answered: tuple[TensorSpec, ...],
    ) -> None:
        self.parallel = model.parallel and all(
            getattr(hook, "parallel", False) for hook in (before, after) if hook
        )
        self._model, self._before, self._after = model, before, after
        self._rows_of = sent[0].name if all(one.batched for one in sent) else ""
        self._taken, self._answered = taken, answered

    def run(self, arrays: Mapping[str, Array]) -> dict[str, Value]:
        """The outputs by name. Raises `BadInput` for input that ``before`` refuses, else `HookFailed`."""
        rows = len(arrays[self._rows_of]) if self._rows_of else None
        if self._before:
            arrays = checked(self._asked(arrays), self._taken, "preprocess", rows)
        outputs = self._model.run(arrays)
        if self._after is None:
            return outputs
        try:
            given = self._after(dict(outputs))
        except Problem as problem:  # the client has done nothing wrong
            raise HookFailed(f"postprocess: {problem}") from problem
        answer = checked(given, self._answered, "postprocess", rows)
        return {one.name: answer[one.name] for one in self._answered}

    def _asked(self, arrays: Mapping[str, Array]) -> Any:
        own = {
            name: value if value.flags.writeable else value.copy() for name, value in arrays.items()
        }  # it may write into them
        try:
            return self._before(own) if self._before else own
        except ValueError as error:
            raise BadInput(str(error)[:_LONGEST] or "preprocess refuses this input") from error

    def close(self) -> None:
        """Close the model."""
        self._model.close()


def load(named: str, folder: Path) -> Hook:
    """The function ``module:name`` of a service's folder. Raises `SpecError` where it is not there."""
    module, _, name = named.partition(":")
    if str(folder) not in sys.path:
        sys.path.insert(0, str(folder))
    importlib.invalidate_caches()
    try:
        found = getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError) as error:
        raise SpecError(f"{FILE}: hooks: {named} cannot be loaded: {error}") from error
    if not callable(found):
        raise SpecError(f"{FILE}: hooks: {named} is {type(found).__name__}; expected a function")
    return found  # type: ignore[no-any-return]  # what it takes and gives shows when it runs


def checked(given: object, specs: tuple[TensorSpec, ...], hook: str, rows: int | None) -> dict[str, Array]:
    """A hook's arrays as what comes after it takes them. Raises `HookFailed` naming the array.

    Types are widened or narrowed within their kind (float64 to float32), for numpy calculates in float64.
    What nothing asks for is passed on: a rule may look at it.
    """
    if not isinstance(given, Mapping):
        raise HookFailed(f"{hook} gave {type(given).__name__}; expected a dict of arrays")
    arrays = {name: np.asarray(value) for name, value in given.items()}
    for one in specs:
        if one.name not in arrays:
            raise HookFailed(f"{hook} gave no '{one.name}', only {', '.join(map(str, arrays))}")
        arrays[one.name] = _as_said(one, arrays[one.name], hook, rows)
    return arrays


def _as_said(one: TensorSpec, value: Array, hook: str, rows: int | None) -> Array:
    kind = "string" if value.dtype.kind in "OUS" else value.dtype.name
    if one.dtype == "string" and kind == "string":
        value = value.astype(object)
    elif kind != one.dtype and "(" not in one.dtype:
        if "string" in (kind, one.dtype) or not np.can_cast(value.dtype, one.dtype, "same_kind"):
            raise HookFailed(f"{hook} gave '{one.name}' as {kind}; expected {one}")
        value = value.astype(one.dtype)
    found = TensorSpec(one.name, one.dtype, value.shape)
    fault = fits(found, one) if "(" not in one.dtype else ""
    if not fault and rows is not None and one.batched and len(value) != rows:
        fault = f"{len(value)} rows are not {rows}"
    if fault:
        raise HookFailed(f"{hook} gave '{one.name}' as {found}; expected {one}: {fault}")
    return value
