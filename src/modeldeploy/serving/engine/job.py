"""What the engine is asked to do, and how it answers."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Protocol

from ..problems import Problem
from ..runtimes.base import Value
from ..spec import ServiceSpec
from ..tensors.rules import Array


class Job(ABC):
    """One request to the model. Made, submitted and answered on the event loop's thread.

    The engine calls `finish` or `fail`, exactly once, later or before ``submit`` returns; neither may raise.
    """

    __slots__ = ("arrays", "began", "deadline", "rows")

    def __init__(self, arrays: Mapping[str, Array], *, rows: int, began: float, deadline: float) -> None:
        self.arrays = arrays
        """By input name, as the model takes them: with the batch dimension."""
        self.rows = rows
        """Size of the batch dimension; 0 where the inputs have none, so that nothing can be joined."""
        self.began = began
        self.deadline = deadline
        """By ``time.monotonic()``: a job that waits longer fails with `TimedOut`."""

    @property
    def gone(self) -> bool:
        """Nobody waits for the answer any more: the engine need not run it."""
        return False

    @property
    def request_id(self) -> str:
        """For logs, from any thread; "" where there is none."""
        return ""

    @abstractmethod
    def finish(self, outputs: Mapping[str, Value]) -> None:
        """The model's outputs for just these rows."""

    @abstractmethod
    def fail(self, problem: Problem) -> None:
        """Why there are none."""


class Engine(Protocol):
    """A service's models, loaded and warm (`modeldeploy.serving.engine.engine` has the one there is)."""

    spec: ServiceSpec

    def submit(self, job: Job) -> None:
        """Take a job, on the event loop's thread. A full queue fails it at once with `Overloaded`."""

    def run(self, arrays: Mapping[str, Array]) -> dict[str, Value]:
        """The outputs, from any thread but the loop's; for callers that bring their own (BentoML's pool)."""

    @property
    def ready(self) -> bool:
        """Loaded, warm, not stopping, and not stuck in a run that is past every deadline."""

    def close(self) -> None:
        """Fail what waits with `NotReady`, end the threads, close the models."""
