"""What a service's spec says of how it runs, and what the environment says instead."""

from __future__ import annotations

import pytest

from modeldeploy.serving import cpu
from modeldeploy.serving.settings import settings
from modeldeploy.serving.spec import Limits, Runtime, ServiceSpec

SPEC = ServiceSpec(
    "m", rows=8, limits=Limits(body=10, queue=3, timeout=2.5), runtime=Runtime(2, 1, ("cuda", "cpu"), "basic")
)


@pytest.fixture(autouse=True)
def machine_of_eight(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cpu, "processors", lambda: 8)


def test_the_spec_holds_where_the_environment_says_nothing() -> None:
    found = settings(SPEC, {"MDEPLOY_QUEUE": " "})
    assert (found.workers, found.max_body, found.timeout, found.queue, found.rows) == (2, 10, 2.5, 3, 8)
    assert (found.model.threads, found.model.providers) == (1, ("cuda", "cpu"))
    assert (found.model.graph_optimization, found.access_log) == ("basic", False)


def test_the_environment_overrules() -> None:
    said = {
        "MDEPLOY_WORKERS": "3",
        "MDEPLOY_INTRA_OP_THREADS": "5",
        "MDEPLOY_MAX_BODY_BYTES": "99",
        "MDEPLOY_TIMEOUT": "500ms",
        "MDEPLOY_QUEUE": "7",
        "MDEPLOY_BATCH_ROWS": "0",
        "MDEPLOY_PROVIDERS": "CoreML, cpu",
        "MDEPLOY_ACCESS_LOG": "1",
    }
    found = settings(SPEC, said)
    assert (found.workers, found.max_body, found.timeout, found.queue, found.rows) == (3, 99, 0.5, 7, 0)
    assert (found.model.threads, found.model.providers) == (5, ("coreml", "cpu"))
    assert found.access_log


def test_processors_are_shared_among_the_workers() -> None:
    free = ServiceSpec("m")
    assert settings(free, {}).model.threads == 8
    assert settings(free, {"MDEPLOY_WORKERS": "3"}).model.threads == 2
    everyone = settings(free, {"MDEPLOY_WORKERS": "0"})
    assert (everyone.workers, everyone.model.threads) == (8, 1)
    assert settings(free, {"MDEPLOY_WORKERS": "20"}).model.threads == 1


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        ("MDEPLOY_WORKERS", "-1", "a whole number from 0"),
        ("MDEPLOY_WORKERS", "two", "a whole number from 0"),
        ("MDEPLOY_WORKERS", "1025", "a whole number from 0 to 1024"),
        ("MDEPLOY_INTRA_OP_THREADS", "0", "a whole number from 1"),
        ("MDEPLOY_INTRA_OP_THREADS", "1.5", "a whole number from 1"),
        ("MDEPLOY_INTRA_OP_THREADS", "100000", "a whole number from 1 to 1024"),
        ("MDEPLOY_MAX_BODY_BYTES", "64MB", "a whole number from 1"),
        ("MDEPLOY_MAX_BODY_BYTES", "٣", "a whole number from 1"),
        ("MDEPLOY_QUEUE", "0", "a whole number from 1"),
        ("MDEPLOY_QUEUE", "9" * 5000, "a whole number from 1"),
        ("MDEPLOY_BATCH_ROWS", "many", "a whole number from 0"),
        ("MDEPLOY_TIMEOUT", "0", "a time above 0 such as 60, 500ms, 30s or 2m"),
        ("MDEPLOY_TIMEOUT", "-1s", "a time above 0"),
        ("MDEPLOY_TIMEOUT", "inf", "a time above 0"),
        ("MDEPLOY_TIMEOUT", "9" * 400, "a time above 0"),
        ("MDEPLOY_PROVIDERS", "gpu", "one or more of cpu, cuda, tensorrt, coreml"),
        ("MDEPLOY_PROVIDERS", "cpu,cpu", "each once"),
        ("MDEPLOY_PROVIDERS", "cuda,,cpu", "one or more of"),
        ("MDEPLOY_ACCESS_LOG", "maybe", "1 or 0"),
    ],
)
def test_nonsense_is_refused_with_its_name_and_value(name: str, value: str, expected: str) -> None:
    with pytest.raises(ValueError, match=name) as caught:
        settings(SPEC, {name: value})
    assert repr(value) in str(caught.value) and expected in str(caught.value)


@pytest.mark.parametrize(("text", "seconds"), [("60", 60), ("1.5s", 1.5), ("2m", 120), ("1h", 3600)])
def test_times_may_have_units(text: str, seconds: float) -> None:
    assert settings(SPEC, {"MDEPLOY_TIMEOUT": text}).timeout == seconds
