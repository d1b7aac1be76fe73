"""A worker of a real bundle, asked by the programs that people ask with."""

from __future__ import annotations

import json
import socket
import subprocess
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from serving_ask import npy
from serving_place import TEMPLATE

pytestmark = pytest.mark.story


@pytest.fixture(scope="module")
def url(python: Path, digits: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Where a worker of the generated service listens."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    folder = tmp_path_factory.mktemp("clients")
    log = (folder / "log").open("wb")
    worker = subprocess.Popen(
        [python, "-m", "mdeploy_serving.worker", "--port", str(port), "--bundle", digits],
        env={
            "PATH": "/usr/bin:/bin",
            "PYTHONPATH": f"{digits}/src",
            "PYTHONDONTWRITEBYTECODE": "1",
            "HOME": "/nonexistent",
        },
        cwd=folder,
        stdout=log,
        stderr=log,
    )
    try:
        wait_for(f"127.0.0.1:{port}", worker, folder / "log")
        yield f"127.0.0.1:{port}"
    finally:
        worker.terminate()
        assert worker.wait(timeout=60) == 0
        log.close()
    assert "error" not in [json.loads(line)["level"] for line in (folder / "log").read_text().splitlines()]


def wait_for(address: str, worker: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline and worker.poll() is None:
        try:
            urllib.request.urlopen(f"http://{address}/readyz", timeout=5).close()
        except OSError:
            time.sleep(0.02)
        else:
            return
    pytest.fail(log.read_text())


TRITON = """
import sys
import numpy as np
import tritonclient.http as http

client = http.InferenceServerClient(sys.argv[1])
name = client.get_model_repository_index()[0]["name"]
assert client.is_server_live() and client.is_server_ready() and client.is_model_ready(name)
assert not client.is_model_ready("other")
assert client.get_server_metadata()["extensions"]
assert client.get_model_metadata(name)["inputs"] == [{"name": "image", "datatype": "FP32", "shape": [-1, 64]}]
assert client.get_model_config(name)["input"][0]["dims"] == [-1, 64]

image = np.load(sys.argv[2])["input/image"][:2].astype("f4")
truth = np.load(sys.argv[2])["output/digit"][:2]
digit, probability = http.InferRequestedOutput, http.InferRequestedOutput
for binary in (True, False):
    sent = http.InferInput("image", list(image.shape), "FP32")
    sent.set_data_from_numpy(image, binary_data=binary)
    for wanted in (None, [http.InferRequestedOutput("digit", binary_data=not binary)]):
        answer = client.infer(name, [sent], outputs=wanted, request_id="one")
        assert answer.get_response()["id"] == "one"
        assert answer.as_numpy("digit").tolist() == truth.tolist()
        assert (answer.as_numpy("probability") is None) == (wanted is not None)

short = http.InferInput("image", [2, 63], "FP32")
short.set_data_from_numpy(image[:, :63].copy())
for model, inputs, status in ((name, [short], "400"), ("other", [sent], "404")):
    try:
        client.infer(model, inputs)
    except http.InferenceServerException as error:
        assert error.status() == status, error
        assert error.message()
    else:
        raise AssertionError(model)
"""


def test_tritons_client(clients: Path, url: str) -> None:
    run([clients, "-c", TRITON, url, TEMPLATE / "golden.npz"])


KSERVE = """
import asyncio
import sys
import numpy as np
from kserve import InferenceRESTClient, InferInput, InferRequest, RESTConfig

async def ask(url, name):
    client = InferenceRESTClient(RESTConfig(protocol="v2", timeout=10))
    assert await client.is_server_ready(url) is True
    assert await client.is_server_live(url) is True
    assert await client.is_model_ready(url, name) is True
    image = np.load(sys.argv[2])["input/image"][:2].astype("f4")
    truth = np.load(sys.argv[2])["output/digit"][:2]
    for binary in (True, False):
        sent = InferInput("image", list(image.shape), "FP32")
        sent.set_data_from_numpy(image, binary_data=binary)
        request = InferRequest(name, [sent], request_id="one", parameters={"binary_data_output": binary})
        answer = await client.infer(url, request, model_name=name)
        assert answer.id == "one"
        assert answer.outputs[0].as_numpy().tolist() == truth.tolist()
    await client.close()

asyncio.run(ask("http://" + sys.argv[1], sys.argv[3]))
"""


def test_kserves_client(clients: Path, url: str) -> None:
    name = json.loads(asked(url, "/v2"))["name"]
    run([clients, "-W", "ignore", "-c", KSERVE, url, TEMPLATE / "golden.npz", name])


def test_schemathesis_finds_nothing(clients: Path, url: str, tmp_path: Path) -> None:
    """A body of V2 that fits its schema may have a shape that is not its data's: no schema can say so."""
    left_out = ["--exclude-checks", "unsupported_method,positive_data_acceptance"]
    limits = ["--max-examples", "15", "--phases", "examples,coverage,fuzzing", "--seed", "1"]
    options = ["--no-color", "--generation-database", "none"]
    command: list[str | Path] = [clients.with_name("st"), "run", f"http://{url}/openapi.json"]
    run([*command, "--checks", "all", *left_out, *limits, *options], cwd=tmp_path)
    only = ["--include-path", "/predict", "--checks", "positive_data_acceptance"]
    run([*command, *only, *limits, *options], cwd=tmp_path)
    assert b"200" in asked(url, "/predict", "-d", json.dumps({"image": [1] * 64}), "-w", "%{http_code}")


def test_curl_in_every_form(url: str, tmp_path: Path) -> None:
    image = np.load(TEMPLATE / "golden.npz")["input/image"][:2].astype("f4")
    truth = np.load(TEMPLATE / "golden.npz")["output/digit"][:2]
    (tmp_path / "image.npy").write_bytes(npy(image))
    (tmp_path / "image.csv").write_text("\n".join(",".join(map(str, row)) for row in image.tolist()))
    (tmp_path / "image.json").write_text(json.dumps({"image": image.tolist()}))
    body = "--data-binary"
    assert json.loads(asked(url, "/predict", "-d", f"@{tmp_path}/image.json"))["digit"] == truth.tolist()
    array = ["-H", "content-type: application/x-npy", body, f"@{tmp_path}/image.npy"]
    assert json.loads(asked(url, "/predict", *array))["digit"] == truth.tolist()
    lines = ["-H", "content-type: text/csv", "-H", "accept: text/csv", body, f"@{tmp_path}/image.csv"]
    assert [line.split(b",")[0] for line in asked(url, "/invocations", *lines).splitlines()] == [
        b"%d" % digit for digit in truth
    ]
    asked(
        url,
        "/predict?output=probability",
        *array,
        "-H",
        "accept: application/x-npy",
        "-o",
        str(tmp_path / "p.npy"),
    )
    assert np.load(tmp_path / "p.npy").shape == (2, 10)
    assert json.loads(asked(url, "/ping"))["ready"] is True
    assert b"<h1>" in asked(url, "/docs")


BAD: list[tuple[str, list[str], int]] = [
    ("/predict", ["-d", ""], 400),
    ("/predict", ["-d", '{"image": [[1, 2'], 400),
    ("/predict", ["-d", "[" * 50_000], 400),
    ("/predict", ["-d", '{"image": [[NaN]]}'], 400),
    ("/predict", ["-H", "content-type: image/png", "-d", "x"], 415),
    ("/predict", ["-H", "content-encoding: gzip", "-d", "x"], 415),
    ("/predict", ["-H", "content-type: application/x-npy", "-d", "x"], 400),
    ("/predict", ["-X", "GET"], 405),
    ("/predict", ["-X", "DELETE"], 405),
    ("/invocations", ["-H", "content-type: text/csv", "-d", "1,2"], 400),
    ("/v2/models/other", [], 404),
    ("/v2/models/other/infer", ["-d", "{}"], 404),
    ("/nothing", [], 404),
    ("/predict", ["-H", "content-length: 100000000", "-d", "x"], 413),
]


@pytest.mark.parametrize(("path", "options", "status"), BAD)
def test_what_is_wrong_has_its_status_and_a_message_and_the_service_lives_on(
    url: str, path: str, options: list[str], status: int
) -> None:
    answer = asked(url, path, *options, "-w", "\n%{http_code}", "--max-time", "20")
    body, _, code = answer.rpartition(b"\n")
    assert int(code) == status
    assert json.loads(body)["error"]
    assert json.loads(asked(url, "/predict", "-d", json.dumps({"image": [1] * 64})))["digit"] == 4


def test_binary_sizes_that_lie(url: str) -> None:
    name = json.loads(asked(url, "/v2"))["name"]
    entry = {"name": "image", "shape": [1, 64], "datatype": "FP32", "parameters": {"binary_data_size": 256}}
    head = json.dumps({"inputs": [entry]}).encode()
    for data, length, status in (
        (bytes(256), len(head), 200),
        (bytes(255), len(head), 400),
        (b"", 10**6, 400),
    ):
        request = urllib.request.Request(
            f"http://{url}/v2/models/{name}/infer",
            head + data,
            {"Inference-Header-Content-Length": str(length)},
        )
        assert status_of(request) == status


def status_of(request: urllib.request.Request) -> int:
    try:
        with urllib.request.urlopen(request, timeout=20) as answer:
            return int(answer.status)
    except urllib.error.HTTPError as error:
        with error:
            return error.code


def asked(url: str, path: str, *options: str) -> bytes:
    return run(["curl", "-s", *options, f"http://{url}{path}"])


def run(command: list[str | Path], **options: Path) -> bytes:
    done = subprocess.run(command, capture_output=True, check=False, timeout=300, **options)  # type: ignore[call-overload]  # cwd
    assert done.returncode == 0, (done.stdout + done.stderr).decode()[-4000:]
    return bytes(done.stdout)
