"""``/predict`` and ``/invocations``: forms of body and answer, and what is refused."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest

from modeldeploy.serving.problems import ModelFailed, NotReady, Overloaded, Problem, TimedOut
from modeldeploy.serving.spec import TensorSpec
from serving_ask import Service, npy

IMAGE = TensorSpec("image", "float32", ("batch", 2), 0, 16)
TIMES = TensorSpec("times", "int64", ("batch",))
ROWS = [[1, 2], [3, 4]]


@pytest.fixture
def one() -> Service:
    return Service(IMAGE)


@pytest.fixture
def two() -> Service:
    return Service(IMAGE, TIMES)


def test_a_batch_and_a_sample_are_answered_as_they_came(two: Service) -> None:
    assert two.post("/predict", {"image": ROWS, "times": [5, 6]}) == (
        200,
        {"image": [[1.0, 2.0], [3.0, 4.0]], "times": [5, 6]},
    )
    assert two.engine.jobs[-1].rows == 2
    assert two.post("/predict", {"image": [1, 2], "times": 5}) == (200, {"image": [1.0, 2.0], "times": 5})
    assert two.engine.jobs[-1].rows == 1


@pytest.mark.parametrize(
    ("inputs", "body", "rows"),
    [
        ((IMAGE, TensorSpec("scale", "float32", ())), {"image": ROWS, "scale": 1}, 0),
        ((TensorSpec("m", "float32", ("n", "n")),), {"m": ROWS}, 0),
        ((TensorSpec("x", "float32", ("n",)), TensorSpec("y", "float32", ("m",))), {"x": [1], "y": [1]}, 0),
        ((TensorSpec("x", "float32", (2,)),), {"x": [1, 2]}, 0),
        ((TensorSpec("x", "float32", None),), {"x": [1, 2]}, 0),
        ((TensorSpec("x", "float32", (None, None)),), {"x": ROWS}, 2),
    ],
)
def test_only_a_batch_that_all_inputs_share_may_be_joined(
    inputs: tuple[TensorSpec, ...], body: object, rows: int
) -> None:
    service = Service(*inputs)
    assert service.post("/predict", body)[0] == 200
    assert service.engine.jobs[-1].rows == rows


@pytest.mark.parametrize(
    "kind",
    [
        "",
        "application/json",
        "application/json; charset=UTF-8",
        "application/x-www-form-urlencoded",
        "text/plain",
        "Application/JSON",
        "application/vnd.acme+json",
    ],
)
def test_what_clients_call_json_is_read_as_json(one: Service, kind: str) -> None:
    assert one.ask("/predict", {"image": ROWS}, content_type=kind).status == 200


@pytest.mark.parametrize(
    "headers",
    [
        {"content_type": "image/png"},
        {"content_type": "application/xml"},
        {"content_type": "multipart/form-data; boundary=x"},
        {"content_type": "text/csv"},
        {"content_type": "application/json; charset=utf-16"},
        {"content_type": "application/json", "content_encoding": "gzip"},
    ],
)
def test_what_cannot_be_meant_is_a_415_that_says_what_can(one: Service, headers: dict[str, str]) -> None:
    status, body = one.post("/predict", {"image": ROWS}, **headers)
    assert status == 415
    assert set(body) == {"error", "field", "expected", "got"}
    assert body["got"] in headers.values()


@pytest.mark.parametrize(
    ("problem", "status", "retry"),
    [
        (ModelFailed("the model failed"), 500, ()),
        (Overloaded("full", retry_after=3), 503, (("retry-after", "3"),)),
        (NotReady("not yet"), 503, (("retry-after", "1"),)),
        (TimedOut("too late"), 504, ()),
    ],
)
def test_problems_of_the_model_have_their_status(
    one: Service, problem: Problem, status: int, retry: tuple[tuple[str, str], ...]
) -> None:
    one.engine.problem = problem
    for path, body in (("/predict", {"image": ROWS}), ("/invocations", {"instances": ROWS})):
        answer = one.ask(path, body)
        assert (answer.status, answer.headers) == (status, retry)
        assert json.loads(bytes(answer.body))["error"] == problem.error


def test_the_answer_comes_in_the_form_that_is_accepted_most(one: Service) -> None:
    def kind(accept: str) -> str:
        return one.ask("/predict", {"image": ROWS}, accept=accept).media_type

    arrow = "application/vnd.apache.arrow.stream"
    assert kind("application/x-npy") == "application/x-npy"
    assert kind(f"application/x-npy;q=0.5, {arrow}") == arrow
    assert kind("text/html, application/x-npy;q=0") == "application/json"
    assert kind("*/*, application/x-npy") == "application/json"
    assert kind("image/png") == "application/json"
    assert kind("application/x-npy;q=nonsense") == "application/json"


def test_each_wrong_body_names_the_field_and_nothing_reaches_the_model(two: Service) -> None:
    wrong: list[tuple[bytes | Any, str | None]] = [
        (b"", None),
        (b'{"image": [[1, 2', None),
        (b"[" * 100_000, None),
        (b'{"a":' * 100_000, None),
        ({"image": ROWS}, "times"),
        ({"image": ROWS, "times": [1, 2], "more": 1}, "more"),
        ({"image": [[1, 2], [3]], "times": [1, 2]}, "image"),
        ({"image": [[[1, 2]]], "times": [1]}, "image"),
        ({"image": [["1", 2]], "times": [1]}, "image"),
        ({"image": [[float("nan"), 2]], "times": [1]}, "image"),
        ({"image": [[float("inf"), 2]], "times": [1]}, "image"),
        ({"image": [[17, 2]], "times": [1]}, "image"),
        ({"image": ROWS, "times": [1.5, 2]}, "times"),
        ({"image": ROWS, "times": [1]}, "times"),
        ({"image": [], "times": []}, "image"),
    ]
    for body, field in wrong:
        status, answer = two.post("/predict", body)
        assert (status, answer["field"]) == (400, field), body
    assert not two.engine.jobs


def test_invocations_take_named_fields_rows_and_columns(two: Service, one: Service) -> None:
    named = {"image": ROWS, "times": [5, 6]}
    rows = [{"image": [1, 2], "times": 5}, {"image": [3, 4], "times": 6}]
    assert two.post("/invocations", named) == two.post("/predict", named)
    assert two.post("/invocations", {"instances": rows}) == (
        200,
        {"predictions": [{"image": [1.0, 2.0], "times": 5}, {"image": [3.0, 4.0], "times": 6}]},
    )
    assert two.post("/invocations", {"inputs": named})[1]["predictions"]["times"] == [5, 6]
    assert one.post("/invocations", {"instances": ROWS}) == (200, {"predictions": [[1.0, 2.0], [3.0, 4.0]]})
    assert one.post("/invocations", {"inputs": ROWS}) == (200, {"predictions": [[1.0, 2.0], [3.0, 4.0]]})
    assert one.post("/invocations", {"instances": [{"image": [1, 2]}]})[0] == 200


@pytest.mark.parametrize(
    "body",
    [
        {"instances": []},
        {"instances": 3},
        {"instances": [{"image": [1, 2]}]},
        {"instances": [{"image": [1, 2], "times": 1}, 5]},
        {"instances": ROWS},
        {"inputs": ROWS},
        {"instances": [1], "more": 1},
    ],
)
def test_rows_that_do_not_fit_the_inputs_are_refused(two: Service, body: object) -> None:
    assert two.post("/invocations", body)[0] == 400


AGE = TensorSpec("age", "int64", ("batch",))
PAY = TensorSpec("pay", "float64", ("batch",), nan=True)


def test_invocations_take_the_tables_that_mlflows_clients_send(one: Service) -> None:
    predictions = {"predictions": [{"age": 31, "pay": 5.5}, {"age": 40, "pay": "NaN"}]}
    service = Service(AGE, PAY)
    split = {"columns": ["pay", "age"], "index": [0, 1], "data": [[5.5, 31], [None, 40]]}
    assert service.post("/invocations", {"dataframe_split": split}) == (200, predictions)
    records = [{"pay": 5.5, "age": 31}, {"age": 40, "pay": None}]
    assert service.post("/invocations", {"dataframe_records": records}) == (200, predictions)
    matrix = (200, {"predictions": [[1.0, 2.0], [3.0, 4.0]]})
    assert one.post("/invocations", {"dataframe_split": {"columns": ["a", "b"], "data": ROWS}}) == matrix
    assert one.post("/invocations", {"dataframe_split": {"data": ROWS}}) == matrix
    cells = {"columns": ["image"], "data": [[row] for row in ROWS]}
    assert one.post("/invocations", {"dataframe_split": cells}) == matrix
    assert one.post("/invocations", {"dataframe_records": [{"image": [1, 2]}]})[0] == 200


def test_a_matrix_of_one_column_may_be_called_as_its_column() -> None:
    service = Service(TensorSpec("x", "float64", ("batch", 1)))
    split = {"columns": ["x"], "data": [[1], [2]]}
    assert service.post("/invocations", {"dataframe_split": split}) == (200, {"predictions": [[1.0], [2.0]]})


@pytest.mark.parametrize(
    ("body", "says"),
    [
        ({"dataframe_split": 3}, "a table"),
        ({"dataframe_split": {"columns": ["age", "pay"]}}, "a table"),
        ({"dataframe_split": {"data": [[1, 2]], "more": 1}}, "a table"),
        ({"dataframe_split": {"columns": "age", "data": [[1, 2]]}}, "names"),
        ({"dataframe_split": {"columns": [["age"], "pay"], "data": [[1, 2]]}}, "names"),
        ({"dataframe_split": {"columns": ["age", "pay"], "data": []}}, "rows"),
        ({"dataframe_split": {"columns": ["age", "pay"], "data": [[]]}}, "rows"),
        ({"dataframe_split": {"columns": ["age", "pay"], "data": [[1, 2], [1]]}}, "entries at [1]"),
        ({"dataframe_split": {"columns": ["age", "age"], "data": [[1, 2]]}}, "a column for each input"),
        ({"dataframe_split": {"columns": ["age", "size"], "data": [[1, 2]]}}, "a column for each input"),
        ({"dataframe_split": {"data": [[1, 2]]}}, "a column for each input"),
        ({"dataframe_records": [[1, 2]]}, "an object with each input"),
        ({"dataframe_records": {"age": 1}}, "a list of samples"),
    ],
)
def test_a_table_that_does_not_fit_the_inputs_says_why(body: object, says: str) -> None:
    status, answer = Service(AGE, PAY).post("/invocations", body)
    assert (status, says in answer["error"]) == (400, True), answer


def test_a_matrix_has_no_names_for_records_and_its_error_says_what_to_send(one: Service) -> None:
    _, answer = one.post("/invocations", {"dataframe_records": [{"a": 1, "b": 2}]})
    assert answer["expected"] == 'an object with image; or "dataframe_split"'
    assert answer["got"] == "a, b"


def test_what_stands_beside_the_samples_is_named(one: Service) -> None:
    status, answer = one.post("/invocations", {"instances": ROWS, "signature_name": "serving_default"})
    assert (status, answer["error"], answer["field"]) == (400, '"instances" goes alone', "signature_name")


def test_a_header_in_csv_is_refused_in_its_own_words(one: Service) -> None:
    _, answer = one.post("/invocations", b"a,b\n1,2\n", content_type="text/csv")
    assert answer["expected"] == "float32 [batch, 2], no header"


def test_an_input_may_be_called_inputs() -> None:
    service = Service(TensorSpec("inputs", "int64", ("n",)))
    assert service.post("/invocations", {"inputs": [1, 2]}) == (200, {"inputs": [1, 2]})


def test_csv_is_a_sample_per_line(one: Service) -> None:
    assert one.post("/invocations", b"1,2\r\n3,4.5\n", content_type="text/csv; charset=utf-8") == (
        200,
        {"predictions": [[1.0, 2.0], [3.0, 4.5]]},
    )
    answer = one.ask("/invocations", b"1,2\n3,4\n", content_type="text/csv", accept="text/csv")
    assert answer.body == b"1.0,2.0\n3.0,4.0\n"


@pytest.mark.parametrize(
    ("body", "says"),
    [
        (b"", "empty"),
        (b"1,2\n3,x\n", "line 2 of the CSV"),
        (b"1,2\n3,\n", "line 2 of the CSV"),
        (b"1,nan", "line 1"),
        (b"1,1_0", "line 1"),
        (b"1,2\n3", "ragged"),
        (b"1,1e999", "finite"),
        (b"1,17", "0 to 16"),
        (b"1," + b"9" * 5000, "finite"),
        (b"\xff,1", "line 1"),
    ],
)
def test_csv_that_is_no_table_of_these_numbers_is_refused(one: Service, body: bytes, says: str) -> None:
    status, answer = one.post("/invocations", body, content_type="text/csv")
    assert (status, answer["field"]) == (400, "image")
    assert says in answer["error"]


def test_csv_where_the_signature_is_no_table_is_a_415(two: Service) -> None:
    assert two.post("/invocations", b"1,2", content_type="text/csv")[0] == 415
    assert two.post("/predict", npy(np.ones((1, 2), "f4")), content_type="application/x-npy")[0] == 415


def test_ping_says_whether_the_model_answers(one: Service) -> None:
    assert one.ask("/ping", method="GET").status == 200
    one.engine.ready = False
    assert one.ask("/ping", method="GET").status == 503


def test_what_may_be_missing_is_nan_in_every_form() -> None:
    service = Service(TensorSpec("x", "float64", ("n", 2), 0, 16, nan=True))
    array = np.array([[1, np.nan]])
    entry = {"name": "x", "shape": [1, 2], "datatype": "FP64", "data": [1, None]}
    forms: list[tuple[str, object, dict[str, str]]] = [
        ("/predict", {"x": [[1, None]]}, {}),
        ("/predict", {"x": [[1, "NaN"]]}, {}),
        ("/predict", npy(array), {"content_type": "application/x-npy"}),
        ("/invocations", b"1,", {"content_type": "text/csv"}),
        ("/invocations", b"1,NaN", {"content_type": "text/csv"}),
        ("/v2/models/echo/infer", {"inputs": [entry]}, {}),
    ]
    for path, body, headers in forms:
        assert service.ask(path, body, **headers).status == 200, body
        np.testing.assert_array_equal(service.arrays["x"], array)
    for infinite in (npy(np.array([[1, np.inf]])), npy(np.array([[np.nan, -np.inf]]))):
        assert service.post("/predict", infinite, content_type="application/x-npy")[0] == 400
