"""Arrow streams: columns as inputs, and streams that say too much of themselves."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from modeldeploy.serving.spec import DTYPES, TensorSpec
from modeldeploy.serving.tensors.rules import Array
from serving_ask import Service

MEDIA = "application/vnd.apache.arrow.stream"
X = TensorSpec("x", "float32", ("n", 2), 0, 16)


def column(array: Array) -> Any:
    flat = pa.array(array.reshape(-1).tolist() if array.dtype == object else array.reshape(-1))
    for size in reversed(array.shape[1:]):
        flat = pa.FixedSizeListArray.from_arrays(flat, size)
    return flat


def stream(*batches: Any, compression: str | None = None) -> bytes:
    sink = pa.BufferOutputStream()
    options = pa.ipc.IpcWriteOptions(compression=compression)
    with pa.ipc.new_stream(sink, batches[0].schema, options=options) as writer:
        for batch in batches:
            writer.write_batch(batch)
    return bytes(sink.getvalue().to_pybytes())


def of(**columns: Any) -> Any:
    return pa.record_batch(
        {name: value if isinstance(value, pa.Array) else column(value) for name, value in columns.items()}
    )


def ask(service: Service, body: bytes) -> tuple[int, Any]:
    return service.post("/predict", body, content_type=MEDIA)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", [(), (2,), (2, 3)])
def test_columns_come_and_go_bit_by_bit(dtype: str, shape: tuple[int, ...]) -> None:
    service = Service(TensorSpec("x", dtype, ("n", *shape)))
    array = np.ones((3, *shape), dtype=object if dtype == "string" else dtype)
    if dtype == "string":
        array[...] = "é"
    body = stream(of(x=array[:2]), of(x=array[2:]))
    answer = service.ask("/predict", body, content_type=MEDIA, accept=MEDIA)
    assert answer.status == 200
    assert (service.arrays["x"].dtype, service.arrays["x"].tolist()) == (array.dtype, array.tolist())
    back = pa.ipc.open_stream(answer.body).read_all()
    assert back.column("x").to_pylist() == array.tolist()


def test_lists_of_one_size_and_arrows_own_tensors_are_samples_too() -> None:
    service = Service(TensorSpec("x", "float32", ("n", 2, 2)))
    array = np.arange(8, dtype="f4").reshape(2, 2, 2)
    lists = pa.array(array.tolist(), pa.list_(pa.list_(pa.float32())))
    tensors = pa.FixedShapeTensorArray.from_numpy_ndarray(array)
    for sent in (lists, tensors, pa.concat_arrays([lists, lists]).slice(2)):
        assert service.ask("/predict", stream(of(x=sent)), content_type=MEDIA).status == 200
        assert service.arrays["x"].tolist() == array.tolist()


def test_several_inputs_are_several_columns() -> None:
    service = Service(X, TensorSpec("y", "int64", ("n",)))
    status, answer = ask(service, stream(of(y=np.array([7, 8]), x=np.ones((2, 2), "f4"))))
    assert (status, answer) == (200, {"x": [[1, 1], [1, 1]], "y": [7, 8]})


def test_numbers_are_not_copied() -> None:
    service = Service(X)
    ask(service, stream(of(x=np.ones((2, 2), "f4"))))
    assert not service.arrays["x"].flags.owndata


nested = pa.array([[1.0, 2.0], [3.0]], pa.list_(pa.float32()))
gone = pa.array([[1.0, None]], pa.list_(pa.float32(), 2))
ROWS = np.ones((2, 2), "f4")


@pytest.mark.parametrize(
    ("body", "says"),
    [
        (b"", "schema"),
        (b"nonsense", "no Arrow stream"),
        (stream(of(x=ROWS))[:-60], "no Arrow stream"),
        (stream(of(x=ROWS), compression="lz4"), "compressed"),
        (stream(of(x=ROWS), compression="zstd"), "compressed"),
        (stream(of(x=pa.array(["a", "a"]).dictionary_encode())), "dictionary"),
        (stream(of(x=pa.nulls(10**9))), "null"),
        (stream(of(x=pa.array([{"a": 1}]))), "struct"),
        (stream(of(x=ROWS[:0])), "empty"),
        (stream(of(x=ROWS.astype("f8"))), "float64 instead of float32"),
        (stream(of(x=np.ones(2, "f4"))), "not a sample"),
        (stream(of(x=np.ones((2, 3), "f4"))), "3 instead of 2"),
        (stream(of(x=nested)), "ragged"),
        (stream(of(x=gone)), "null"),
        (stream(of(y=ROWS)), 'there is no input "y"'),
        (stream(of(x=ROWS, y=ROWS)), 'there is no input "y"'),
        (stream(pa.record_batch([column(ROWS), column(ROWS)], names=["x", "x"])), "twice"),
        (stream(of(x=np.array([[1, np.nan]], "f4"))), "NaN at [0][1]"),
        (stream(of(x=np.array([[1, 17]], "f4"))), "0 to 16"),
    ],
)
def test_what_is_no_stream_of_these_inputs_is_refused(body: bytes, says: str) -> None:
    service = Service(X)
    status, answer = ask(service, body)
    assert status == 400
    assert says in answer["error"]
    assert not service.engine.jobs


def test_a_name_that_is_no_text_is_refused() -> None:
    body = stream(pa.record_batch([column(ROWS)], names=["x_x_x_x_x"])).replace(b"x_x_x_x_x", b"\xff" * 9)
    assert ask(Service(X), body)[0] == 400


def test_null_is_nan_where_values_may_be_missing() -> None:
    service = Service(TensorSpec("x", "float32", ("n", 2), nan=True))
    assert service.ask("/predict", stream(of(x=gone)), content_type=MEDIA).status == 200
    np.testing.assert_array_equal(service.arrays["x"], [[1, np.nan]])


def test_it_is_a_415_where_the_service_does_not_have_it() -> None:
    service = Service(X, arrow=False)
    assert ask(service, stream(of(x=ROWS)))[0] == 415


@settings(max_examples=400, deadline=None)
@given(st.data())
def test_a_stream_with_changed_bytes_gives_an_answer_or_a_refusal_and_little_memory(
    data: st.DataObject,
) -> None:
    service = Service(X, TensorSpec("t", "string", ("n",)))
    good = bytearray(stream(of(x=ROWS, t=np.array(["a", "bc"], dtype=object))))
    for _ in range(data.draw(st.integers(1, 4))):
        good[data.draw(st.integers(0, len(good) - 1))] = data.draw(st.integers(0, 255))
    before = pa.total_allocated_bytes()
    status, answer = ask(service, bytes(good))
    assert status in (200, 400)
    assert pa.total_allocated_bytes() - before < 1_000_000
    json.dumps(answer)


@settings(max_examples=100, deadline=None)
@given(st.binary(max_size=200))
def test_no_bytes_give_anything_but_a_refusal(body: bytes) -> None:
    assert ask(Service(X), body)[0] == 400


@settings(max_examples=60, deadline=None)
@given(hnp.arrays("f4", hnp.array_shapes(min_dims=2, max_dims=4), elements=st.floats(0, 16, width=32)))
def test_any_tensor_arrives(array: Array) -> None:
    service = Service(TensorSpec("x", "float32", ("n", *array.shape[1:])))
    assert ask(service, stream(of(x=array)))[0] == 200
    assert service.arrays["x"].tobytes() == array.tobytes()
