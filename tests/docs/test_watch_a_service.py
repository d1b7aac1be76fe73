"""The page's program tells the truth about a worker that really serves."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import pytest

from serving_bundle import slow_bundle, started
from serving_place import Worker

PAGE = Path(__file__).parents[2] / "docs" / "how-to" / "watch-a-service.md"


def program() -> dict[str, Any]:
    block = PAGE.read_text("utf-8").split("```python\n")[1].split("```")[0]
    names: dict[str, Any] = {"__name__": "look"}
    exec(compile(block, "look.py", "exec"), names)  # our own page
    return names


def ask(worker: Worker, pixel: float, times: int) -> list[int]:
    body = json.dumps({"image": [[pixel] * 64]}).encode()
    return [worker.post("/predict", body)[0] for _ in range(times)]


def test_rate_errors_and_p99_are_those_of_the_requests(tmp_path: Path) -> None:
    worker = started(slow_bundle(tmp_path / "bundle"), tmp_path)
    try:
        ask(worker, 1, 5)
        before, began = worker.get("/metrics")[1].decode(), time.monotonic()
        statuses = [*ask(worker, 1, 80), *ask(worker, 13, 15), *ask(worker, 2, 5)]
        seconds = time.monotonic() - began
        after = worker.get("/metrics")[1].decode()
    finally:
        worker.stop()
    assert (statuses.count(200), statuses.count(500)) == (85, 15)
    rate, errors, p99 = program()["summary"](before, after, seconds)
    assert rate == pytest.approx(100 / seconds)
    assert errors == pytest.approx(0.15)
    assert (
        0.1 < p99 <= 0.5
    )  # five of a hundred took 0.2 s: the bucket from 0.1 s, or the next where others compute


def test_a_quantile_is_the_one_of_prometheus() -> None:
    quantile = program()["quantile"]
    buckets = [(0.1, 50.0), (0.2, 90.0), (0.5, 100.0), (float("inf"), 100.0)]
    assert quantile(0.5, buckets) == pytest.approx(0.1)
    assert quantile(0.7, buckets) == pytest.approx(0.15)
    assert quantile(0.99, buckets) == pytest.approx(0.47)
    assert quantile(0.99, [(0.1, 0.0), (float("inf"), 9.0)]) == 0.1
    assert quantile(0.99, [(0.1, 0.0), (float("inf"), 0.0)]) == 0.0
