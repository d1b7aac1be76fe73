"""Long bodies are read and answers with many values written in a thread, one after the other."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Coroutine, Mapping
from typing import Any

import numpy as np
import pytest

from model_engine_place import until
from modeldeploy.serving.exchange import Handler, Request, Response
from modeldeploy.serving.problems import BadInput, Problem
from modeldeploy.serving.protocols.base import Asked, endpoint
from modeldeploy.serving.protocols.predict import refusal
from modeldeploy.serving.runtimes.base import Value
from modeldeploy.serving.spec import ModelSpec, ServiceSpec, TensorSpec
from modeldeploy.serving.tensors.pieces import LARGE
from serving_ask import Asked as Exchanged
from serving_ask import Echo

X = TensorSpec("x", "float32", ("n",))
LONG = b" " * (LARGE + 1)


class Slow:
    """A codec that notes in which thread it reads and writes; a long body waits until it may go on."""

    def __init__(self) -> None:
        self.threads: list[str] = []
        self.bodies: list[bytes] = []
        self.go = threading.Event()
        self.values = 1

    def read(self, request: Request) -> Asked:
        self._note(bytes(request.body[:1]))
        if request.body[:1] == b"!":
            raise BadInput("no")
        if request.body[:1] == b"?":
            raise RuntimeError("secret")
        if len(request.body) > LARGE:
            assert self.go.wait(20)
        return Asked({"x": np.zeros(self.values, dtype=np.float32)}, 1)

    def write(self, asked: Asked, outputs: Mapping[str, Value]) -> Response:
        self._note(b"w")
        if self.values == 200_001:
            raise RuntimeError("secret")
        return Response(200, b"{}")

    def refuse(self, problem: Problem) -> Response:
        return refusal(problem)

    def _note(self, what: bytes) -> None:
        self.bodies.append(what)
        self.threads.append(threading.current_thread().name)


@pytest.fixture
def codec() -> Slow:
    return Slow()


@pytest.fixture
def engine() -> Echo:
    return Echo(ServiceSpec("echo", (X,), (X,), (ModelSpec("echo", "onnx", "m", (X,), (X,)),)))


def live(story: Coroutine[Any, Any, None]) -> None:
    asyncio.run(asyncio.wait_for(story, 20))


def post(handler: Handler, body: bytes, path: str = "/predict", **headers: str) -> Exchanged:
    exchange = Exchanged(Request("POST", path, {k.replace("_", "-"): v for k, v in headers.items()}, body))
    handler(exchange)
    return exchange


def status(exchange: Exchanged) -> int:
    return 0 if exchange.answer is None else exchange.answer.status


def test_short_ones_are_answered_while_a_long_one_is_read_and_long_ones_in_order(
    codec: Slow, engine: Echo
) -> None:
    async def story() -> None:
        handler = endpoint(codec, engine, timeout=10)
        long = [post(handler, name + LONG) for name in (b"1", b"2", b"3")]
        await until(lambda: codec.bodies == [b"1"])
        assert status(post(handler, b"s")) == 200
        assert [status(one) for one in long] == [0, 0, 0]
        assert sum(thread.name == "mdeploy-bodies" for thread in threading.enumerate()) == 1
        codec.go.set()
        await until(lambda: all(map(status, long)))

    live(story())
    assert [name for name in codec.bodies if name != b"w"] == [b"1", b"s", b"2", b"3"]
    names = dict(zip(codec.bodies, codec.threads, strict=True))
    assert names[b"1"] == names[b"3"] == "mdeploy-bodies" != names[b"s"]


def test_a_long_body_keeps_its_deadline_and_is_not_read_after_it(codec: Slow, engine: Echo) -> None:
    async def story() -> None:
        handler = endpoint(codec, engine, timeout=0.2)
        long = [post(handler, name + LONG) for name in (b"1", b"2")]
        began = time.monotonic()
        await until(lambda: all(map(status, long)))
        assert time.monotonic() - began < 5
        assert {status(one) for one in long} == {504}
        codec.go.set()
        assert status(post(handler, b"s")) == 200
        await until(lambda: not any(thread.name == "mdeploy-bodies" for thread in threading.enumerate()))
        await asyncio.sleep(0)

    live(story())
    assert b"2" not in codec.bodies
    assert len(engine.jobs) == 1


def test_what_a_client_that_left_had_sent_is_forgotten(codec: Slow, engine: Echo) -> None:
    async def story() -> None:
        handler = endpoint(codec, engine, timeout=10)
        first, second, third = (post(handler, name + LONG) for name in (b"1", b"2", b"3"))
        await until(lambda: codec.bodies == [b"1"])
        for left in (first, second):
            left.gone = True
            assert left.on_gone is not None
            left.on_gone()
        codec.go.set()
        await until(lambda: status(third) == 200)
        assert first.answer is None
        assert second.answer is None

    live(story())
    assert b"2" not in codec.bodies
    assert len(engine.jobs) == 1, "the first is not run either"


@pytest.mark.parametrize(("mark", "expected"), [(b"!", 400), (b"?", 500)])
def test_what_is_wrong_with_a_long_body_is_answered(
    codec: Slow, engine: Echo, mark: bytes, expected: int
) -> None:
    async def story() -> None:
        exchange = post(endpoint(codec, engine, timeout=10), mark + LONG)
        await until(lambda: status(exchange) > 0)
        assert status(exchange) == expected
        assert exchange.answer is not None
        assert b"secret" not in bytes(exchange.answer.body)

    live(story())


def test_binary_bodies_are_read_at_once_however_long(codec: Slow, engine: Echo) -> None:
    codec.go.set()

    async def story() -> None:
        handler = endpoint(codec, engine, timeout=10)
        assert status(post(handler, LONG, content_type="application/x-npy")) == 200
        infer = "/v2/models/echo/infer"
        assert status(post(handler, LONG, infer, inference_header_content_length="100")) == 200
        assert status(post(handler, LONG, infer, inference_header_content_length=str(len(LONG)))) == 0
        assert status(post(handler, LONG, inference_header_content_length="100")) == 0, "not V2's"

    live(story())


def test_where_no_thread_can_be_had_a_long_body_is_read_all_the_same(
    codec: Slow, engine: Echo, monkeypatch: pytest.MonkeyPatch
) -> None:
    def none_left(_: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    codec.go.set()
    monkeypatch.setattr(threading.Thread, "start", none_left)

    async def story() -> None:
        exchanges = [post(endpoint(codec, engine, timeout=10), LONG) for _ in range(2)]
        await until(lambda: all(map(status, exchanges)))

    live(story())
    assert len(engine.jobs) == 2


@pytest.mark.parametrize(("values", "expected"), [(200_000, 200), (200_001, 500)])
def test_answers_with_many_values_are_written_aside(
    codec: Slow, engine: Echo, values: int, expected: int
) -> None:
    async def story() -> None:
        codec.values = values
        exchange = post(endpoint(codec, engine, timeout=10), b"s")
        assert exchange.answer is None
        await until(lambda: status(exchange) > 0)
        assert status(exchange) == expected

    live(story())
    assert codec.threads[-1] == "mdeploy-bodies"
