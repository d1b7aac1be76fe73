"""gRPC: messages to arrays and back."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import grpc
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from modeldeploy.serving.exchange import Request
from modeldeploy.serving.problems import (
    BadInput,
    ModelFailed,
    NotFound,
    NotReady,
    Overloaded,
    Problem,
    TimedOut,
    UnsupportedMedia,
)
from modeldeploy.serving.protocols.base import endpoint
from modeldeploy.serving.protocols.datatypes import DATATYPES, pack_texts
from modeldeploy.serving.protocols.grpc_infer import Infer, refusal
from modeldeploy.serving.spec import DTYPES, ModelSpec, ServiceSpec, TensorSpec
from modeldeploy.serving.tensors.rules import numpy_dtype
from serving_ask import WHO, Asked, Echo
from serving_grpc import ANSWER, INFER, MESSAGES

X = TensorSpec("x", "float32", ("n", 2), 0, 16)
CONTENTS = {"b": "bool_contents", "O": "bytes_contents"}


class Service:
    """The codec of ``ModelInfer`` in front of a model that gives back its inputs."""

    def __init__(self, *inputs: TensorSpec) -> None:
        model = ModelSpec("echo", "onnx", "model.onnx", inputs, inputs)
        spec = ServiceSpec("echo", inputs, inputs, (model,))
        self.engine = Echo(spec)
        self._handle = endpoint(Infer(spec, WHO, MESSAGES), self.engine, timeout=5)

    def ask(self, message: Any) -> tuple[int, Any]:
        """HTTP's status, and the message or what is wrong."""
        body = message if isinstance(message, bytes) else message.SerializeToString()
        exchange = Asked(Request("POST", "/", {}, body))
        self._handle(exchange)
        assert exchange.answer is not None
        if exchange.answer.status == 200:
            return 200, ANSWER.FromString(exchange.answer.body)
        assert dict(exchange.answer.headers)["grpc-status"]
        return exchange.answer.status, bytes(exchange.answer.body).decode()


def message(tensor: TensorSpec, array: Any, *, raw: bool = True, **changes: Any) -> Any:
    """A request for one tensor."""
    asked = INFER(model_name="echo", id="7")
    told = {"name": tensor.name, "datatype": DATATYPES[tensor.dtype], "shape": array.shape, **changes}
    entry = asked.inputs.add(**told)
    if raw:
        texts = array.dtype == object
        asked.raw_input_contents.append(pack_texts(array) if texts else array.tobytes())
    else:
        values = array.reshape(-1).tolist()
        field = field_of(array.dtype)
        getattr(entry.contents, field).extend([v.encode() if isinstance(v, str) else v for v in values])
    return asked


def field_of(dtype: np.dtype[Any]) -> str:
    if dtype.kind in CONTENTS:
        return CONTENTS[dtype.kind]
    if dtype.kind == "f":
        return f"fp{8 * dtype.itemsize}_contents"
    name = "int" if dtype.kind == "i" else "uint"
    return f"{name}64_contents" if dtype.itemsize == 8 else f"{name}_contents"


def array_of(tensor: TensorSpec, shape: tuple[int, ...]) -> Any:
    count = int(np.prod(shape))
    if tensor.dtype == "string":
        texts = np.empty(count, dtype=object)
        texts[:] = [f"tëxt {index}" for index in range(count)]
        return texts.reshape(shape)
    return (np.arange(count) % 2).astype(numpy_dtype(tensor)).reshape(shape)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("raw", [True, False])
def test_tensors_come_and_go_in_the_form_of_the_request(dtype: str, *, raw: bool) -> None:
    raw = raw or dtype == "float16"  # for which the protocol has no field
    tensor = TensorSpec("x", dtype, ("n", 2))
    service, sent = Service(tensor), array_of(tensor, (3, 2))
    status, answer = service.ask(message(tensor, sent, raw=raw))
    assert status == 200, answer
    assert np.array_equal(service.engine.jobs[0].arrays["x"], sent)
    assert service.engine.jobs[0].rows == 3
    (told,) = answer.outputs
    assert (told.name, told.datatype, list(told.shape)) == ("x", DATATYPES[dtype], [3, 2])
    assert (answer.model_name, answer.model_version, answer.id) == ("echo", "1.2.0", "7")
    if raw:
        assert list(answer.raw_output_contents) == list(message(tensor, sent).raw_input_contents)
    else:
        assert told.contents == message(tensor, sent, raw=False).inputs[0].contents


def test_one_sample_comes_and_goes_without_its_batch() -> None:
    status, answer = Service(X).ask(message(X, np.ones(2, np.float32)))
    assert (status, list(answer.outputs[0].shape)) == (200, [2])


ONES = np.ones((1, 2), np.float32)


def changed(change: Callable[[Any], object], *, raw: bool = True) -> Any:
    asked = message(X, ONES, raw=raw)
    change(asked)
    return asked


@pytest.mark.parametrize(
    ("asked", "status", "said"),
    [
        (b"\xff\xff", 400, "the body is no ModelInferRequest"),
        (INFER(), 404, 'there is no model ""'),
        (INFER(model_name="echo", model_version="9"), 404, 'there is no version "9" of echo'),
        (INFER(model_name="echo"), 400, '"x" is missing'),
        (message(X, ONES, name="y"), 400, 'there is no input "y"'),
        (message(X, ONES, datatype="FP64"), 400, "has the datatype FP32, not FP64"),
        (message(X, ONES, datatype=""), 400, "not empty"),
        (message(X, ONES, shape=[-1, 2]), 400, "must have a shape of whole numbers from 0"),
        (message(X, ONES, shape=[1, 3]), 400, "3 instead of 2 entries"),
        (message(X, ONES, shape=[2**62, 2]), 400, "has 8 bytes of data"),
        (message(X, ONES, shape=[2, 2]), 400, "has 8 bytes of data"),
        (message(X, ONES * np.nan), 400, "must hold finite numbers, not NaN"),
        (message(X, ONES * 17), 400, "it must be 0 to 16"),
        (message(X, ONES, raw=False, shape=[2, 2]), 400, "takes 4"),
        (changed(lambda m: m.raw_input_contents.append(b"")), 400, "2 raw_input_contents for 1 inputs"),
        (changed(lambda m: m.inputs[0].contents.fp32_contents.append(1)), 400, "one is enough"),
        (changed(lambda m: m.inputs[0].contents.int_contents.append(1), raw=False), 400, "instead of fp32"),
        (changed(lambda m: m.outputs.add(name="z")), 400, 'there is no output "z"'),
        (changed(lambda m: [m.outputs.add(name="x") for _ in "ab"]), 400, "an output is wanted twice"),
        (changed(lambda m: m.inputs.add(name="x", datatype="FP32", shape=[1, 2]), raw=False), 400, "twice"),
        (
            changed(lambda m: m.inputs[0].parameters["shared_memory_region"].SetInParent()),
            400,
            "asks for shared_memory_region",
        ),
    ],
)
def test_what_is_wrong_is_said(asked: Any, status: int, said: str) -> None:
    got, text = Service(X).ask(asked)
    assert got == status
    assert said in text


@pytest.mark.parametrize(("dtype", "value"), [("int8", 128), ("uint16", 65536), ("int32", 2**31 - 1)])
def test_whole_numbers_that_do_not_fit_are_not_cut(dtype: str, value: int) -> None:
    tensor = TensorSpec("x", dtype, ("n",))
    wide = np.array([value], np.int64 if dtype[0] == "i" else np.uint64)
    asked = message(tensor, wide.astype("i4" if dtype[0] == "i" else "u4"), raw=False)
    status, text = Service(tensor).ask(asked)
    assert (status == 200) == (dtype == "int32"), text


def test_texts_that_are_not_utf8_are_refused() -> None:
    tensor = TensorSpec("x", "string", ("n",))
    asked = message(tensor, array_of(tensor, (1,)), raw=False)
    asked.inputs[0].contents.bytes_contents[0] = b"\xff"
    assert "not UTF-8" in Service(tensor).ask(asked)[1]


@settings(deadline=None)
@given(hnp.arrays(np.float32, st.tuples(st.integers(1, 4), st.just(2)), elements=st.floats(0, 16, width=32)))
def test_every_bit_of_a_float_arrives(array: Any) -> None:
    service = Service(X)
    for raw in (True, False):
        status, _ = service.ask(message(X, array, raw=raw))
        assert status == 200
        assert service.engine.jobs[-1].arrays["x"].tobytes() == array.tobytes()


@settings(deadline=None)
@given(st.binary(max_size=200))
def test_no_bytes_break_the_codec(body: bytes) -> None:
    assert Service(X).ask(body)[0] in {400, 404}


@settings(deadline=None)
@given(st.data())
def test_no_damage_to_a_message_breaks_the_codec(data: st.DataObject) -> None:
    two = (X, TensorSpec("t", "string", ("n",)), TensorSpec("k", "int8", ("n", 1)))
    asked = message(X, ONES, raw=data.draw(st.booleans()))
    raw = bool(asked.raw_input_contents)
    for tensor, shape in ((two[1], (1,)), (two[2], (1, 1))):
        more = message(tensor, array_of(tensor, shape), raw=raw)
        asked.MergeFrom(more)
    body = bytearray(asked.SerializeToString())
    for _ in range(data.draw(st.integers(1, 4))):
        body[data.draw(st.integers(0, len(body) - 1))] = data.draw(st.integers(0, 255))
    cut = data.draw(st.integers(0, len(body)))
    assert Service(*two).ask(bytes(body))[0] in {200, 400, 404}
    assert Service(*two).ask(bytes(body[:cut]))[0] in {200, 400, 404}


@pytest.mark.parametrize(
    ("problem", "code"),
    [
        (BadInput("a"), grpc.StatusCode.INVALID_ARGUMENT),
        (UnsupportedMedia("a"), grpc.StatusCode.INVALID_ARGUMENT),
        (NotFound("a"), grpc.StatusCode.NOT_FOUND),
        (Overloaded("a", retry_after=2), grpc.StatusCode.RESOURCE_EXHAUSTED),
        (NotReady("a"), grpc.StatusCode.UNAVAILABLE),
        (TimedOut("a"), grpc.StatusCode.DEADLINE_EXCEEDED),
        (ModelFailed("a"), grpc.StatusCode.INTERNAL),
        (Problem("a"), grpc.StatusCode.INTERNAL),
    ],
)
def test_each_problem_has_a_code(problem: Problem, code: grpc.StatusCode) -> None:
    headers = dict(refusal(problem).headers)
    assert int(headers["grpc-status"]) == code.value[0]
    if isinstance(problem, Overloaded):
        assert headers["grpc-retry-pushback-ms"] == str(1000 * problem.retry_after)
