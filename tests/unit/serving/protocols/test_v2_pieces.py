"""Long data in the JSON of a V2 request is read in pieces, and nothing else passes for it."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest

from modeldeploy.serving.protocols import v2
from modeldeploy.serving.spec import TensorSpec
from serving_ask import Service

X = TensorSpec("x", "float32", ("n", 100))
ROWS = np.random.default_rng(0).standard_normal((300, 100)).astype(np.float32)
INPUT: dict[str, Any] = {"name": "x", "shape": [300, 100], "datatype": "FP32"}
INFER = "/v2/models/echo/infer"


@pytest.mark.parametrize("data", [ROWS.tolist(), ROWS.reshape(-1).tolist()])
@pytest.mark.parametrize("first", [True, False])
def test_long_data_is_read_in_pieces_bit_by_bit(
    data: object, *, first: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    service = Service(X)
    monkeypatch.setattr(v2, "parse_json", None)  # the long way
    entry = {"data": data, **INPUT} if first else {**INPUT, "data": data}
    answer = service.ask(INFER, json.dumps({"inputs": [entry], "id": "a"}, indent=1).encode())
    assert answer.status == 200
    assert service.arrays["x"].tobytes() == ROWS.tobytes()


LONG = json.dumps(ROWS.tolist()).encode()
WRONG = (
    (b'{"inputs":[{"name":"x","shape":[300,100],"datatype":"FP32","data":%b]}]}', "not JSON"),
    (b'{"inputs":[{"name":"x","shape":[301,100],"datatype":"FP32","data":%b}]}', "data of shape"),
    (b'{"inputs":[{"name":"x","shape":[300,100],"datatype":"FP32","data":%b,"data":[1]}]}', "twice"),
    (b'{"inputs":[{"name":"x","shape":[1,100],"datatype":"FP32","data":[1],"data":%b}]}', "twice"),
    (b'{"data":[[%b,x],"inputs":[]}', "not JSON"),
    (b'{"inputs":[],"parameters":{"data":[%b,x]}}', "not JSON"),
    (b'{"inputs":[{"name":"x","a\\"data":[%b,x],"shape":[300,100],"datatype":"FP32"}]}', "not JSON"),
    (b'{"inputs":[{"name":"x","shape":[300,100],"datatype":"FP32","data":[%b,null]}]}', ""),
)


@pytest.mark.parametrize(("form", "says"), WRONG)
def test_what_is_wrong_is_refused_in_the_words_of_the_long_way(form: bytes, says: str) -> None:
    status, answer = Service(X).post(INFER, form % LONG)
    assert status == 400
    assert says in answer["error"]


def test_long_data_in_a_place_where_nobody_looks_is_no_error() -> None:
    entry = {**INPUT, "data": ROWS.tolist()}
    service = Service(X)
    assert service.post(INFER, {"inputs": [entry], "parameters": {"data": ROWS.tolist()}})[0] == 200
    assert service.arrays["x"].tobytes() == ROWS.tobytes()
