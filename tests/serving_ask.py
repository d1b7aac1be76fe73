"""A service asked in this process: real routes and codecs around a model that gives back its inputs."""

from __future__ import annotations

import asyncio
import io
import json
import time
from collections.abc import Mapping
from typing import Any

import numpy as np

from modeldeploy.serving.engine.job import Job
from modeldeploy.serving.exchange import Exchange, Request, Response, Route
from modeldeploy.serving.problems import Problem
from modeldeploy.serving.protocols.identity import Identity
from modeldeploy.serving.protocols.paths import routes
from modeldeploy.serving.runtimes.base import Value
from modeldeploy.serving.settings import settings
from modeldeploy.serving.spec import ModelSpec, ServiceSpec, TensorSpec
from modeldeploy.serving.tensors.pieces import LARGE
from modeldeploy.serving.tensors.rules import Array

WHO = Identity("echo", "1.2.0")


class Echo:
    """An engine whose model's outputs are its inputs, or `value` or `problem` if there is one."""

    def __init__(self, spec: ServiceSpec) -> None:
        self.spec = spec
        self.ready = True
        self.problem: Problem | None = None
        self.value: dict[str, Value] | None = None
        self.jobs: list[Job] = []

    def submit(self, job: Job) -> None:
        self.jobs.append(job)
        if self.problem is not None:
            job.fail(self.problem)
        else:
            job.finish(self.run(job.arrays))

    def run(self, arrays: Mapping[str, Array]) -> dict[str, Value]:
        return dict(arrays) if self.value is None else self.value

    def close(self) -> None:
        pass


class Asked(Exchange):
    """An exchange that keeps its answer, and takes only one."""

    def __init__(self, request: Request) -> None:
        super().__init__(request, time.monotonic())
        self.answer: Response | None = None
        self.answered: asyncio.Event | None = None

    def reply(self, response: Response) -> None:
        assert self.answer is None
        self.answer = response
        if self.answered is not None:
            self.answered.set()


class Service:
    """The paths of a service with these inputs."""

    def __init__(
        self, *inputs: TensorSpec, outputs: tuple[TensorSpec, ...] | None = None, arrow: bool = True
    ) -> None:
        given = inputs if outputs is None else outputs
        model = ModelSpec("echo", "onnx", "model.onnx", inputs, given)
        self.spec = ServiceSpec("echo", inputs, given, (model,), protocols=("arrow",) if arrow else ())
        self.engine = Echo(self.spec)
        self.routes = routes(self.spec, self.engine, WHO, settings(self.spec, {}))

    @property
    def arrays(self) -> Mapping[str, Array]:
        """What the model was given last."""
        return self.engine.jobs[-1].arrays

    def ask(self, path: str, body: object = b"", method: str = "POST", **headers: str) -> Response:
        """The answer; a body that is not bytes goes as JSON."""
        content = body if isinstance(body, bytes) else json.dumps(body).encode()
        place, _, query = path.partition("?")
        names = {name.replace("_", "-"): value for name, value in headers.items()}
        exchange = Asked(Request(method, place, names, content, query))
        route = self.routes.find(method, place)
        assert route is not None, place
        if len(content) > LARGE:
            asyncio.run(_answered(exchange, route))
        else:
            route.handler(exchange)
        assert exchange.answer is not None
        return exchange.answer

    def post(self, path: str, body: object = b"", **headers: str) -> tuple[int, Any]:
        """Status and JSON of the answer."""
        answer = self.ask(path, body, **headers)
        return answer.status, json.loads(bytes(answer.body))


async def _answered(exchange: Asked, route: Route) -> None:
    exchange.answered = asyncio.Event()
    route.handler(exchange)
    await asyncio.wait_for(exchange.answered.wait(), 30)


def npy(array: Array) -> bytes:
    """The array as numpy itself writes it."""
    file = io.BytesIO()
    np.save(file, array, allow_pickle=False)
    return file.getvalue()
