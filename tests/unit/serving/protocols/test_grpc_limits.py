"""What calls of gRPC may take of a worker, and how long clients that hang hold up its end."""

from __future__ import annotations

import asyncio
import gc
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest

from modeldeploy.serving.engine.job import Job
from modeldeploy.serving.observe.metrics import Metrics
from modeldeploy.serving.protocols import grpc as ours
from modeldeploy.serving.server.context import Room
from modeldeploy.serving.settings import settings
from modeldeploy.serving.spec import ModelSpec, ServiceSpec, TensorSpec
from serving_ask import WHO, Echo
from serving_bundle import grpc_address, plain_bundle, started
from serving_grpc import ALONE, INFER, Stub, code_of

LARGEST = 1_000_000
TENSORS = (TensorSpec("x", "float32", ("n", 10)),)
SPEC = ServiceSpec("echo", TENSORS, TENSORS, (ModelSpec("echo", "onnx", "model.onnx", TENSORS, TENSORS),))
HELD = grpc.StatusCode.RESOURCE_EXHAUSTED


class Waiting(Echo):
    """A model that runs when the test says so."""

    def __init__(self) -> None:
        super().__init__(SPEC)
        self.jobs: list[Job] = []
        self.submit = self.jobs.append  # type: ignore[method-assign,assignment]  # what the test is about


@dataclass
class Serving:
    """gRPC in a thread of the test."""

    loop: asyncio.AbstractEventLoop
    server: ours.Grpc
    engine: Waiting
    room: Room

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.server.port}"

    def wait_for(self, jobs: int) -> None:
        deadline = time.monotonic() + 10
        while len(self.engine.jobs) < jobs and time.monotonic() < deadline:
            time.sleep(0.01)
        assert len(self.engine.jobs) == jobs

    def answer_all(self) -> None:
        for job in self.engine.jobs:
            self.loop.call_soon_threadsafe(job.finish, job.arrays)


@contextmanager
def serving() -> Iterator[Serving]:
    begun: list[Serving] = []
    up, over = threading.Event(), threading.Event()

    async def main() -> None:
        engine, room = Waiting(), Room(2 * LARGEST)
        chosen = settings(SPEC, {"MDEPLOY_MAX_BODY_BYTES": str(LARGEST)})
        server = ours.Grpc(SPEC, engine, WHO, chosen, Metrics())
        await server.start("127.0.0.1:0", room)
        begun.append(Serving(asyncio.get_running_loop(), server, engine, room))
        up.set()
        await asyncio.to_thread(over.wait)
        await server.stop(0)

    thread = threading.Thread(target=asyncio.run, args=(main(),))
    thread.start()
    try:
        assert up.wait(20)
        yield begun[0]
    finally:
        over.set()
        thread.join(20)
    assert not thread.is_alive()


def rows(count: int) -> Any:
    asked = INFER(model_name=WHO.name)
    asked.inputs.add(name="x", datatype="FP32", shape=[count, 10])
    asked.raw_input_contents.append(np.zeros((count, 10), np.float32).tobytes())
    return asked


LARGE = rows(LARGEST // 50)
"""800 kB."""


def test_messages_take_room_from_the_bodies_of_all_and_one_too_many_is_refused() -> None:
    with serving() as running, grpc.insecure_channel(running.address) as channel:
        stub = Stub(channel)
        calls = [stub.future(LARGE) for _ in range(6)]
        running.wait_for(2)
        deadline = time.monotonic() + 10
        while sum(call.done() for call in calls) < 4 and time.monotonic() < deadline:
            time.sleep(0.01)
        refused = [call for call in calls if call.done()]
        assert [call.code() for call in refused] == [HELD] * 4
        assert "grpc-retry-pushback-ms" in dict(refused[0].trailing_metadata())
        assert running.room.held <= running.room.most
        assert stub.call("Check", "grpc.health.v1.Health").status == 1  # it waits for nobody's body
        running.answer_all()
        assert sum(call.code() == grpc.StatusCode.OK for call in calls) == 2
        deadline = time.monotonic() + 5
        while running.room.held and time.monotonic() < deadline:
            time.sleep(0.01)
        assert running.room.held == 0


def test_a_message_that_is_refused_is_not_kept() -> None:
    sent = b"\0" * 900_000
    with serving() as running, grpc.insecure_channel(running.address) as channel:
        infer = channel.unary_unary("/inference.GRPCInferenceService/ModelInfer")
        gc.disable()
        try:
            for _ in range(5):
                assert code_of(lambda: infer(sent, timeout=20)) == grpc.StatusCode.INVALID_ARGUMENT
            everything = [found for each in gc.get_objects() for found in gc.get_referents(each)]
        finally:
            gc.enable()
        kept = {id(each) for each in everything if isinstance(each, bytes) and each == sent}
        assert kept <= {id(sent)}


def test_small_messages_take_what_they_are() -> None:
    with serving() as running, grpc.insecure_channel(running.address) as channel:
        calls = [Stub(channel).future(rows(1)) for _ in range(50)]
        running.wait_for(50)
        running.answer_all()
        assert {call.code() for call in calls} == {grpc.StatusCode.OK}


def test_what_http_takes_is_not_there_for_grpc() -> None:
    with serving() as running, grpc.insecure_channel(running.address) as channel:
        assert running.room.take(int(1.5 * LARGEST))
        assert code_of(lambda: Stub(channel).infer(rows(1))) == HELD
        running.room.give(int(1.5 * LARGEST))
        call = Stub(channel).future(rows(1))
        running.wait_for(1)
        running.answer_all()
        assert call.code() == grpc.StatusCode.OK


def test_there_are_so_many_calls_at_once_and_no_more(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ours, "_MOST_CALLS", 3)
    with serving() as running, grpc.insecure_channel(running.address) as channel:
        calls = [Stub(channel).future(rows(1)) for _ in range(3)]
        running.wait_for(3)
        assert code_of(lambda: Stub(channel).infer(rows(1))) == HELD
        assert Stub(channel).call("ServerLive").live
        running.answer_all()
        assert {call.code() for call in calls} == {grpc.StatusCode.OK}
        call = Stub(channel).future(rows(1))
        running.wait_for(4)
        running.answer_all()
        assert call.code() == grpc.StatusCode.OK


def test_messages_that_never_come_hold_up_neither_health_nor_reflection_for_long() -> None:
    never = threading.Event()

    def silent() -> Iterator[bytes]:
        never.wait(20)
        yield from ()

    health = "/grpc.health.v1.Health/Check"
    mirror = "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo"
    with serving() as running, grpc.insecure_channel(running.address) as channel:
        slow = [channel.stream_unary(health).future(silent(), timeout=20) for _ in range(2)]
        began = time.monotonic()
        assert Stub(channel).call("Check", "grpc.health.v1.Health").status == 1
        assert time.monotonic() - began < 5
        assert slow[0].code() == grpc.StatusCode.DEADLINE_EXCEEDED
        held = [channel.stream_stream(mirror)(silent(), timeout=20) for _ in range(2)]
        time.sleep(0.2)
        assert code_of(lambda: list(channel.stream_stream(mirror)(iter([b""]), timeout=20))) == HELD
        for call in held:
            call.cancel()
        never.set()


HANGING = """
import sys, time
import grpc
channel = grpc.insecure_channel(sys.argv[1])
assert channel.unary_unary("/inference.GRPCInferenceService/ServerLive")(b"", timeout=20)
if sys.argv[2] == "watches":
    watch = channel.unary_stream("/grpc.health.v1.Health/Watch")(b"")
    assert next(watch)
print("asked", flush=True)
time.sleep(120)
"""


@pytest.mark.parametrize("what", ["idles", "watches"])
def test_a_client_that_hangs_does_not_hold_up_the_end(what: str, tmp_path: Path) -> None:
    worker = started(plain_bundle(tmp_path / "b"), tmp_path)
    command = [sys.executable, "-c", HANGING, grpc_address(worker), what]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as client, ExitStack() as held:
        held.callback(client.kill)
        assert client.stdout is not None and client.stdout.readline() == b"asked\n"
        client.send_signal(signal.SIGSTOP)
        began = time.monotonic()
        assert worker.stop() == 0
        assert time.monotonic() - began < 6


def test_calls_in_flight_end_although_another_client_hangs() -> None:
    with serving() as running, ExitStack() as held:
        command = [sys.executable, "-c", HANGING, running.address, "idles"]
        client = held.enter_context(subprocess.Popen(command, stdout=subprocess.PIPE))
        held.callback(client.kill)
        assert client.stdout is not None and client.stdout.readline() == b"asked\n"
        client.send_signal(signal.SIGSTOP)
        channel = held.enter_context(grpc.insecure_channel(running.address, options=ALONE))
        call = Stub(channel).future(rows(1))
        running.wait_for(1)
        stopping = asyncio.run_coroutine_threadsafe(running.server.stop(20), running.loop)
        time.sleep(1.5)
        assert not stopping.done() and not call.done()
        running.answer_all()
        assert call.code() == grpc.StatusCode.OK
        stopping.result(4)
