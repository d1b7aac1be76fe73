"""Asking the engine from other threads than the event loop's."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Mapping
from contextlib import nullcontext
from typing import Protocol

from ..problems import Problem
from ..runtimes.base import Model, Value
from ..spec import ServiceSpec
from ..tensors.rules import Array
from .batch import Rows
from .job import Job


class _Engine(Protocol):
    spec: ServiceSpec

    def submit(self, job: Job) -> None: ...


class Outside:
    """The way in for callers with threads of their own."""

    def __init__(self, engine: _Engine, model: Model) -> None:
        self._engine = engine
        self._model = model
        self._rows = Rows(engine.spec.inputs)
        self._turn = nullcontext() if model.parallel else threading.Lock()

    def run(
        self, arrays: Mapping[str, Array], loop: asyncio.AbstractEventLoop | None, *, timeout: float
    ) -> dict[str, Value]:
        """The outputs; raises `Problem`. Without a loop the caller's thread runs the model itself."""
        if loop is None:
            with self._turn:
                return self._model.run(arrays)
        began = time.monotonic()
        job = _Waited(
            arrays,
            rows=self._rows(arrays),
            began=began,
            deadline=began + timeout,
        )
        loop.call_soon_threadsafe(self._engine.submit, job)
        return job.outcome()


class _Waited(Job):
    """A job whose thread sleeps until it is answered."""

    __slots__ = ("_answer", "_answered")

    def __init__(self, arrays: Mapping[str, Array], *, rows: int, began: float, deadline: float) -> None:
        super().__init__(arrays, rows=rows, began=began, deadline=deadline)
        self._answered = threading.Event()
        self._answer: Mapping[str, Value] | Problem = {}

    def finish(self, outputs: Mapping[str, Value]) -> None:
        self._answer = outputs
        self._answered.set()

    def fail(self, problem: Problem) -> None:
        self._answer = problem
        self._answered.set()

    def outcome(self) -> dict[str, Value]:
        self._answered.wait()
        if isinstance(self._answer, Problem):
            raise self._answer
        return dict(self._answer)
