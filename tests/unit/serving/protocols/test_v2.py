"""The Open Inference Protocol V2 over REST, with its binary tensors."""

from __future__ import annotations

import json
import tracemalloc
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from modeldeploy.serving.exchange import Request
from modeldeploy.serving.problems import BadInput, Overloaded
from modeldeploy.serving.protocols.datatypes import DATATYPES, as_tensor, pack_texts, unpack_texts
from modeldeploy.serving.protocols.v2 import Infer
from modeldeploy.serving.protocols.v2_binary import from_bytes
from modeldeploy.serving.spec import DTYPES, TensorSpec
from serving_ask import Service

X = TensorSpec("x", "float32", ("n", 2), 0, 16)
TEXT = TensorSpec("t", "string", ("n",))
INFER = "/v2/models/echo/infer"
ONE = {"name": "x", "shape": [1, 2], "datatype": "FP32", "data": [1, 2]}


@pytest.fixture
def one() -> Service:
    return Service(X)


@pytest.fixture
def two() -> Service:
    return Service(X, TEXT)


def binary(fields: dict[str, Any], *data: bytes) -> tuple[bytes, str]:
    head = json.dumps(fields).encode()
    return b"".join((head, *data)), str(len(head))


def ask_binary(service: Service, fields: dict[str, Any], *data: bytes) -> tuple[int, Any]:
    body, length = binary(fields, *data)
    return service.post(INFER, body, inference_header_content_length=length)


def test_tensors_come_flat_or_nested_and_go_flat(one: Service) -> None:
    answer = {
        "model_name": "echo",
        "model_version": "1.2.0",
        "id": "7",
        "outputs": [{"name": "x", "datatype": "FP32", "shape": [2, 2], "data": [1.0, 2.0, 3.0, 4.0]}],
    }
    for data in ([1, 2, 3, 4], [[1, 2], [3, 4]]):
        request = {"id": "7", "inputs": [{**ONE, "shape": [2, 2], "data": data}]}
        assert one.post(INFER, request) == (200, answer)
        assert one.post("/v2/models/echo/versions/1.2.0/infer", request) == (200, answer)


def test_outputs_are_those_that_are_wanted_in_their_order(two: Service) -> None:
    texts = {"name": "t", "shape": [1], "datatype": "BYTES", "data": ["é"]}
    request = {"inputs": [ONE, texts], "outputs": [{"name": "t"}, {"name": "x"}]}
    told = two.post(INFER, request)[1]
    assert [output["name"] for output in told["outputs"]] == ["t", "x"]
    assert told["outputs"][0] == {"name": "t", "datatype": "BYTES", "shape": [1], "data": ["é"]}
    assert "id" not in told


@pytest.mark.parametrize("dtype", DTYPES)
def test_every_datatype_comes_and_goes_as_bytes_bit_by_bit(dtype: str) -> None:
    service = Service(TensorSpec("x", dtype, ("n", 2)))
    values = np.array([["", "é"]], dtype=object) if dtype == "string" else np.array([[0, 1]], dtype=dtype)
    data = pack_texts(values) if dtype == "string" else values.tobytes()
    entry = {
        "name": "x",
        "shape": [1, 2],
        "datatype": DATATYPES[dtype],
        "parameters": {"binary_data_size": len(data)},
    }
    body, length = binary({"inputs": [entry], "parameters": {"binary_data_output": True}}, data)
    answer = service.ask(INFER, body, inference_header_content_length=length)
    head = int(dict(answer.headers)["inference-header-content-length"])
    told = json.loads(bytes(answer.body)[:head])
    assert (answer.status, answer.media_type) == (200, "application/octet-stream")
    assert told["outputs"] == [entry]
    assert bytes(answer.body)[head:] == data
    assert service.arrays["x"].tolist() == values.tolist()


def test_each_tensor_and_output_says_for_itself_whether_it_is_bytes(two: Service) -> None:
    texts = {"name": "t", "shape": [1], "datatype": "BYTES", "parameters": {"binary_data_size": 5}}
    fields = {
        "inputs": [ONE, texts],
        "outputs": [{"name": "x", "parameters": {"binary_data": True}}, {"name": "t"}],
    }
    body, length = binary(fields, b"\x01\0\0\0a")
    answer = two.ask(INFER, body, inference_header_content_length=length)
    head = int(dict(answer.headers)["inference-header-content-length"])
    told = json.loads(bytes(answer.body)[:head])["outputs"]
    assert told[0]["parameters"] == {"binary_data_size": 8}
    assert told[1]["data"] == ["a"]


def test_bytes_are_not_copied_where_they_are_aligned() -> None:
    array = from_bytes(TensorSpec("x", "float32", ("n",)), memoryview(bytes(16)), (4,))
    assert not array.flags.owndata


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"name": "y"}, 'there is no input "y"'),
        ({"name": 3}, "an input needs a name"),
        ({"datatype": "FP64"}, "has the datatype FP32, not FP64"),
        ({"datatype": None}, "needs a datatype"),
        ({"shape": [1, 3]}, "3 instead of 2 entries"),
        ({"shape": [2, 2]}, "has data of shape [2], but says [2, 2]"),
        ({"shape": [-1, 2]}, "whole numbers from 0"),
        ({"shape": [0, 2]}, "is empty"),
        ({"shape": [True, 2]}, "whole numbers"),
        ({"shape": [2**63, 2]}, "whole numbers"),
        ({"shape": [2**62, 2]}, "has data of shape"),
        ({"shape": "no"}, "a list of sizes"),
        ({"shape": [1] * 2000}, "2000 dimensions instead of 2"),
        ({"data": [1, "2"]}, "must hold numbers"),
        ({"data": [1, 17]}, "0 to 16"),
        ({"data": [1, float("nan")]}, "finite"),
        ({"data": [[1], [2, 3]]}, "ragged"),
        ({"data": None}, "must hold numbers"),
        ({"parameters": 3}, "must be an object"),
        ({"parameters": {"binary_data_size": 8}}, "one is enough"),
        ({"parameters": {"shared_memory_region": "r"}}, "does not have"),
    ],
)
def test_a_wrong_tensor_is_refused_in_the_protocols_form(
    one: Service, change: dict[str, Any], says: str
) -> None:
    status, answer = one.post(INFER, {"inputs": [{**ONE, **change}]})
    assert (status, set(answer)) == (400, {"error"})
    assert says in answer["error"]
    assert not one.engine.jobs


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        [],
        {},
        {"inputs": []},
        {"inputs": {}},
        {"inputs": [3]},
        {"inputs": [ONE, ONE]},
        {"inputs": [{"name": "x", "shape": [1, 2], "datatype": "FP32"}]},
        {"inputs": [ONE], "id": 3},
        {"inputs": [ONE], "parameters": []},
        {"inputs": [ONE], "outputs": {}},
        {"inputs": [ONE], "outputs": 3},
        {"inputs": [ONE], "outputs": [{}]},
        {"inputs": [ONE], "outputs": [{"name": "y"}]},
        {"inputs": [ONE], "outputs": [{"name": "x"}, {"name": "x"}]},
        {"inputs": [ONE], "outputs": [{"name": "x", "parameters": {"classification": 2}}]},
        b"[" * 100_000,
    ],
)
def test_a_wrong_request_is_refused(one: Service, body: object) -> None:
    status, answer = one.post(INFER, body)
    assert (status, set(answer)) == (400, {"error"})
    assert not one.engine.jobs


def test_a_missing_input_is_refused(two: Service) -> None:
    assert two.post(INFER, {"inputs": [ONE]})[1]["error"].startswith('"t" is missing')


@pytest.mark.parametrize("told", ["", "-1", "x", "1e3", "٣", "9" * 30, "1000"])
def test_a_length_of_the_json_that_lies_is_refused(one: Service, told: str) -> None:
    assert one.post(INFER, {"inputs": [ONE]}, inference_header_content_length=told)[0] == 400


@pytest.mark.parametrize(
    ("size", "data", "says"),
    [
        (8, b"", "0 bytes of binary data are left"),
        (8, bytes(7), "7 bytes of binary data are left"),
        (8, bytes(9), "1 bytes of binary data belong to no input"),
        (7, bytes(7), "takes 8"),
        (0, b"", "takes 8"),
        (-8, bytes(8), "whole number"),
        (2**60, bytes(8), "are left"),
        (8.0, bytes(8), "whole number"),
        ("8", bytes(8), "whole number"),
        (True, bytes(1), "whole number"),
        (8, np.array([1, np.nan], "f4").tobytes(), "NaN"),
        (8, np.array([1, np.inf], "f4").tobytes(), "Infinity"),
        (8, np.array([1, 17], "f4").tobytes(), "0 to 16"),
    ],
)
def test_binary_sizes_and_values_that_are_wrong_are_refused(
    one: Service, size: object, data: bytes, says: str
) -> None:
    entry = {"name": "x", "shape": [1, 2], "datatype": "FP32", "parameters": {"binary_data_size": size}}
    status, answer = ask_binary(one, {"inputs": [entry]}, data)
    assert (status, set(answer)) == (400, {"error"})
    assert says in answer["error"]
    assert not one.engine.jobs


@pytest.mark.parametrize(
    "data", [b"\x01", b"\xff\xff\xff\xffa", b"\x05\0\0\0a", b"\x01\0\0\0\xff", b"\x01\0\0\0a\x01\0\0\0b", b""]
)
def test_texts_that_are_packed_wrongly_are_refused(data: bytes) -> None:
    entry = {"name": "t", "shape": [1], "datatype": "BYTES", "parameters": {"binary_data_size": len(data)}}
    assert ask_binary(Service(TEXT), {"inputs": [entry]}, data)[0] == 400


def test_a_content_type_that_cannot_be_meant_is_a_415(one: Service) -> None:
    for kind, status in (("application/octet-stream", 200), ("application/json", 200), ("image/png", 415)):
        assert one.ask(INFER, {"inputs": [ONE]}, content_type=kind).status == status
    assert one.post(INFER, {"inputs": [ONE]}, content_encoding="gzip")[0] == 415


def test_a_full_queue_says_when_to_come_back(one: Service) -> None:
    one.engine.problem = Overloaded("full", retry_after=2)
    answer = one.ask(INFER, {"inputs": [ONE]})
    assert (answer.status, answer.headers) == (503, (("retry-after", "2"),))


def test_health_and_metadata(one: Service) -> None:
    def get(path: str) -> tuple[int, Any]:
        answer = one.ask(path, method="GET")
        return answer.status, json.loads(bytes(answer.body))

    assert get("/v2")[1]["name"] == "echo"
    assert get("/v2/models/echo") == get("/v2/models/echo/versions/1.2.0")
    assert get("/v2/models/echo")[1] == {
        "name": "echo",
        "versions": ["1.2.0"],
        "platform": "onnxruntime_onnx",
        "inputs": [{"name": "x", "datatype": "FP32", "shape": [-1, 2]}],
        "outputs": [{"name": "x", "datatype": "FP32", "shape": [-1, 2]}],
    }
    assert get("/v2/health/live") == (200, {"live": True})
    for path in ("/v2/health/ready", "/v2/models/echo/ready", "/v2/models/echo/versions/1.2.0/ready"):
        one.engine.ready = True
        assert get(path) == (200, {"ready": True})
        one.engine.ready = False
        assert get(path) == (503, {"ready": False})


def test_an_output_that_is_no_tensor_comes_as_json_texts(one: Service) -> None:
    one.engine.value = {"x": [{10: np.float32(0.25)}, {10: 0.75}]}
    told = one.post(INFER, {"inputs": [ONE]})[1]["outputs"]
    assert told == [{"name": "x", "datatype": "BYTES", "shape": [2], "data": ['{"10":0.25}', '{"10":0.75}']}]
    assert as_tensor(3).shape == ()


def test_numbers_that_are_not_finite_come_as_texts_that_numpy_reads(one: Service) -> None:
    one.engine.value = {"x": np.array([[np.nan, -np.inf]], "f4")}
    told = one.post(INFER, {"inputs": [ONE]})[1]["outputs"][0]["data"]
    assert told == ["NaN", "-Infinity"]
    assert np.array(told, dtype="f4")[1] == -np.inf


ODD = [
    '{"inputs": [{"name": "x", "shape": [1, 2], "datatype": "FP32", "data": [1, true]}]}',
    '{"inputs": [{"name": "x", "shape": [1, 2], "datatype": "FP32", "data": [1, null]}]}',
    '{"inputs": [{"name": "x", "shape": [1, 2], "datatype": "FP32", "data": [1, "2"]}]}',
    '{"inputs": [{"name": "x", "shape": [1, 2], "datatype": "FP32", "data": [1, NaN]}]}',
    '{"inputs": [{"name": "x", "name": "x", "shape": [1, 2], "datatype": "FP32", "data": [1, 2]}]}',
    '{"inputs": [{"name": "x", "shape": [1, 2], "datatype": "FP32", "data": [1, 2]}], "id": "u", "id": "u"}',
    '{"inputs": [{"name": "x", "shape": [1, 2], "datatype": "FP32", "data": [[1, 2], true]}]}',
    '{"inputs": [{"name": "x", "shape": [1, 2], "datatype": "FP32", "data": [true, 1]}]}',
    '{"inputs": [{"name": "x", "shape": [2, 2], "datatype": "FP32", "data": [[1, 1], [true, true]]}]}',
    '{"inputs": [{"name": "x", "shape": [1, 2], "datatype": "FP32", "data": ["1", "2"]}]}',
    '{"inputs": [{"name": "x", "shape": [1, 2], "datatype": "FP32", "data": [null, 2]}]}',
]


@pytest.mark.parametrize("body", ODD)
def test_the_short_way_of_reading_is_as_strict(one: Service, body: str) -> None:
    assert one.post(INFER, body.encode())[0] == 400
    assert not one.engine.jobs


def test_the_short_way_of_reading_gives_what_the_long_one_gives() -> None:
    codec = Infer(Service(X, TEXT).spec, "echo", "")
    body = {
        "id": "\u00fc u s",
        "parameters": {"binary_data_output": True, "other": False, "more": None},
        "inputs": [ONE, {"name": "t", "shape": [1], "datatype": "BYTES", "data": ["\u00fc us"]}],
    }
    for spelled in (json.dumps(body), json.dumps(body, ensure_ascii=False, indent=1)):
        short = codec._quick.fields(memoryview(spelled.encode()))
        assert (short is None) == ("\\u" in spelled)
        assert short in (None, body)
        request = Request("POST", INFER, {}, spelled.encode())
        assert codec.read(request).arrays["t"].tolist() == ["\u00fc us"]


texts = st.lists(st.text(max_size=5).filter(lambda text: text.isprintable()), min_size=1, max_size=5)


@settings(max_examples=100, deadline=None)
@given(texts)
def test_packed_texts_come_back(entries: list[str]) -> None:
    packed = pack_texts(np.array(entries, dtype=object))
    assert unpack_texts(TEXT, memoryview(packed), len(entries)).tolist() == entries


@settings(max_examples=100, deadline=None)
@given(
    st.sampled_from([d for d in DTYPES if d != "string"]), hnp.array_shapes(min_dims=0, max_dims=3), st.data()
)
def test_any_array_comes_back(dtype: str, shape: tuple[int, ...], data: st.DataObject) -> None:
    array = data.draw(hnp.arrays(dtype, shape))
    again = from_bytes(TensorSpec("x", dtype, None), memoryview(array.tobytes()), shape)
    assert again.tobytes() == array.tobytes()


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=4),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["name", "data"]), inner),
    max_leaves=6,
)
tensors = st.fixed_dictionaries(
    {},
    optional={
        "name": st.just("x") | json_values,
        "shape": st.lists(st.integers(-1, 2**65), max_size=3) | st.just([1, 2]) | json_values,
        "datatype": st.sampled_from(["FP32", "BYTES"]) | json_values,
        "data": st.lists(st.integers(0, 16), max_size=3) | json_values,
        "parameters": st.fixed_dictionaries({"binary_data_size": st.integers(-1, 20) | json_values})
        | json_values,
    },
)
requests = st.fixed_dictionaries(
    {"inputs": st.lists(tensors, max_size=2) | json_values},
    optional={
        "id": json_values,
        "outputs": st.lists(st.fixed_dictionaries({"name": json_values}), max_size=2),
    },
)


def fuzzed(service: Service) -> Callable[[dict[str, Any], bytes, int], None]:
    def run(fields: dict[str, Any], data: bytes, shift: int) -> None:
        body, length = binary(fields, data)
        told = str(max(0, int(length) + shift))
        tracemalloc.start()
        answer = service.ask(INFER, body, inference_header_content_length=told)
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        assert answer.status in (200, 400)
        assert peak < 500_000

    return run


def test_no_request_becomes_a_server_error_or_costs_memory(one: Service) -> None:
    run = fuzzed(one)
    settings(max_examples=300, deadline=None)(
        given(requests, st.binary(max_size=24), st.sampled_from([0, 0, 0, -1, 1, 5]))(run)
    )()


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=40), st.integers(0, 5))
def test_no_packed_texts_give_anything_but_texts_or_a_refusal(data: bytes, count: int) -> None:
    try:
        assert len(unpack_texts(TEXT, memoryview(data), count)) == count
    except BadInput as bad:
        json.dumps(bad.as_json())


def unsure(head: memoryview) -> None:
    """What the short way says of a body that is not in order."""


@settings(max_examples=300, deadline=None)
@given(requests, st.binary(max_size=12))
def test_both_ways_of_reading_come_to_the_same(fields: dict[str, Any], data: bytes) -> None:
    spec = Service(X).spec
    short, long = Infer(spec, "echo", ""), Infer(spec, "echo", "")
    long._quick.fields = unsure  # type: ignore[method-assign]
    body, length = binary(fields, data)
    request = Request("POST", INFER, {"inference-header-content-length": length}, body)

    def outcome(codec: Infer) -> object:
        try:
            asked = codec.read(request)
        except BadInput as bad:
            return bad.as_json()
        return {name: array.tobytes() for name, array in asked.arrays.items()}, asked.context

    assert outcome(short) == outcome(long)
