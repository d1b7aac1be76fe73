"""The service of a generated spec: under ``bentoml serve``, and BentoML's pages in our own worker."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from bento_place import Address, Answered, Asked, Both, ask, both, said
from serving_place import DIGITS, Start

pytestmark = pytest.mark.story

IMAGE = [0.5] * 64
BINARY = {"content-type": "application/octet-stream"}
SAME = [
    said("/predict", {"image": [IMAGE, IMAGE]}),
    said("/predict", {"image": IMAGE}),
    said("/predict", {"image": [IMAGE[1:]]}),
    said("/predict", {"imag": [IMAGE]}),
    Asked("/predict", b"{"),
    Asked("/predict", b""),
    Asked("/predict", b" " * 300_000),
    Asked("/predict", b"{}", headers={"content-type": "image/png"}),
    Asked("/predict", method="GET"),
    Asked("/predict", method="HEAD"),
    said("/invocations", {"instances": [{"image": IMAGE}]}),
    said("/invocations", {"image": [IMAGE]}),
    Asked("/invocations", b"a,b", headers={"content-type": "text/csv"}),
    said(
        "/v2/models/digits/infer",
        {"inputs": [{"name": "image", "shape": [1, 64], "datatype": "FP32", "data": IMAGE}]},
    ),
    said("/v2/models/digits/infer", {"inputs": []}),
    said("/v2/models/other/infer", {}),
    *(
        Asked(path, method="GET")
        for path in (
            *(
                "/v2",
                "/v2/health/live",
                "/v2/health/ready",
                "/v2/models/digits",
                "/v2/models/digits/ready",
                "/ping",
            ),
            *("/openapi.json", "/docs.json", "/docs", "/", "/schema.json", "/livez", "/readyz", "/healthz"),
            *("/invocations", "/v2/models/digits/infer"),
        )
    ),
    Asked("/v2", method="POST"),
]


@pytest.fixture(scope="module")
def served(python: Path, digits: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Both]:
    env = {"MDEPLOY_MAX_BODY_BYTES": "200000"}
    with both(python, digits, tmp_path_factory.mktemp("generated") / "run", **env) as running:
        yield running


@pytest.mark.parametrize("asked", SAME, ids=str)
def test_bentoml_serve_answers_as_the_worker_does(served: Both, asked: Asked) -> None:
    ours, theirs = ask(served.lane, asked), ask(served.stock, asked)
    assert (ours.status, _without_id(ours)) == (theirs.status, _without_id(theirs))
    for name in ("content-type", "allow"):
        assert ours.headers[name] == theirs.headers[name]


def _without_id(answered: Answered) -> object:
    """The body, but for the id that each request has its own of."""
    body = answered.body
    return (
        {name: value for name, value in body.items() if name != "request_id"}
        if isinstance(body, dict)
        else body
    )


CLIENT = """
import sys
import bentoml, numpy
with bentoml.SyncHTTPClient(sys.argv[1]) as client:
    answer = client.predict(image=numpy.ones((1, 64), dtype="float32"))
    print(answer["probability"].dtype, answer["probability"].shape, client.is_ready())
"""


def test_bentomls_own_client_works_with_both(python: Path, served: Both) -> None:
    for host, port in (served.stock, served.lane):
        command: list[str | Path] = [python, "-c", CLIENT, f"http://{host}:{port}"]
        told = subprocess.run(command, check=True, capture_output=True, text=True)
        assert told.stdout.split() == ["float32", "(1,", "10)", "True"]


def test_metrics_of_both_tell_of_requests(served: Both) -> None:
    def counted(address: Address) -> bool:
        ask(address, said("/predict", {"image": IMAGE}))
        text = ask(address, Asked("/metrics", method="GET")).body
        assert isinstance(text, bytes)
        return b"mdeploy_requests_total{" in text

    assert counted(served.stock)
    assert counted(served.lane)


COUNTED = """
from pathlib import Path


class Counted:
    def load(self, path):
        print("loaded the model")

    def predict(self, arrays):
        return {"doubled": arrays["x"] * 2}
"""


@pytest.mark.skipif(sys.platform != "linux", reason="what a process has loaded is read from /proc")
def test_the_worker_imports_bentoml_when_it_is_first_asked_and_loads_no_model_twice(
    start: Start, digits: Path, tmp_path: Path
) -> None:
    bundle = tmp_path / "bundle"
    shutil.copytree(digits, bundle)
    (bundle / "src" / "counted.py").write_text(COUNTED)
    sides = {
        "inputs": [{"name": "x", "dtype": "float64", "shape": ["batch"]}],
        "outputs": [{"name": "doubled", "dtype": "float64", "shape": ["batch"]}],
    }
    model = {**sides, "framework": "python", "path": "model.onnx", "options": {"class": "counted:Counted"}}
    spec = {**DIGITS, **sides, "models": {"counted": model}}
    (bundle / "src" / "mdeploy_service.json").write_text(json.dumps(spec))

    worker = start(bundle).ready()
    loaded = Path(f"/proc/{worker.process.pid}/maps")
    assert worker.post("/predict", {"x": [1.5]}) == (200, {"doubled": [3.0]})
    assert worker.get("/nothing")[0] == 404
    assert "pydantic_core" not in loaded.read_text()

    assert worker.get("/schema.json")[1]["routes"][0]["route"] == "/predict"
    assert "pydantic_core" in loaded.read_text()
    assert worker.post("/predict", {"x": [2.5]}) == (200, {"doubled": [5.0]})
    assert worker.log.count("loaded the model") == 1
    assert worker.stop() == 0


def test_nothing_is_loaded_when_the_service_is_only_imported(
    python: Path, digits: Path, tmp_path: Path
) -> None:
    """As `bentoml build` and `mdeploy build` do: the model need not even be there."""
    source = tmp_path / "src"
    shutil.copytree(digits / "src", source)
    (source / "model.onnx").unlink()
    code = (
        "import sys, mdeploy_service\n"
        "service = mdeploy_service.service\n"
        "print(sorted(service.schema()['paths'])[:2], 'onnxruntime' in sys.modules)"
    )
    told = subprocess.run([python, "-c", code], cwd=source, check=True, capture_output=True, text=True)
    assert told.stdout.strip().endswith("False")
