"""A real worker that is sent as much JSON as it takes."""

from __future__ import annotations

import json
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from serving_place import Start

pytestmark = pytest.mark.story
MEGABYTES = 40


ROW = json.dumps([7.12345678901] * 64).encode()
COUNT = MEGABYTES * 1_000_000 // (len(ROW) + 1)
ROWS = b",".join([ROW] * COUNT)
TENSOR = b'{"name":"image","datatype":"FP32","shape":[%d,64],"data":[%b]}' % (COUNT, ROWS)


@pytest.mark.parametrize(
    ("path", "body", "expected"),
    [
        ("/predict", b'{"image":[%b]}' % ROWS, 200),
        ("/predict", b'{"image":[%b,[true]]}' % ROWS, 400),
        ("/v2/models/digits/infer", b'{"inputs":[%b]}' % TENSOR, 200),
        ("/invocations", b'{"inputs":[%b]}' % ROWS, 200),
    ],
    ids=["predict", "wrong", "v2", "invocations"],
)
def test_health_and_small_requests_are_answered_while_a_large_body_is_read(
    start: Start, digits: Path, path: str, body: bytes, expected: int
) -> None:
    worker = start(digits).ready()
    small = {"image": [1] * 64}
    waited: list[float] = []
    with ThreadPoolExecutor(1) as other:
        large = other.submit(worker.post, path, body)
        while not large.done():
            began = time.monotonic()
            assert worker.get("/livez")[0] == 200
            waited.append(time.monotonic() - began)
            assert worker.post("/predict", small)[0] == 200
            time.sleep(0.005)
        assert large.result()[0] == expected
    assert max(waited) < 0.3, sorted(waited)[-5:]
    assert worker.stop() == 0


def test_a_stop_waits_for_a_large_body_that_is_being_read(start: Start, digits: Path) -> None:
    worker = start(digits).ready()
    with ThreadPoolExecutor(1) as other:
        large = other.submit(worker.post, "/predict", b'{"image":[%b]}' % ROWS)
        time.sleep(0.3)
        assert not large.done()
        assert worker.stop() == 0
        assert large.result()[0] == 200
