"""Models that misbehave in every way we could think of, behind a real worker: the service lives on."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import onnx
import pytest
from onnx import TensorProto, helper

from modeldeploy import serving
from serving_place import Start, Worker

_ROWS = [{"name": "x", "dtype": "float32", "shape": ["batch", 4]}]
_SUMS = [{"name": "y", "dtype": "float32", "shape": ["batch"]}]
_MODEL = """
import asyncio, os, signal, sys, time
import numpy as np

class Unspeakable(Exception):
    def __str__(self): raise RuntimeError("no words")
    __repr__ = __str__

class Endless(BaseException):
    pass

def recurse(): return recurse()

class Model:
    def load(self, path): pass

    def predict(self, arrays):
        code = int(arrays["x"][0, 0])
        sums = arrays["x"].sum(axis=1)
        if code in RAISED: raise RAISED[code]
        if code in GIVEN: return GIVEN[code](sums)
        if code == 300: recurse()
        if code == 301: time.sleep(1000)
        if code == 302: os._exit(7)
        if code == 303: os.kill(os.getpid(), signal.SIGSEGV)
        if code == 304: arrays["x"][:] = 9; arrays.clear()
        return {"y": sums}

RAISED = {100: ValueError("/etc/passwd"), 101: SystemExit(3), 102: KeyboardInterrupt(), 103: GeneratorExit(),
          104: MemoryError(), 105: asyncio.CancelledError(), 106: StopIteration(), 107: Unspeakable(),
          108: Endless("x" * 10_000_000)}
GIVEN = {200: lambda y: {"y": y.astype("float64")}, 201: lambda y: {"y": y[:0]}, 202: lambda y: None,
         203: lambda y: {"z": y}, 204: lambda y: {"y": object()}, 205: lambda y: {"y": [object()] * len(y)},
         206: lambda y: {"y": np.zeros(2**30, "float32")}, 207: lambda y: y}
"""


def _bundle(folder: Path, framework: str, **model: object) -> Path:
    """A bundle of our own making, without a Bento, that uses the package as it is in this tree."""
    source = folder / "bundle" / "src"
    source.mkdir(parents=True)
    (source / "mdeploy_serving").symlink_to(Path(serving.__file__).parent)
    told = {"framework": framework, "path": "model.onnx", "inputs": _ROWS, "outputs": _SUMS, **model}
    spec = {"format": 2, "name": "attacked", "inputs": _ROWS, "outputs": _SUMS, "models": {"attacked": told}}
    (source / "mdeploy_service.json").write_text(json.dumps(spec))
    return source.parent


@pytest.fixture
def hostile(tmp_path: Path) -> Path:
    bundle = _bundle(tmp_path, "python", options={"class": "models:Model"})
    (bundle / "src" / "models.py").write_text(_MODEL)
    (bundle / "src" / "model.onnx").touch()
    return bundle


@pytest.fixture
def endless(tmp_path: Path) -> Path:
    """Sums rows in no time, unless an entry is above 1000: then it runs for ever, in native code."""
    state: list[tuple[str, int, list[int] | None]] = [
        ("more", TensorProto.BOOL, []),
        ("value", TensorProto.FLOAT, None),
    ]
    ins = [helper.make_tensor_value_info(name, kind, shape) for name, kind, shape in state]
    outs = [helper.make_tensor_value_info(f"{name}_out", kind, shape) for name, kind, shape in state]
    same = [helper.make_node("Identity", [name], [f"{name}_out"]) for name, _, _ in state]
    body = helper.make_graph(
        same, "body", [helper.make_tensor_value_info("i", TensorProto.INT64, []), *ins], outs
    )
    nodes = [
        helper.make_node("ReduceSum", ["x", "axis"], ["sums"], keepdims=0),
        helper.make_node("ReduceMax", ["x"], ["largest"], keepdims=0),
        helper.make_node("Greater", ["largest", "bound"], ["hangs"]),
        helper.make_node("Loop", ["", "hangs", "sums"], ["y"], body=body),
    ]
    graph = helper.make_graph(
        nodes,
        "endless",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch", 4])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["batch"])],
        [
            helper.make_tensor("axis", TensorProto.INT64, [1], [1]),
            helper.make_tensor("bound", TensorProto.FLOAT, [], [1000.0]),
        ],
    )
    bundle = _bundle(tmp_path, "onnx")
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.save(model, bundle / "src" / "model.onnx")
    return bundle


def _ask(worker: Worker, code: int) -> int:
    return worker.post("/predict", {"x": [[code, 0, 0, 0]]})[0]


def _codes(first: int, last: int) -> Iterator[int]:
    return iter(range(first, last + 1))


def test_whatever_a_model_raises_or_gives_fails_that_request_alone(hostile: Path, start: Start) -> None:
    worker = start(hostile).ready()
    for code in (*_codes(100, 108), *_codes(200, 207), 300):
        status, answer = worker.post("/predict", {"x": [[code, 0, 0, 0]]})
        assert (code, status) == (code, 500)
        assert "passwd" not in json.dumps(answer)
        assert _ask(worker, 1) == 200
    assert _ask(worker, 304) == 200, "an input that it writes into is its own"
    assert worker.get("/readyz")[0] == 200
    assert len(worker.log) < 200_000, "what it says of itself does not fill the disk"
    assert worker.stop() == 0


def test_a_model_that_never_returns_is_not_ready_but_alive(hostile: Path, start: Start) -> None:
    worker = start(hostile, MDEPLOY_TIMEOUT="500ms").ready()
    assert _ask(worker, 301) == 504
    assert worker.get("/livez")[0] == 200
    assert worker.get("/readyz")[0] == 503
    status, answer = worker.post("/predict", {"x": [[1, 0, 0, 0]]})
    assert (status, answer["error"]) == (
        503,
        "the model has been busy with one request for longer than any may take",
    )
    assert worker.stop() == 0


def test_a_native_model_that_hangs_on_the_event_loop_is_called_off(endless: Path, start: Start) -> None:
    worker = start(endless, MDEPLOY_TIMEOUT="500ms").ready()
    assert worker.post("/predict", {"x": [[1, 2, 3, 4]]}) == (200, {"y": [10.0]})
    status, answer = worker.post("/predict", {"x": [[5000, 0, 0, 0]]})
    assert (status, answer["error"]) == (504, "the model gave no answer within 0.5 s")
    with ThreadPoolExecutor(8) as together:
        statuses = list(together.map(lambda _: _ask(worker, 2), range(8)))
    assert statuses == [200] * 8
    assert worker.get("/readyz")[0] == 200
    assert worker.stop() == 0


@pytest.mark.parametrize("code", [302, 303])
def test_a_model_that_kills_its_process_is_served_by_the_next_one(
    hostile: Path, start: Start, code: int
) -> None:
    worker = start(hostile, "--workers", "2").ready()
    with pytest.raises(OSError, match=r"closed connection|reset"):
        _ask(worker, code)
    assert [_ask(worker, 1) for _ in range(10)] == [200] * 10
    deadline = time.monotonic() + 20
    while "the next one starts" not in worker.log and time.monotonic() < deadline:
        time.sleep(0.05)
    assert worker.get("/readyz")[0] == 200
    assert worker.stop() == 0


def test_a_body_that_is_worth_gigabytes_is_refused_at_once(endless: Path, start: Start) -> None:
    worker = start(endless).ready()
    body = b'{"x":[' + b"[]," * 8_000_000 + b"1]}"
    began = time.monotonic()
    status, answer = worker.post("/predict", body)
    assert status == 413
    assert "MB to read" in answer["error"]
    assert time.monotonic() - began < 2
    for path in ("/invocations", "/v2/models/attacked/infer"):
        assert worker.post(path, body)[0] == 413
    assert worker.stop() == 0


def test_a_client_that_never_reads_large_answers_costs_their_size_only(endless: Path, start: Start) -> None:
    worker = start(endless).ready()
    rows = b'{"x":[' + b"[1,2,3,4]," * 50_000 + b"[1,2,3,4]]}"
    head = b"POST /predict HTTP/1.1\r\nhost: a\r\ncontent-length: %d\r\n\r\n" % len(rows)
    with socket.socket(socket.AF_UNIX) as client:
        client.connect(str(worker.socket))
        client.settimeout(1)
        with pytest.raises(TimeoutError):
            client.sendall((head + rows) * 100)
        assert _ask(worker, 1) == 200
        assert _memory(worker.process.pid) < 400 * 1024 * 1024
    assert worker.stop() == 0


def _memory(pid: int) -> int:
    """Bytes that a process has in memory."""
    asked = subprocess.run(["ps", "-o", "rss=", "-p", str(pid)], capture_output=True, check=True, text=True)
    return int(asked.stdout) * 1024


def test_a_frozen_child_leaves_the_others_at_work(hostile: Path, start: Start) -> None:
    worker = start(hostile, "--workers", "2").ready()
    asked = subprocess.run(
        ["pgrep", "-P", str(worker.process.pid)], capture_output=True, check=True, text=True
    )
    child = int(asked.stdout.split()[0])
    os.kill(child, signal.SIGSTOP)
    try:
        assert [_ask(worker, 1) for _ in range(4)] == [200] * 4
    finally:
        os.kill(child, signal.SIGCONT)
    assert worker.stop() == 0


def test_a_client_that_offers_http2_is_answered_in_http1(endless: Path, start: Start) -> None:
    worker = start(endless).ready()
    body = b'{"x": [[1, 2, 3, 4]]}'
    head = (
        b"POST /predict HTTP/1.1\r\nconnection: Upgrade, HTTP2-Settings\r\ncontent-length: %d\r\nhost: a\r\n"
        b"http2-settings: AAEAAEAA\r\nupgrade: h2c\r\n\r\n"
    )
    with socket.socket(socket.AF_UNIX) as client:
        client.connect(str(worker.socket))
        client.settimeout(10)
        client.sendall(head % len(body) + body)
        assert client.recv(4096).endswith(b'{"y":[10.0]}')
    assert worker.stop() == 0


def test_a_worker_that_finds_its_place_taken_leaves_what_is_anothers(endless: Path, start: Start) -> None:
    worker = start(endless).ready()
    home = worker.socket.with_name("w.sock.home")
    assert home.is_dir()
    second = start(endless)
    assert second.process.wait(timeout=30) == 1
    assert "another process serves on" in second.log
    assert home.is_dir(), "BentoML's home is the living worker's"
    assert _ask(worker, 1) == 200
    assert worker.stop() == 0
    assert not home.exists() and not worker.socket.exists()


@pytest.mark.parametrize("workers", ["1", "2"])
def test_of_two_that_start_at_one_place_one_serves_and_the_other_says_why(
    endless: Path, start: Start, workers: str
) -> None:
    """A socket that is bound and not listened on yet cannot be told from one that a dead worker left."""
    first = start(endless, "--workers", workers)
    deadline = time.monotonic() + 20
    while not first.socket.exists() and time.monotonic() < deadline:
        time.sleep(0.001)
    os.kill(first.process.pid, signal.SIGSTOP)
    second = start(endless, "--workers", workers).ready()
    os.kill(first.process.pid, signal.SIGCONT)
    assert first.process.wait(timeout=30) == 1
    assert _ask(second, 1) == 200
    assert second.stop() == 0
    assert not second.socket.exists()
