"""Logs that nobody reads, or that lead nowhere: the service answers all the same."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from modeldeploy.serving.server.outlet import Outlet
from serving_bundle import plain_bundle
from serving_place import DIGITS, Worker

LOUD = """
import sys
import threading


class Loud:
    def load(self, path):
        pass

    def predict(self, arrays):
        image = arrays["image"]
        if image.max() == 13:
            raise RuntimeError("thirteen " * 1000)
        if image.max() == 12:
            thread = threading.Thread(target=self.fail, name="mine")
            thread.start()
            thread.join()
        print("x" * 10_000)
        return {"digit": image.argmax(axis=1)}

    def fail(self):
        raise RuntimeError("of a thread")
"""


class Piped(Worker):
    """A worker whose stdout and stderr are what the test says."""

    def __init__(self, bundle: Path, folder: Path, output: int, *options: str, **env: str) -> None:
        self.socket = folder / "w.sock"
        self._log = folder / "log"
        self._log.touch()
        command = [sys.executable, "-m", "mdeploy_serving.worker", "--socket", str(self.socket), *options]
        env = {"PATH": os.environ["PATH"], "PYTHONPATH": str(bundle / "src"), **env}
        self.process = subprocess.Popen(command, cwd=folder, env=env, stdout=output, stderr=output)


@pytest.fixture(scope="module")
def loud(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("loud")
    tensors = {"inputs": DIGITS["inputs"], "outputs": DIGITS["outputs"][:1]}
    model = {"framework": "python", "path": "loud.py", "options": {"class": "loud:Loud"}, **tensors}
    plain_bundle(folder, models={"digits": model}, **tensors)
    (folder / "src" / "loud.py").write_text(LOUD)
    return folder


@contextmanager
def ended(worker: Worker) -> Iterator[Worker]:
    try:
        yield worker.ready()
    finally:
        worker.process.kill()
        worker.process.wait()


@pytest.mark.parametrize("options", [(), ("--workers", "2")])
@pytest.mark.parametrize("kind", ["pipe", "socket"])
def test_a_log_that_nobody_reads_stops_neither_predictions_nor_health(
    kind: str, options: tuple[str, ...], loud: Path, tmp_path: Path
) -> None:
    if kind == "pipe":
        unread, output = os.pipe()
    else:
        unread, output = (end.detach() for end in socket.socketpair())
    worker = Piped(loud, tmp_path, output, *options, MDEPLOY_ACCESS_LOG="1")
    os.close(output)
    try:
        with ended(worker):
            for _ in range(40):
                assert worker.post("/predict", {"image": [[1] * 64]})[0] == 200
                assert worker.post("/predict", {"image": [[13] * 64]})[0] == 500
                assert worker.get("/livez")[0] == 200
            assert worker.stop() == 0
    finally:
        os.close(unread)


def test_a_log_whose_reader_is_gone_does_not_change_the_exit_code(loud: Path, tmp_path: Path) -> None:
    unread, output = os.pipe()
    worker = Piped(loud, tmp_path, output)
    os.close(output)
    os.close(unread)
    with ended(worker):
        assert worker.post("/predict", {"image": [[1] * 64]})[0] == 200
        assert worker.stop() == 0


def test_closed_descriptors_lead_nowhere(loud: Path, tmp_path: Path) -> None:
    path = tmp_path / "w.sock"
    run = f'exec "$0" -m mdeploy_serving.worker --socket "{path}" <&- >&- 2>&-'
    worker = Worker.__new__(Worker)
    worker.socket, worker._log = path, tmp_path / "log"  # there is none
    worker._log.touch()
    env = {"PATH": os.environ["PATH"], "PYTHONPATH": str(loud / "src")}
    worker.process = subprocess.Popen(["/bin/sh", "-c", run, sys.executable], env=env)
    with ended(worker):
        assert worker.post("/predict", {"image": [[13] * 64]})[0] == 500
        assert worker.stop() == 0


def test_what_ends_a_thread_is_a_line_like_all_others(loud: Path, tmp_path: Path) -> None:
    with ended(Worker(Path(sys.executable), loud, tmp_path)) as worker:
        assert worker.post("/predict", {"image": [[12] * 64]})[0] == 200
        assert worker.stop() == 0
    lines: list[dict[str, Any]] = [
        json.loads(line) for line in worker.log.splitlines() if not line.startswith("x")
    ]
    told = next(line for line in lines if line["level"] == "error")
    assert told["message"] == "thread mine ended by an exception"
    assert "of a thread" in told["traceback"]


def test_a_reader_that_is_slow_gets_everything_and_one_that_sleeps_is_told_what_it_missed() -> None:
    reading, writing = os.pipe()
    outlet = Outlet(writing)
    lines = [b"%d %s\n" % (number, b"x" * (number % 9000)) for number in range(100)]
    for line in lines:
        outlet.write(line)
    read = b""
    with os.fdopen(reading, "rb", buffering=0) as reader:
        taker = threading.Thread(target=outlet.finish)
        taker.start()
        while len(read) < sum(map(len, lines)):
            read += reader.read(1000)
        taker.join()
        assert read == b"".join(lines)
        for _ in range(3000):
            outlet.write(b"y" * 999 + b"\n")
        read, deadline = b"", time.monotonic() + 10
        while b"were lost" not in read and time.monotonic() < deadline:
            read += reader.read(100_000)
            outlet.flush()
        *kept, told = read.splitlines()
        assert set(kept) == {b"y" * 999}
        assert json.loads(told)["message"].startswith(f"{3000 - len(kept)} lines were lost")
    os.close(writing)


def test_others_who_have_the_same_pipe_wait_as_before() -> None:
    reading, writing = os.pipe()
    other = os.dup(writing)
    Outlet(writing)
    assert os.get_blocking(other)
    for descriptor in (reading, writing, other):
        os.close(descriptor)
