"""The access log and the traces of a worker that really serves."""

from __future__ import annotations

import json
import logging
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import grpc
import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import Span

from modeldeploy.serving import logs
from modeldeploy.serving.observe.metrics import Metrics
from modeldeploy.serving.observe.tracing import wanted
from modeldeploy.serving.observe.watch import open_watch
from serving_bundle import VERSION, grpc_address, lines, plain_bundle, slow_bundle, started
from serving_place import Worker

IMAGE = {"image": [[1] * 64]}
TRACE, PARENT = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return plain_bundle(tmp_path_factory.mktemp("bundle"))


@pytest.fixture(scope="module")
def slow(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return slow_bundle(tmp_path_factory.mktemp("slow"))


@pytest.fixture
def workers() -> Iterator[list[Worker]]:
    running: list[Worker] = []
    yield running
    for worker in running:
        worker.process.kill()
        worker.process.wait()


class Collector(ThreadingHTTPServer):
    """Takes spans as an OTLP collector does; with ``hangs``, as one that never answers."""

    def __init__(self, *, hangs: bool = False) -> None:
        self.spans: dict[str, list[Span]] = {}
        self.resource: dict[str, str] = {}
        self.hangs = hangs
        self.closing = threading.Event()
        super().__init__(("127.0.0.1", 0), _Taking)
        threading.Thread(target=self.serve_forever, args=(0.05,), daemon=True).start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"

    def end(self) -> None:
        self.closing.set()
        self.shutdown()
        self.server_close()

    def take(self, body: bytes) -> None:
        for sent in ExportTraceServiceRequest.FromString(body).resource_spans:
            self.resource |= {entry.key: entry.value.string_value for entry in sent.resource.attributes}
            for span in (span for scope in sent.scope_spans for span in scope.spans):
                self.spans.setdefault(span.name, []).append(span)


class _Taking(BaseHTTPRequestHandler):
    server: Collector

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["content-length"]))
        if self.server.hangs:
            self.server.closing.wait(20)
            return
        assert self.path == "/v1/traces"
        self.server.take(body)
        self.send_response(200)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        pass


def attributes(span: Span) -> dict[str, Any]:
    told = {}
    for entry in span.attributes:
        kind = entry.value.WhichOneof("value")
        got = getattr(entry.value, kind)
        told[entry.key] = [each.string_value for each in got.values] if kind == "array_value" else got
    return told


def ask(worker: Worker, value: object, **headers: str) -> int:
    connection = worker.connection()
    connection.request("POST", "/predict", json.dumps(value), headers)
    answer = connection.getresponse()
    answer.read()
    connection.close()
    return answer.status


def infer_nothing(worker: Worker, *metadata: str) -> None:
    with grpc.insecure_channel(grpc_address(worker)) as channel:
        call = channel.unary_unary("/inference.GRPCInferenceService/ModelInfer")
        with pytest.raises(grpc.RpcError):
            call(b"", metadata=[metadata])


def accesses(worker: Worker) -> list[dict[str, Any]]:
    return [line for line in lines(worker) if line["logger"] == "mdeploy_serving.access"]


def test_each_request_has_a_line_with_its_id_and_what_the_model_did(
    bundle: Path, tmp_path: Path, workers: list[Worker]
) -> None:
    workers.append(worker := started(bundle, tmp_path, MDEPLOY_ACCESS_LOG="1"))
    assert ask(worker, IMAGE, **{"x-request-id": 'mine"} {"a": 1'}) == 200
    assert ask(worker, {"image": 1}) == 400
    assert worker.get("/readyz")[0] == 200
    infer_nothing(worker, "x-request-id", "g")
    good, bad, call = accesses(worker)
    assert good["request_id"] == 'mine"} {"a": 1'
    assert (good["route"], good["status"], good["model_version"]) == ("/predict", 200, VERSION)
    assert (good["batch_rows"], good["batch_requests"]) == (1, 1)
    assert good["bytes_in"] == len(json.dumps(IMAGE)) and good["bytes_out"] > 20 and good["ms"] > 0
    assert (bad["status"], bad["batch_rows"]) == (400, 0) and bad["request_id"]
    assert (call["status"], call["request_id"]) == (404, "g")
    assert all(
        line["model_version"] == VERSION for line in lines(worker) if line["message"].startswith("ready")
    )


def test_without_the_variable_there_is_no_watch() -> None:
    assert open_watch(Metrics(), access_log=False, environment={}) is None


def test_the_log_of_a_failing_model_names_the_request(
    slow: Path, tmp_path: Path, workers: list[Worker]
) -> None:
    workers.append(worker := started(slow, tmp_path))
    assert ask(worker, {"image": [[13] * 64]}, **{"x-request-id": "unlucky"}) == 500
    (failed,) = [line for line in lines(worker) if line["level"] == "error"]
    assert failed["request_id"] == "unlucky" and failed["model_version"] == VERSION
    assert "RuntimeError: thirteen" in failed["traceback"]
    assert not accesses(worker)


@pytest.mark.parametrize("text", ["a\nb", '"}\n{"level": "info"}', "\u2028\x85\r", "%s %d"])
def test_no_text_makes_a_line_of_its_own(text: str) -> None:
    record = logging.LogRecord("n", logging.INFO, "p", 1, "%s", (text,), None)
    record.request_id = text
    line = logs.JsonLines().format(record)
    assert len(line.splitlines()) == 1 and line.isascii()
    assert json.loads(line)["message"] == json.loads(line)["request_id"] == text


def test_a_request_becomes_spans_under_its_callers(
    bundle: Path, tmp_path: Path, workers: list[Worker]
) -> None:
    collector = Collector()
    workers.append(worker := started(bundle, tmp_path, OTEL_EXPORTER_OTLP_ENDPOINT=collector.url))
    traceparent = f"00-{TRACE}-{PARENT}-01"
    before = time.time_ns()
    assert ask(worker, IMAGE, traceparent=traceparent, **{"x-request-id": "r1"}) == 200
    assert ask(worker, {"image": 1}) == 400
    infer_nothing(worker, "traceparent", traceparent)
    assert worker.stop() == 0  # what was held back leaves now
    collector.end()
    good, bad = collector.spans["POST /predict"]
    (call,) = collector.spans["inference.GRPCInferenceService/ModelInfer"]
    assert collector.resource["service.name"] == "digits"
    assert collector.resource["service.version"] == VERSION
    for span in (good, call):
        assert (span.trace_id.hex(), span.parent_span_id.hex(), span.kind) == (
            TRACE,
            PARENT,
            Span.SPAN_KIND_SERVER,
        )
    assert bad.trace_id.hex() != TRACE and not bad.parent_span_id
    told = attributes(good)
    assert (told["http.route"], told["http.response.status_code"]) == ("/predict", 200)
    assert told["http.request.header.x-request-id"] == ["r1"]
    assert attributes(call)["rpc.grpc.status_code"] == 5  # NOT_FOUND: no model of that name
    children = [
        next(span for span in collector.spans[name] if span.parent_span_id == good.span_id)
        for name in ("parse", "queue", "infer", "encode")
    ]
    assert attributes(children[2]) == {"mdeploy.batch.rows": 1, "mdeploy.batch.requests": 1}
    times = [good.start_time_unix_nano]
    for child in children:
        assert child.trace_id.hex() == TRACE
        assert times[-1] == child.start_time_unix_nano <= child.end_time_unix_nano
        times.append(child.end_time_unix_nano)
    assert times[-1] == good.end_time_unix_nano
    assert before - 10**9 < good.start_time_unix_nano < time.time_ns()
    assert len(collector.spans["infer"]) == 1  # the refused one has none


def test_a_slow_models_spans_show_where_the_time_went(
    slow: Path, tmp_path: Path, workers: list[Worker]
) -> None:
    collector = Collector()
    workers.append(worker := started(slow, tmp_path, OTEL_EXPORTER_OTLP_ENDPOINT=collector.url))
    threads = [threading.Thread(target=ask, args=(worker, {"image": [[2] * 64]})) for _ in range(2)]
    for thread in threads:
        thread.start()
        time.sleep(0.05)
    for thread in threads:
        thread.join()
    assert ask(worker, {"image": [[13] * 64]}) == 500
    worker.stop()
    collector.end()

    def seconds(name: str) -> list[float]:
        return [(span.end_time_unix_nano - span.start_time_unix_nano) / 1e9 for span in collector.spans[name]]

    assert sorted(seconds("infer"))[1] == pytest.approx(0.2, abs=0.1)
    assert max(seconds("queue")) == pytest.approx(0.15, abs=0.1)
    failed = collector.spans["POST /predict"][-1]
    assert failed.status.code == 2 and attributes(failed)["error.type"] == "500"


@pytest.mark.parametrize("hangs", [True, False])
def test_a_collector_that_is_down_or_hangs_fails_nothing(
    *, hangs: bool, bundle: Path, tmp_path: Path, workers: list[Worker]
) -> None:
    collector = Collector(hangs=True)
    url = collector.url
    if not hangs:
        collector.end()
    hurried = {
        "OTEL_BSP_SCHEDULE_DELAY": "20",
        "OTEL_BSP_MAX_EXPORT_BATCH_SIZE": "8",
        "OTEL_BSP_MAX_QUEUE_SIZE": "8",
    }
    workers.append(worker := started(bundle, tmp_path, OTEL_EXPORTER_OTLP_ENDPOINT=url, **hurried))
    slowest = 0.0
    for _ in range(100):
        began = time.monotonic()
        assert ask(worker, IMAGE) == 200
        slowest = max(slowest, time.monotonic() - began)
    assert slowest < 1.0
    began = time.monotonic()
    assert worker.stop() == 0
    assert time.monotonic() - began < 6
    if hangs:
        collector.end()


def test_nothing_of_opentelemetry_is_imported_unless_it_is_wanted() -> None:
    code = (
        "import sys; from modeldeploy.serving.observe.watch import open_watch;"
        "from modeldeploy.serving.observe.metrics import Metrics;"
        "open_watch(Metrics(), access_log=True, environment={});"
        "assert not [name for name in sys.modules if name.startswith(('opentelemetry', 'grpc', 'google'))]"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.parametrize(
    ("said", "traced"),
    [
        ({}, False),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://c:4318"}, True),
        ({"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "http://c:4318/v1/traces"}, True),
        ({"OTEL_TRACES_EXPORTER": "console"}, True),
        ({"OTEL_TRACES_EXPORTER": "none", "OTEL_EXPORTER_OTLP_ENDPOINT": "http://c:4318"}, False),
        ({"OTEL_SDK_DISABLED": "true", "OTEL_EXPORTER_OTLP_ENDPOINT": "http://c:4318"}, False),
        ({"OTEL_SERVICE_NAME": "x"}, False),
    ],
)
def test_an_exporter_must_be_named(said: dict[str, str], *, traced: bool) -> None:
    assert wanted(said) is traced


def test_an_exporter_that_nobody_knows_is_said_and_the_service_goes_on(
    caplog: pytest.LogCaptureFixture,
) -> None:
    watch = open_watch(Metrics(), access_log=False, environment={"OTEL_TRACES_EXPORTER": "zipkin"})
    assert watch is not None
    watch.describe(name="digits", version="", digest="", framework="onnx")
    assert "OTEL_TRACES_EXPORTER='zipkin'; known are otlp and console" in caplog.text
    watch.close()
