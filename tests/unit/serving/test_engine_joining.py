"""Which models' rows go together: found out at the warm-up, or on the first requests."""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest

from model_engine_place import (
    Asked,
    Counted,
    Doubling,
    Y,
    all_answered,
    asked,
    engine_of,
    in_one_turn,
    on_loop,
    service,
)
from modeldeploy.serving.runtimes.base import Value
from modeldeploy.serving.spec import TensorSpec
from modeldeploy.serving.tensors.rules import Array

SLOW = 0.003


class _Rows(Doubling):
    """Gives, for rows that are together, whatever a function makes of them."""

    def __init__(self, function: Any) -> None:
        super().__init__()
        self._function = function

    def run(self, arrays: Mapping[str, Array]) -> dict[str, Value]:
        super().run(arrays)
        return {"y": self._function(arrays["x"])}


@pytest.mark.parametrize(
    ("function", "says"),
    [
        (lambda x: x - x.mean(axis=0), "depends on the rows beside it"),
        (lambda x: np.concatenate([x, x]), "has 6 rows for 3 rows"),
        (lambda x: x.sum(), "no rows"),
        (lambda x: {"a": 1}, "no rows"),
        (lambda x: x.reshape(1, 2) * 2, "fails for several requests together"),
    ],
)
def test_a_model_that_cannot_be_joined_is_found_at_the_warm_up(
    function: Any, says: str, caplog: pytest.LogCaptureFixture
) -> None:
    meter = Counted()
    engine = engine_of(_Rows(function), meter=meter)
    assert caplog.text.count("each request is run alone from now on") == 1 and says in caplog.text
    jobs = [asked(1), asked(2)]

    in_one_turn(engine, jobs)
    assert meter.runs == [(1, 1), (1, 1)]


def _only_known(function: Any) -> Any:
    """Refuses what the warm-up makes up, then does its function."""

    def run(x: Array) -> Any:
        if ((x < 5) & (x > -5)).any():
            raise ValueError("unknown category")
        return function(x)

    return run


@pytest.mark.parametrize(
    ("function", "joined"), [(lambda x: x * 2, True), (lambda x: x - x.mean(axis=0), False)]
)
def test_a_model_that_refuses_made_up_rows_is_tried_on_the_first_requests(
    function: Any, *, joined: bool, caplog: pytest.LogCaptureFixture
) -> None:
    meter = Counted()
    with caplog.at_level(logging.WARNING):
        engine = engine_of(_Rows(_only_known(function)), meter=meter)
    assert "warm-up with made-up values failed" in caplog.text and engine.ready

    async def story() -> None:
        for _ in range(2):
            jobs = [asked(10), asked(30)]
            for job in jobs:
                engine.submit(job)
            await all_answered(*jobs)
            alone = function(np.full((1, 2), 30, dtype=np.float32)).tolist()
            assert jobs[1].y == alone, "each gets what it would have got alone"

    on_loop(engine, story())
    assert meter.runs[-1] == ((2, 2) if joined else (1, 1))
    assert ("alone from now on" in caplog.text) != joined


def test_an_output_whose_rows_stop_matching_ends_the_joining(caplog: pytest.LogCaptureFixture) -> None:
    engine = engine_of(_Rows(lambda x: x[x[:, 0] < 100] * 2))
    jobs = [asked(1), asked(200), asked(3)]

    in_one_turn(engine, jobs)
    assert [job.y for job in jobs] == [[[2.0, 2.0]], [], [[6.0, 6.0]]]
    assert "has 2 rows for 3 rows of input" in caplog.text


def test_an_output_without_a_batch_in_its_signature_is_never_joined() -> None:
    meter = Counted()
    spec = service(outputs=[Y, TensorSpec("z", "float32", (3,))])
    engine = engine_of(Doubling(), spec, meter)
    jobs = [asked(1), asked(2), asked(3)]

    in_one_turn(engine, jobs)
    assert meter.runs == [(1, 1)] * 3


class _Laborious(Doubling):
    """Takes its time for each row, so that nothing is gained by putting rows together."""

    def run(self, arrays: Mapping[str, Array]) -> dict[str, Value]:
        time.sleep(SLOW * len(arrays["x"]))
        return super().run(arrays)


def test_where_it_does_not_pay_requests_are_not_joined(caplog: pytest.LogCaptureFixture) -> None:
    meter = Counted()
    with caplog.at_level(logging.INFO):
        engine = engine_of(_Laborious(), meter=meter, MDEPLOY_BATCH_ROWS="4")
    assert "ms alone and" in caplog.text
    jobs = [asked(1), asked(2)]

    in_one_turn(engine, jobs)
    assert meter.runs == [(1, 1), (1, 1)]


def test_large_rows_are_not_joined_beyond_a_number_of_bytes() -> None:
    wide = 100_000
    meter = Counted()
    spec = service(inputs=(TensorSpec("x", "float32", ("batch", wide)),), outputs=(Y,))
    model = _Rows(lambda x: x[:, :2] * 2)
    model.seconds = SLOW
    engine = engine_of(model, spec, meter)
    assert max(model.sizes) == 3, "nor at the warm-up: three are compared with one"
    jobs = [Asked(np.full((1, wide), value, dtype=np.float32)) for value in range(7)]

    in_one_turn(engine, jobs)
    assert [rows for rows, _ in meter.runs] == [2, 2, 2, 1]
    assert [job.y for job in jobs] == [[[2.0 * value, 2.0 * value]] for value in range(7)]
