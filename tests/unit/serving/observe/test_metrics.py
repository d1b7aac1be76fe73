"""Counts of several processes, and how Prometheus reads them."""

from __future__ import annotations

import multiprocessing as mp
import os
import signal
import time
from collections.abc import Callable
from functools import partial

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from prometheus_client import Counter, Histogram
from prometheus_client.parser import text_string_to_metric_families

from modeldeploy.serving.exchange import Request, Route
from modeldeploy.serving.observe.board import Board
from modeldeploy.serving.observe.exposition import merge
from modeldeploy.serving.observe.metrics import SECONDS, SIZES, Metrics, metrics_route
from serving_ask import Asked

PREDICT = Route("POST", "/predict", lambda _: None, "/predict", 1)
FORK = mp.get_context("fork")
Samples = dict[tuple[str, tuple[tuple[str, str], ...]], float]


def read(metrics: Metrics) -> Samples:
    families = text_string_to_metric_families(metrics.exposition().decode())
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in families
        for sample in family.samples
    }


def value(metrics: Metrics, sample: str, /, **labels: str) -> float:
    return read(metrics)[sample, tuple(sorted(labels.items()))]


def in_a_child(work: Callable[[], object], *, kill: bool = False) -> None:
    def run() -> None:
        work()
        if kill:
            os.kill(os.getpid(), signal.SIGKILL)

    child = FORK.Process(target=run)
    child.start()
    child.join()


def test_a_request_is_counted_by_route_and_status_and_in_every_bucket_from_its_time_on() -> None:
    metrics = Metrics()
    metrics.answered(PREDICT, 200, 0.003)
    metrics.answered(PREDICT, 200, 0.003)
    metrics.answered(PREDICT, 400, 99.0)
    assert value(metrics, "mdeploy_requests_total", route="/predict", status="200") == 2
    assert value(metrics, "mdeploy_requests_total", route="/predict", status="400") == 1
    duration = "mdeploy_request_duration_seconds"
    assert value(metrics, f"{duration}_bucket", route="/predict", le="0.0025") == 0
    assert value(metrics, f"{duration}_bucket", route="/predict", le="0.005") == 2
    assert value(metrics, f"{duration}_bucket", route="/predict", le="10") == 2
    assert value(metrics, f"{duration}_bucket", route="/predict", le="+Inf") == 3
    assert value(metrics, f"{duration}_count", route="/predict") == 3
    assert value(metrics, f"{duration}_sum", route="/predict") == pytest.approx(99.006)


@settings(deadline=None)  # other processes may take the time
@given(st.lists(st.floats(0, 20), max_size=30), st.lists(st.integers(0, 3000), max_size=30))
def test_buckets_are_those_of_prometheus_client(seconds: list[float], rows: list[int]) -> None:
    metrics = Metrics()
    theirs = Histogram("theirs", "about", buckets=SECONDS, registry=None)
    sizes = Histogram("sizes", "about", buckets=SIZES, registry=None)
    for each in seconds:
        metrics.answered(PREDICT, 200, each)
        theirs.observe(each)
    for count in rows:
        metrics.ran(count, 1, 0.1)
        sizes.observe(count)
    ours = read(metrics)
    for sample in next(iter(theirs.collect())).samples if seconds else ():
        if not sample.name.endswith("_created"):
            name = sample.name.replace("theirs", "mdeploy_request_duration_seconds")
            end = (("le", f"{float(sample.labels['le']):.15g}"),) if "le" in sample.labels else ()
            end = (("le", "+Inf"),) if sample.labels.get("le") == "+Inf" else end
            assert ours[name, (*end, ("route", "/predict"))] == pytest.approx(sample.value)
    for sample in next(iter(sizes.collect())).samples:
        if sample.name.endswith(("_count", "_sum")):
            assert ours[sample.name.replace("sizes", "mdeploy_batch_rows"), ()] == sample.value


def test_health_checks_and_metrics_are_no_predictions() -> None:
    metrics = Metrics()
    metrics.answered(Route("GET", "/readyz", lambda _: None, "/readyz", 0, counted=False), 200, 0.1)
    assert not any(name == "mdeploy_requests_total" for name, _ in read(metrics))


def test_what_the_model_did_is_told() -> None:
    metrics = Metrics()
    metrics.ran(40, 5, 0.02)
    metrics.failed(2)
    metrics.queue(7)
    metrics.loaded("digits", 1.5)
    metrics.describe(name="digits", version="1.2.0", digest="sha256:0", framework="onnx")
    assert value(metrics, "mdeploy_batch_rows_bucket", le="32") == 0
    assert value(metrics, "mdeploy_batch_rows_bucket", le="64") == 1
    assert value(metrics, "mdeploy_batch_requests_sum") == 5
    assert value(metrics, "mdeploy_inference_duration_seconds_sum") == 0.02
    assert value(metrics, "mdeploy_model_failures_total") == 2
    assert value(metrics, "mdeploy_queue_requests") == 7
    assert value(metrics, "mdeploy_model_load_seconds", model="digits") == 1.5
    told = {"name": "digits", "version": "1.2.0", "digest": "sha256:0", "framework": "onnx"}
    assert value(metrics, "mdeploy_model_info", **told) == 1
    assert value(metrics, "mdeploy_workers") == 1
    assert value(metrics, "process_resident_memory_bytes") > 1_000_000
    assert abs(value(metrics, "process_start_time_seconds") - time.time()) < 60


def test_workers_add_up_whatever_order_they_met_their_routes_in() -> None:
    board = Board(3)
    other = Route("POST", "/v2/infer", lambda _: None, "/v2/infer", 1)

    def first() -> None:
        metrics = Metrics(board, worker=1)
        metrics.answered(other, 500, 0.1)
        metrics.answered(PREDICT, 200, 0.1)

    ours = Metrics(board, worker=0)
    ours.answered(PREDICT, 200, 0.1)
    in_a_child(first)
    assert value(ours, "mdeploy_requests_total", route="/predict", status="200") == 2
    assert value(ours, "mdeploy_requests_total", route="/v2/infer", status="500") == 1
    assert value(ours, "mdeploy_workers") == 1  # the other one ended


def test_a_worker_that_takes_over_goes_on_counting_but_nobody_waits_any_more() -> None:
    board = Board(2)
    ours = Metrics(board, worker=0)

    def count() -> None:
        metrics = Metrics(board, worker=1)
        metrics.answered(PREDICT, 200, 0.1)
        metrics.queue(9)

    in_a_child(count, kill=True)
    assert value(ours, "mdeploy_queue_requests") == 9
    assert value(ours, "mdeploy_worker_restarts_total") == 0
    in_a_child(count)
    assert value(ours, "mdeploy_requests_total", route="/predict", status="200") == 2
    assert value(ours, "mdeploy_worker_restarts_total") == 1
    in_a_child(partial(Metrics, board, worker=1))
    assert value(ours, "mdeploy_queue_requests") == 0
    assert value(ours, "mdeploy_worker_restarts_total") == 2


def test_a_full_row_loses_new_names_and_nothing_else() -> None:
    metrics = Metrics()
    metrics.answered(PREDICT, 200, 0.1)
    for index in range(1000):
        metrics.answered(Route("POST", "/", lambda _: None, f"/{index}", 1), 200, 0.1)
    metrics.answered(PREDICT, 200, 0.1)
    metrics.answered(PREDICT, 500, 0.1)
    assert value(metrics, "mdeploy_requests_total", route="/predict", status="200") == 2
    assert value(metrics, "mdeploy_request_duration_seconds_count", route="/predict") == 3
    assert value(metrics, "mdeploy_request_duration_seconds_count", route="/99") == 1


@settings(deadline=None)
@given(st.text(max_size=30))
@example("a\u2029b\u2028c\x1cd\x85")
@example("\ud800")
def test_no_label_breaks_the_text(name: str) -> None:
    metrics = Metrics()
    metrics.loaded(name, 1.0)
    loads = [labels for sample, labels in read(metrics) if sample == "mdeploy_model_load_seconds"]
    assert len(loads) == 1
    if name.isprintable():
        assert loads == [(("model", name),)]


def test_metrics_are_merged_with_those_of_a_users_service() -> None:
    metrics = Metrics()
    metrics.answered(PREDICT, 200, 0.1)
    theirs = b"""# HELP process_resident_memory_bytes Theirs.
# TYPE process_resident_memory_bytes gauge
process_resident_memory_bytes 1
# HELP own_seconds Own.
# TYPE own_seconds histogram
own_seconds_bucket{le="+Inf"} 2
own_seconds_sum 3
own_seconds_count 2

untyped_by_them 4
# EOF
"""
    text = merge(metrics.exposition(), theirs).decode()
    families = list(text_string_to_metric_families(text))
    assert len({family.name for family in families}) == len(families)
    samples = {sample.name: sample.value for family in families for sample in family.samples}
    assert samples["process_resident_memory_bytes"] > 1
    assert (samples["own_seconds_count"], samples["untyped_by_them"]) == (2, 4)
    assert merge(metrics.exposition(), b"").startswith(b"# HELP mdeploy_requests_total")


def test_the_route_answers_in_prometheus_form() -> None:
    exchange = Asked(Request("GET", "/metrics", {}, b""))
    route = metrics_route(Metrics())
    route.handler(exchange)
    assert exchange.answer and exchange.answer.media_type.startswith("text/plain; version=0.0.4")
    assert not route.counted


def test_counting_costs_a_fraction_of_what_prometheus_client_takes() -> None:
    metrics = Metrics()
    counter = Counter("c", "about", ["route", "status"], registry=None)
    duration = Histogram("h", "about", ["route"], buckets=SECONDS, registry=None)

    def ours() -> None:
        metrics.answered(PREDICT, 200, 0.0013)

    def theirs() -> None:
        counter.labels("/predict", "200").inc()
        duration.labels("/predict").observe(0.0013)

    def best(work: Callable[[], None]) -> float:
        times = []
        for _ in range(7):
            began = time.perf_counter()
            for _ in range(2000):
                work()
            times.append(time.perf_counter() - began)
        return min(times)

    assert best(ours) < best(theirs) / 2
