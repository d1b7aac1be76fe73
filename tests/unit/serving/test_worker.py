"""Workers as they run in a bundle: real Bentos, real BentoML, a process and a unix socket."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import stat
import subprocess
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest

from serving_place import DIGITS, TEMPLATE, Start, Worker

pytestmark = pytest.mark.story


def content_of(bundle: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in bundle.rglob("*") if path.is_file()}


def log_lines(worker: Worker) -> list[dict[str, str]]:
    return [json.loads(line) for line in worker.log.splitlines() if line.startswith("{")]


def test_a_generated_service_answers_until_it_is_told_to_stop(
    start: Start, digits: Path, tmp_path: Path
) -> None:
    before = content_of(digits)
    with socket.socket(socket.AF_UNIX) as stale:
        stale.bind(str(tmp_path / "w.sock"))
    worker = start(digits).ready()

    assert stat.S_IMODE(worker.socket.stat().st_mode) == 0o600
    assert worker.get("/livez")[0] == 200
    assert worker.get("/metrics")[0] == 200
    golden = np.load(TEMPLATE / "golden.npz")
    status, answer = worker.post("/predict", {"image": golden["input/image"].tolist()})
    assert status == 200
    assert answer["digit"] == golden["output/digit"].tolist()
    probability = np.array(answer["probability"], dtype=np.float32)
    np.testing.assert_allclose(probability, golden["output/probability"], rtol=1e-5, atol=1e-7)

    status, one = worker.post("/predict", {"image": golden["input/image"][0].tolist()})
    assert (status, one["digit"], len(one["probability"])) == (200, answer["digit"][0], 10)

    assert worker.stop() == 0
    assert not worker.socket.exists()
    assert [path.name for path in tmp_path.iterdir()] == ["log"]
    assert content_of(digits) == before
    assert [line["message"] for line in log_lines(worker)][1:] == [
        "stopping; requests in flight: 0",
        "stopped",
    ]


@pytest.fixture(scope="module")
def worker(python: Path, digits: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Worker]:
    """One worker of the generated service for all that only ask."""
    running = Worker(python, digits, tmp_path_factory.mktemp("worker"), MDEPLOY_MAX_BODY_BYTES="200000")
    try:
        yield running.ready()
    finally:
        running.stop()


def test_bad_requests_get_a_400_that_names_the_field_and_no_line_in_the_log(worker: Worker) -> None:
    bad: list[tuple[object, str | None]] = [
        (b"", None),
        (b"{", None),
        (b"\xff", None),
        (b"[" * 100_000, None),
        ([], None),
        ({}, "image"),
        ({"imag": []}, "imag"),
        ({"image": [[1] * 63]}, "image"),
        ({"image": [[1] * 64, [1]]}, "image"),
        ({"image": [["1"] * 64]}, "image"),
        ({"image": [[float("nan")] * 64]}, "image"),
        ({"image": [[17] * 64]}, "image"),
        ({"image": []}, "image"),
    ]
    for body, field in bad:
        status, answer = worker.post("/predict", body)
        assert (status, answer["field"]) == (400, field), body
        assert set(answer) == {"error", "field", "expected", "got"}
    assert worker.get("/predict")[0] == 405
    assert [line["message"][:5] for line in log_lines(worker)] == ["ready"]


def test_a_body_that_is_too_large_is_refused_and_the_service_lives_on(worker: Worker) -> None:
    assert worker.post("/predict", b" " * 300_000)[0] == 413
    assert worker.post("/predict", {"image": [1] * 64})[0] == 200


def test_the_schemas_tell_of_the_signature(worker: Worker) -> None:
    route = worker.get("/schema.json")[1]["routes"][0]
    assert route["input"]["properties"]["image"]["dtype"] == "float32"
    document = worker.get("/docs.json")[1]
    batch, sample = document["components"]["schemas"]["Inputs"]["anyOf"]
    assert batch["properties"]["image"]["items"]["minItems"] == 64
    assert sample["properties"]["image"]["minItems"] == 64


def test_a_users_own_service_runs_where_its_files_are(start: Start, own: Path) -> None:
    worker = start(own, LOG_LEVEL="info").ready()
    assert worker.post("/greet", {"name": "Ada"}) == (200, {"answer": "grüß Gott, Ada"})
    assert worker.post("/fail", {})[0] == 500
    assert worker.stop() == 0
    assert "printed grüß Gott," in worker.log
    lines = {line["logger"]: line for line in log_lines(worker)}
    assert lines["own"]["message"] == "asked\nby Ada"
    failure = next(line for line in log_lines(worker) if line["level"] == "error")
    assert "RuntimeError: the model is broken" in failure["traceback"]
    assert set(failure) == {"time", "level", "logger", "message", "traceback"}


def test_the_log_level_is_heeded(start: Start, own: Path) -> None:
    worker = start(own, LOG_LEVEL="warning").ready()
    worker.post("/greet", {"name": "Ada"})
    assert worker.stop() == 0
    assert log_lines(worker) == []


def test_requests_in_flight_finish_after_sigterm_and_new_ones_are_not_taken(start: Start, own: Path) -> None:
    worker = start(own).ready()
    answers = []
    asking = threading.Thread(target=lambda: answers.append(worker.post("/wait", {"seconds": 1.5})))
    asking.start()
    time.sleep(0.5)
    worker.process.terminate()
    time.sleep(0.5)
    with closing(worker.connection()) as late, pytest.raises((ConnectionRefusedError, FileNotFoundError)):
        late.connect()
    assert worker.process.poll() is None
    asking.join()
    assert answers == [(200, 1.5)]
    assert worker.process.wait(timeout=10) == 0


def test_a_request_that_never_ends_does_not_hold_up_the_exit(start: Start, own: Path) -> None:
    worker = start(own, "--drain", "0.5").ready()
    connection = worker.connection()
    connection.request("POST", "/wait", b'{"seconds": 60}', {"content-type": "application/json"})
    time.sleep(0.5)
    began = time.monotonic()
    assert worker.stop() == 0
    assert time.monotonic() - began < 10
    assert not worker.socket.exists()
    connection.close()


def test_until_it_is_ready_it_takes_no_connection_and_sigterm_ends_it_at_once(
    start: Start, own: Path, tmp_path: Path
) -> None:
    worker = start(own, SLEEP="600")
    deadline = time.monotonic() + 30
    while "printed" not in worker.log and time.monotonic() < deadline:
        time.sleep(0.02)
    with closing(worker.connection()) as early, pytest.raises(ConnectionRefusedError):
        early.connect()
    began = time.monotonic()
    assert worker.stop() == 0
    assert time.monotonic() - began < 5
    assert "stopped before it was ready" in worker.log
    assert [path.name for path in tmp_path.iterdir()] == ["log"]


def test_a_worker_that_was_killed_is_succeeded_on_its_socket(start: Start, digits: Path) -> None:
    first = start(digits).ready()
    first.process.send_signal(signal.SIGKILL)
    first.process.wait()
    assert first.socket.exists()
    second = start(digits).ready()
    assert second.post("/predict", {"image": [1] * 64})[0] == 200
    assert second.stop() == 0


def test_a_socket_that_is_served_or_is_another_file_is_left_alone(start: Start, digits: Path) -> None:
    first = start(digits).ready()
    second = start(digits)
    assert second.process.wait(timeout=30) == 1
    assert "another process serves" in second.log
    assert first.get("/readyz")[0] == 200
    assert first.stop() == 0
    first.socket.write_text("precious")
    assert start(digits).process.wait(timeout=30) == 1
    assert first.socket.read_text() == "precious"


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda src: (src / "model.onnx").write_bytes(b"no model"), "model.onnx"),
        (lambda src: (src / "mdeploy_service.json").write_text("{"), "mdeploy_service.json"),
        (
            lambda src: (src / "mdeploy_service.json").write_text(
                json.dumps({**DIGITS, "inputs": DIGITS["outputs"]})
            ),
            "are not the models'",
        ),
    ],
)
def test_a_service_that_cannot_start_says_why_and_exits_with_1(
    start: Start, digits: Path, tmp_path: Path, change: Callable[[Path], object], says: str
) -> None:
    bundle = tmp_path / "broken"
    subprocess.run(["cp", "-r", digits, bundle], check=True)
    change(bundle / "src")
    worker = start(bundle)
    assert worker.process.wait(timeout=30) == 1
    assert says in worker.log
    assert all(line["level"] == "error" for line in log_lines(worker)[-1:])
    assert not worker.socket.exists()


def test_the_same_bundle_runs_with_plain_bentoml(python: Path, digits: Path, tmp_path: Path) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    env = {**os.environ, "BENTOML_HOME": str(tmp_path / "bentoml"), "BENTOML_DO_NOT_TRACK": "True"}
    options = ["--host", "127.0.0.1", "--port", str(port)]
    command: list[str | Path] = [python.with_name("bentoml"), "serve", digits, *options]
    with (tmp_path / "log").open("wb") as log:
        process = subprocess.Popen(
            command,
            env={**env, "PYTHONDONTWRITEBYTECODE": "1"},
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
    try:
        ask_the_stock_server(f"http://127.0.0.1:{port}", time.monotonic() + 60)
        asked = subprocess.run([python, "-c", CLIENT, str(port)], check=True, capture_output=True, text=True)
        assert asked.stdout.split() == ["float32", "(1,", "10)"]
        process.terminate()
        assert process.wait(timeout=30) == 0
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


CLIENT = """
import sys
import bentoml, numpy
with bentoml.SyncHTTPClient(f"http://127.0.0.1:{sys.argv[1]}") as client:
    answer = client.predict(image=numpy.ones((1, 64), dtype="float32"))
    print(answer["probability"].dtype, answer["probability"].shape)
"""


def ask_the_stock_server(url: str, deadline: float) -> None:
    request = urllib.request.Request(f"{url}/predict", (TEMPLATE / "samples.json").read_bytes())
    while True:
        try:
            with urllib.request.urlopen(request, timeout=10) as answer:
                assert json.load(answer)["digit"] == [0, 6]
                return
        except OSError:
            assert time.monotonic() < deadline
            time.sleep(0.1)


def test_several_workers_share_a_socket_and_one_that_is_killed_is_replaced(
    start: Start, digits: Path, tmp_path: Path
) -> None:
    worker = start(digits, "--workers", "2").ready()
    pids = children_of(worker)
    assert len(pids) == 2
    for _ in range(30):
        assert worker.post("/predict", {"image": [1] * 64})[0] == 200
    thirty = r'mdeploy_requests_total\{route="[^"]*predict",status="200"\} 30\b'
    deadline = time.monotonic() + 10  # an answer is counted after it was handed to the network
    while not re.search(thirty, counted := worker.get("/metrics")[1].decode()):
        assert time.monotonic() < deadline, counted
    os.kill(pids[0], signal.SIGKILL)
    for _ in range(30):
        assert worker.post("/predict", {"image": [1] * 64})[0] == 200
    deadline = time.monotonic() + 30
    while len(children_of(worker)) < 2 and time.monotonic() < deadline:
        time.sleep(0.05)
    assert set(children_of(worker)) != set(pids)
    assert worker.stop() == 0
    assert [path.name for path in tmp_path.iterdir()] == ["log"]
    messages = [line["message"] for line in log_lines(worker)]
    assert sum(message.startswith("ready after") for message in messages) == 1
    assert "stopping" in messages
    assert (
        messages[-1] == "stopped"
    )  # the one that took the dead one's place may say that it was not ready yet


def test_workers_of_a_model_that_is_none_make_the_service_fail(
    start: Start, digits: Path, tmp_path: Path
) -> None:
    bundle = tmp_path / "broken"
    subprocess.run(["cp", "-r", digits, bundle], check=True)
    (bundle / "src" / "model.onnx").write_bytes(b"no model")
    worker = start(bundle, MDEPLOY_WORKERS="2")
    assert worker.process.wait(timeout=30) == 1
    assert "model.onnx" in worker.log
    assert "did not start: exit code 1" in worker.log
    assert not worker.socket.exists()


def children_of(worker: Worker) -> list[int]:
    pid = worker.process.pid
    listed = subprocess.run(["ps", "-A", "-o", "pid=,ppid="], check=True, capture_output=True, text=True)
    rows = (line.split() for line in listed.stdout.splitlines())
    return [int(child) for child, parent in rows if int(parent) == pid]


def test_grpc_of_a_bundle_that_does_not_speak_it_is_refused_with_what_to_do(
    start: Start, digits: Path
) -> None:
    worker = start(digits, "--grpc-port", "0")
    assert worker.process.wait(timeout=30) == 1
    assert "this bundle does not speak gRPC" in worker.log
    assert "modeldeploy.toml" in worker.log
