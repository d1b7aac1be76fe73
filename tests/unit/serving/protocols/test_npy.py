"""``.npy`` bodies: what numpy writes is read bit by bit, and nothing else is."""

from __future__ import annotations

import io
import json
import pickle
import tracemalloc

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from modeldeploy.serving.problems import BadInput
from modeldeploy.serving.protocols.npy import dump, parse
from modeldeploy.serving.spec import DTYPES, TensorSpec
from modeldeploy.serving.tensors.rules import Array
from serving_ask import Service, npy

MEDIA = "application/x-npy"
X = TensorSpec("x", "float32", ("n", 3))


def header(text: str, data: bytes = b"", version: int = 1) -> bytes:
    length = len(text).to_bytes(2 if version == 1 else 4, "little")
    return b"\x93NUMPY" + bytes((version, 0)) + length + text.encode("latin-1") + data


def told(shape: str, descr: str = "'<f4'", order: str = "False") -> str:
    return f"{{'descr': {descr}, 'fortran_order': {order}, 'shape': {shape}, }}"


@pytest.mark.parametrize("dtype", [dtype for dtype in DTYPES if dtype != "string"])
def test_what_numpy_writes_arrives_bit_by_bit(dtype: str) -> None:
    @settings(max_examples=30, deadline=None)
    @given(
        hnp.arrays(
            dtype,
            (2, 3),
            elements={"allow_nan": False, "allow_infinity": False} if "float" in dtype else None,
        )
    )
    def arrive(array: Array) -> None:
        tensor = TensorSpec("x", dtype, ("n", 3))
        for sent in (array, np.asfortranarray(array), array.astype(array.dtype.newbyteorder(">"))):
            got = parse(tensor, memoryview(npy(sent)))
            assert (got.dtype, got.tobytes()) == (array.dtype, array.tobytes())

    arrive()


def test_the_other_versions_of_the_format_are_read_too() -> None:
    for version in (1, 2, 3):
        assert parse(X, memoryview(header(told("(1, 3)"), bytes(12), version))).shape == (1, 3)
    odd_order = "{'shape': (1L, 3L), 'fortran_order': False, 'descr': \"<f4\"}   \n"
    assert parse(X, memoryview(header(odd_order, bytes(12)))).shape == (1, 3)


def test_no_number_is_copied() -> None:
    body = npy(np.ones((2, 3), "f4"))
    assert not parse(X, memoryview(body)).flags.owndata


def test_texts_come_and_go() -> None:
    service = Service(TensorSpec("t", "string", ("n",)))
    texts = np.array(["", "é", "日本"])
    answer = service.ask("/predict", npy(texts[1:]), content_type=MEDIA, accept=MEDIA)
    assert np.load(io.BytesIO(bytes(answer.body))).tolist() == ["é", "日本"]
    assert service.arrays["t"].dtype == object


def test_one_sample_is_answered_without_the_batch_dimension() -> None:
    service = Service(X)
    answer = service.ask("/predict", npy(np.ones(3, "f4")), content_type=MEDIA, accept=MEDIA)
    assert np.load(io.BytesIO(bytes(answer.body))).shape == (3,)
    assert service.arrays["x"].shape == (1, 3)


def test_one_of_several_outputs_is_asked_for_by_name() -> None:
    service = Service(X, TensorSpec("y", "float32", ("n",)))
    body = {"x": [[1, 2, 3]], "y": [4]}
    answer = service.ask("/predict?output=y", body, accept=MEDIA)
    assert np.load(io.BytesIO(bytes(answer.body))).tolist() == [4]
    for query in ("", "?output=z"):
        status, said = service.post(f"/predict{query}", body, accept=MEDIA)
        assert (status, said["expected"]) == (400, "one of x, y")


@pytest.mark.parametrize(
    ("body", "says"),
    [
        (b"", "no .npy"),
        (b"\x93NUMPY", "no .npy"),
        (b"PK\x03\x04" + bytes(40), "no .npy"),
        (header("{}"), "header"),
        (header("x" * 5000), "too long"),
        (header(told("(1, 3)"))[:30], "cut off"),
        (header(told("(-1, 3)")), "header"),
        (header(told("(1, 3)", order="__import__('os')")), "header"),
        (header(told("(" * 1000)), "header"),
        (header(told("(99999999999999999999, 3)"), bytes(12)), "shape"),
        (header(told("(1000000000000, 3)"), bytes(12)), "says 12000000000000"),
        (header(told("(0, 3)")), "empty"),
        (header(told("(3, 1)"), bytes(12)), "1 instead of 3"),
        (header(told("(1, 1, 3)"), bytes(12)), "3 dimensions instead of 2"),
        (header(told("(1, 3)"), bytes(11)), "11 bytes"),
        (header(told("(1, 3)"), bytes(13)), "13 bytes"),
        (header(told("(1, 3)", "'<f8'"), bytes(24)), "float64 instead of float32"),
        (header(told("(1, 3)", "'<i4'"), bytes(12)), "int32 instead of float32"),
        (header(told("(1, 3)", "'|O'"), pickle.dumps([1])), "instead of float32"),
        (header(told("(1, 3)", "'<U0'")), "instead of float32"),
        (header(told("(1, 3)", "'<f999999999'")), "instead of float32"),
        (npy(np.array([[1, np.nan, 3]], "f4")), "finite numbers, not NaN at [0][1]"),
        (npy(np.array([[1, 2, -np.inf]], "f4")), "finite numbers, not -Infinity at [0][2]"),
    ],
)
def test_anything_else_is_refused_with_the_reason(body: bytes, says: str) -> None:
    status, answer = Service(X).post("/predict", body, content_type=MEDIA)
    assert (status, answer["field"], answer["expected"]) == (400, "x", "float32 [n, 3]")
    assert says in answer["error"]


def test_values_out_of_range_and_booleans_that_are_none_are_refused() -> None:
    ranged = Service(TensorSpec("x", "float32", ("n", 3), 0, 16))
    status, answer = ranged.post("/predict", npy(np.array([[1, 2, 17]], "f4")), content_type=MEDIA)
    assert (status, answer["error"]) == (400, '"x" holds 17.0 at [0][2]: it must be 0 to 16')
    flags = Service(TensorSpec("b", "bool", ("n",)))
    broken = npy(np.array([True, False]))[:-1] + b"\x02"
    status, answer = flags.post("/predict", broken, content_type=MEDIA)
    assert (status, answer["got"]) == (400, "the byte 2 at [1]")


def test_a_text_that_is_no_text_is_refused() -> None:
    service = Service(TensorSpec("t", "string", ("n",)))
    for code in (0x110000, 0xD800):
        body = header(told("(1,)", "'<U1'"), code.to_bytes(4, "little"))
        assert service.post("/predict", body, content_type=MEDIA)[0] == 400
    assert service.post("/predict", header(told("(1000000000,)", "'<U0'")), content_type=MEDIA)[0] == 400


def test_sums_that_overflow_are_no_infinity() -> None:
    service = Service(X)
    largest = np.full((2, 3), np.finfo("f4").max, "f4")
    assert service.ask("/predict", npy(largest), content_type=MEDIA).status == 200


specs = st.builds(
    TensorSpec,
    st.just("x"),
    st.sampled_from(DTYPES),
    st.none() | st.lists(st.none() | st.integers(0, 3), max_size=3).map(tuple),
)
shapes = st.lists(st.integers(-2, 2**70), max_size=4).map(lambda sizes: str(tuple(sizes)))
descrs = st.sampled_from(
    ["'<f4'", "'>f8'", "'|b1'", "'<U1'", "'<U0'", "'|O'", "'|V0'", "'<i8'", "[('a', '<f4')]"]
)
headers = st.builds(told, shapes, descrs, st.sampled_from(["True", "False", "None"]))
bodies = st.binary(max_size=80) | st.builds(
    header, headers | st.text("()'{}: ,1descr", max_size=60), st.binary(max_size=40)
)


@settings(max_examples=300, deadline=None)
@given(specs, bodies)
def test_no_body_gives_anything_but_an_array_or_a_refusal_nor_costs_memory(
    tensor: TensorSpec, body: bytes
) -> None:
    tracemalloc.start()
    try:
        array = parse(tensor, memoryview(body))
        assert array.nbytes <= 8 * len(body)
    except BadInput as bad:
        json.dumps(bad.as_json())
    finally:
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
    assert peak < 200_000


@settings(max_examples=100, deadline=None)
@given(st.data())
def test_one_changed_byte_is_refused_or_changes_one_value(data: st.DataObject) -> None:
    good = npy(np.arange(6, dtype="f4").reshape(2, 3))
    place = data.draw(st.integers(0, len(good) - 1))
    body = good[:place] + bytes((data.draw(st.integers(0, 255)),)) + good[place + 1 :]
    try:
        array = parse(X, memoryview(body))
    except BadInput:
        return
    assert array.shape == (2, 3)


def test_what_is_dumped_is_what_numpy_loads() -> None:
    for array in (
        np.arange(6, dtype=">i2").reshape(2, 3).T,
        np.array(True),
        np.array(["a", "bc"], dtype=object),
    ):
        assert np.load(io.BytesIO(dump(array))).tolist() == array.tolist()
