"""What stands around an engine in a test: jobs that remember, a meter that counts, models made to measure."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Coroutine, Mapping, Sequence
from typing import Any

import numpy as np
import onnx

from modeldeploy.serving.engine.engine import Engine
from modeldeploy.serving.engine.job import Job
from modeldeploy.serving.exchange import Route
from modeldeploy.serving.problems import Problem
from modeldeploy.serving.runtimes.base import Value
from modeldeploy.serving.settings import ServiceSettings
from modeldeploy.serving.settings import settings as settings_of
from modeldeploy.serving.spec import ModelSpec, ServiceSpec, TensorSpec
from modeldeploy.serving.tensors.rules import Array

X = TensorSpec("x", "float32", ("batch", 2))
Y = TensorSpec("y", "float32", ("batch", 2))
POISON = 666.0
SLEEP = 777.0
EXIT = 888.0


def service(
    inputs: Sequence[TensorSpec] = (X,), outputs: Sequence[TensorSpec] = (Y,), framework: str = "onnx"
) -> ServiceSpec:
    model = ModelSpec("m", framework, "model", tuple(inputs), tuple(outputs))
    return ServiceSpec("m", inputs=model.inputs, outputs=model.outputs, models=(model,))


def set_up(spec: ServiceSpec, **variables: str) -> ServiceSettings:
    return settings_of(spec, {"MDEPLOY_INTRA_OP_THREADS": "64", **variables})


class Counted:
    """A meter that keeps what it was told."""

    def __init__(self) -> None:
        self.runs: list[tuple[int, int]] = []
        self.failures = 0
        self.queues: list[int] = []
        self.models: list[str] = []

    def answered(self, route: Route, status: int, seconds: float) -> None:
        raise AssertionError

    def ran(self, rows: int, jobs: int, seconds: float) -> None:
        assert seconds >= 0
        self.runs.append((rows, jobs))

    def failed(self, jobs: int) -> None:
        self.failures += jobs

    def queue(self, jobs: int) -> None:
        self.queues.append(jobs)

    def loaded(self, model: str, seconds: float) -> None:
        assert seconds > 0
        self.models.append(model)


class Doubling:
    """Doubles ``x``; takes its time, waits for a signal, or raises, as its rows say."""

    def __init__(self, *, seconds: float = 0.0, parallel: bool = False) -> None:
        self.parallel = parallel
        self.seconds = seconds
        self.sizes: list[int] = []
        self.threads: list[str] = []
        self.together = self.most_together = 0
        self.go = threading.Event()
        self.closed = False

    def run(self, arrays: Mapping[str, Array]) -> dict[str, Value]:
        x = arrays["x"]
        self.sizes.append(len(x))
        self.threads.append(threading.current_thread().name)
        self.together += 1
        self.most_together = max(self.most_together, self.together)
        try:
            if self.seconds:
                time.sleep(self.seconds)
            if (x == SLEEP).any():
                assert self.go.wait(20)
            if (x == EXIT).any():
                raise SystemExit(3)
            if (x == POISON).any():
                raise ValueError("secret of the model")
            return {"y": x * 2}
        finally:
            self.together -= 1

    def close(self) -> None:
        self.closed = True


class Asked(Job):
    """A job that remembers how it was answered, and when among others."""

    __slots__ = ("answers", "is_gone", "order")

    def __init__(
        self, values: Array, *, rows: int | None = None, seconds: float = 20.0, order: Any = None
    ) -> None:
        now = time.monotonic()
        super().__init__(
            {"x": values}, rows=len(values) if rows is None else rows, began=now, deadline=now + seconds
        )
        self.answers: list[Mapping[str, Value] | Problem] = []
        self.is_gone = False
        self.order = order

    @property
    def gone(self) -> bool:
        return self.is_gone

    def finish(self, outputs: Mapping[str, Value]) -> None:
        self._answer(outputs)

    def fail(self, problem: Problem) -> None:
        self._answer(problem)

    def _answer(self, answer: Mapping[str, Value] | Problem) -> None:
        self.answers.append(answer)
        if self.order is not None:
            self.order.append(self)

    @property
    def answer(self) -> Mapping[str, Value] | Problem:
        assert len(self.answers) == 1, self.answers
        return self.answers[0]

    @property
    def y(self) -> Any:
        answer = self.answer
        assert not isinstance(answer, Problem), answer
        y = answer["y"]
        return y.tolist() if isinstance(y, np.ndarray) else y

    @property
    def problem(self) -> Problem:
        assert isinstance(self.answer, Problem), self.answer
        return self.answer


def asked(*values: float, **options: Any) -> Asked:
    """A job of one row for each value, which stands in it twice."""
    return Asked(np.array([[value, value] for value in values], dtype=np.float32), **options)


async def all_answered(*jobs: Asked) -> None:
    last = time.monotonic() + 20
    while not all(job.answers for job in jobs):
        assert time.monotonic() < last, "no answer"
        await asyncio.sleep(0.001)


async def until(fact: Callable[[], object]) -> None:
    last = time.monotonic() + 20
    while not fact():
        assert time.monotonic() < last, "it did not come to that"
        await asyncio.sleep(0.001)


def on_loop(engine: Engine, story: Coroutine[Any, Any, None]) -> None:
    """Run a story on an event loop, then close the engine."""

    async def told() -> None:
        try:
            await story
        finally:
            engine.close()

    asyncio.run(told())


def in_one_turn(engine: Engine, jobs: Sequence[Asked]) -> None:
    """Submit jobs in one turn of an event loop, await their answers, and close the engine."""

    async def story() -> None:
        for job in jobs:
            engine.submit(job)
        await all_answered(*jobs)

    on_loop(engine, story())


def engine_of(model: Any, spec: Any = None, meter: Any = None, **variables: str) -> Engine:
    """An engine for a model made to measure; ``variables`` of the environment."""
    spec = spec or service()
    return Engine(spec, model, settings=set_up(spec, **variables), meter=meter or Counted())


def zip_map(given: str, made: str) -> onnx.ModelProto:
    """Scores of two classes as a list of maps, which scikit-learn's converters end models with."""
    node = onnx.helper.make_node("ZipMap", [given], [made], domain="ai.onnx.ml", classlabels_int64s=[10, 20])
    scores = onnx.helper.make_tensor_value_info(given, onnx.TensorProto.FLOAT, ["n", 2])
    row = onnx.helper.make_map_type_proto(
        onnx.TensorProto.INT64, onnx.helper.make_tensor_type_proto(onnx.TensorProto.FLOAT, None)
    )
    maps = onnx.helper.make_value_info(made, onnx.helper.make_sequence_type_proto(row))
    graph = onnx.helper.make_graph([node], "g", [scores], [maps])
    opsets = [onnx.helper.make_opsetid("", 17), onnx.helper.make_opsetid("ai.onnx.ml", 3)]
    return onnx.helper.make_model(graph, opset_imports=opsets, ir_version=8)
