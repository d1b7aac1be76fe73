"""What a generated service takes, and how it refuses the rest."""

from __future__ import annotations

import json
import time
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from modeldeploy.serving.problems import BadInput, TooLarge
from modeldeploy.serving.spec import DTYPES, TensorSpec
from modeldeploy.serving.tensors.rules import Array, Inputs
from modeldeploy.serving.tensors.validate import RequestReader, parse_json, read_inputs

IMAGE = TensorSpec("image", "float32", ("batch", 3))


def service(*inputs: TensorSpec) -> tuple[TensorSpec, ...]:
    return inputs or (IMAGE,)


def refusal(value: object, *inputs: TensorSpec) -> BadInput:
    with pytest.raises(BadInput) as caught:
        read_inputs(service(*inputs), value)
    return caught.value


def read(value: object, *inputs: TensorSpec) -> Inputs:
    return read_inputs(service(*inputs), value)


def test_a_batch_becomes_an_array_of_the_signatures_dtype() -> None:
    inputs = read({"image": [[1, 2.5, 3], [4, 5, 6]]})
    assert inputs.arrays["image"].dtype == np.float32
    assert inputs.arrays["image"].tolist() == [[1.0, 2.5, 3.0], [4.0, 5.0, 6.0]]
    assert not inputs.single


def test_one_sample_without_its_batch_dimension_is_taken_as_a_batch_of_one() -> None:
    inputs = read({"image": [1, 2, 3]})
    assert inputs.single and inputs.arrays["image"].shape == (1, 3)


def test_a_missing_dimension_of_fixed_size_is_refused() -> None:
    assert "1 dimensions instead of 2" in refusal({"x": [1, 2]}, TensorSpec("x", "float32", (1, 2))).error


def test_a_missing_dimension_that_is_not_the_leading_one_is_refused() -> None:
    assert refusal({"x": [1, 2]}, TensorSpec("x", "float32", (2, "n"))).got == "shape [2]"


def test_a_scalar_input_takes_a_bare_number() -> None:
    assert read({"x": 2}, TensorSpec("x", "int64", ())).arrays["x"].shape == ()


def test_an_input_of_unknown_rank_takes_any() -> None:
    anything = TensorSpec("x", "float32", None)
    assert read({"x": [[[1]]]}, anything).arrays["x"].shape == (1, 1, 1)
    assert read({"x": 1}, anything).arrays["x"].shape == ()


def test_names_are_whatever_the_model_calls_its_inputs() -> None:
    assert read({"input:0": [[1]]}, TensorSpec("input:0", "float32", (None, 1))).arrays["input:0"].shape == (
        1,
        1,
    )


@pytest.mark.parametrize(
    ("value", "field", "says"),
    [
        ({"imag": [[1, 2, 3]]}, "imag", 'no input "imag"; did you mean "image"?'),
        ({"image": [[1, 2, 3]], "zzz": 1}, "zzz", 'no input "zzz"'),
        ({}, "image", "missing"),
        ({"image": "abc"}, "image", 'must be a list, not the string "abc"'),
        ({"image": None}, "image", "must be a list, not null"),
        ({"image": [["1", 2, 3]]}, "image", 'must hold numbers, not the string "1" at [0][0]'),
        ({"image": [[1, True, 3]]}, "image", "must hold numbers, not a boolean at [0][1]"),
        ({"image": [[1, 2, None]]}, "image", "not null at [0][2]"),
        ({"image": [[1, 2, {"a": 1}]]}, "image", "not an object at [0][2]"),
        ({"image": [[1, 2, float("nan")]]}, "image", "finite numbers, not NaN at [0][2]"),
        ({"image": [[1, 2, float("-inf")]]}, "image", "finite numbers, not -Infinity at [0][2]"),
        ({"image": [[1, 2, 1e39]]}, "image", "holds 1e+39 at [0][2]: it must be -3.40282e+38 to 3.40282e+38"),
        ({"image": [[1, 2, 10**400]]}, "image", "at [0][2]: it must be -3.40282e+38"),
        ({"image": [[1, 2, 3], [1, 2]]}, "image", "ragged: a list of 3 at [0], but a list of 2 at [1]"),
        ({"image": [[1, 2, 3], 4]}, "image", "ragged: a list of 3 at [0], but 4 at [1]"),
        ({"image": [[1, 2, [3]]]}, "image", "ragged: 1 at [0][0], but a list of 1 at [0][2]"),
        ({"image": [[[1, 2, 3]]]}, "image", "nested more than 2 deep"),
        ({"image": [[1, 2]]}, "image", "2 instead of 3 entries in dimension 1"),
        ({"image": [1, 2]}, "image", "2 instead of 3 entries in dimension 0"),
        ({"image": []}, "image", "is empty"),
        ({"image": [[]]}, "image", "0 instead of 3 entries"),
        ([], None, "the body must be an object"),
        ("text", None, "the body must be an object"),
        (None, None, "the body must be an object"),
    ],
)
def test_a_bad_value_is_refused_with_its_field_and_place(value: Any, field: str | None, says: str) -> None:
    bad = refusal(value)
    assert bad.field == field
    assert says in bad.error
    assert bad.expected and bad.got
    assert set(bad.as_json()) == {"error", "field", "expected", "got"}


@pytest.mark.parametrize(
    ("dtype", "value", "says"),
    [
        ("int64", 1.0, "must hold whole numbers, not 1.0"),
        ("int64", True, "must hold whole numbers, not a boolean"),
        ("int64", 2**63, "it must be -9223372036854775808 to 9223372036854775807"),
        ("uint8", -1, "holds -1 at [0]: it must be 0 to 255"),
        ("uint8", 256, "holds 256 at [0]: it must be 0 to 255"),
        ("bool", 1, "must hold true or false, not 1"),
        ("string", 1, "must hold strings, not 1"),
        ("string", "\ud800", "half a character"),
        ("float16", 70000, "holds 70000 at [0]: it must be -65504 to 65504"),
    ],
)
def test_a_value_of_another_dtype_is_not_cast(dtype: str, value: Any, says: str) -> None:
    assert says in refusal({"x": [value]}, TensorSpec("x", dtype, ("n",))).error


@pytest.mark.parametrize(
    ("dtype", "value"),
    [("int64", 2**63 - 1), ("uint64", 2**64 - 1), ("bool", True), ("string", "é\n"), ("float64", 1e308)],
)
def test_the_extremes_of_a_dtype_arrive_whole(dtype: str, value: Any) -> None:
    assert read({"x": [value]}, TensorSpec("x", dtype, ("n",))).arrays["x"].tolist() == [value]


@pytest.mark.parametrize(
    ("minimum", "maximum", "says"),
    [
        (0, 16, "holds 17.0 at [0][2]: it must be 0 to 16"),
        (18, None, "at least 18"),
        (None, 16, "at most 16"),
    ],
)
def test_a_value_outside_the_range_that_the_model_tells_is_refused(
    minimum: float | None, maximum: float | None, says: str
) -> None:
    bad = refusal({"image": [[17, 17, 17]]}, TensorSpec("image", "float32", ("batch", 3), minimum, maximum))
    assert says.replace("[0][2]", "[0][0]") in bad.error


def test_a_free_dimension_that_is_not_the_batch_may_not_be_empty_either() -> None:
    assert (
        "empty in dimension 1" in refusal({"x": [[], []]}, TensorSpec("x", "float32", ("n", "length"))).error
    )


def test_dimensions_of_one_name_have_one_size() -> None:
    inputs = (TensorSpec("a", "float32", ("n", 1)), TensorSpec("b", "float32", ("n", 1)))
    bad = refusal({"a": [[1], [2]], "b": [[1]]}, *inputs)
    assert (bad.field, bad.error) == ("b", '"b" has 1 entries in dimension 0, but "a" has 2')


def test_leading_dimensions_without_a_name_are_all_the_batch() -> None:
    inputs = (TensorSpec("a", "float32", (None, 1)), TensorSpec("b", "float32", (None, None)))
    assert refusal({"a": [[1], [2]], "b": [[1]]}, *inputs).field == "b"
    assert not read({"a": [[1], [2]], "b": [[1, 2, 3], [4, 5, 6]]}, *inputs).single


def test_a_single_sample_beside_a_batch_is_refused() -> None:
    inputs = (TensorSpec("a", "float32", ("n", 1)), TensorSpec("b", "float32", ("n", 1)))
    bad = refusal({"a": [[1]], "b": [1]}, *inputs)
    assert (bad.field, bad.error) == ("b", '"b" is a single sample, but "a" is a batch')
    assert read({"a": [1], "b": [1]}, *inputs).single


def test_a_fixed_input_goes_with_a_single_sample_and_with_a_batch() -> None:
    inputs = (IMAGE, TensorSpec("threshold", "float32", (1,)))
    assert read({"image": [1, 2, 3], "threshold": [0.5]}, *inputs).single
    assert not read({"image": [[1, 2, 3]], "threshold": [0.5]}, *inputs).single


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b'{"image": [[1, 2',
        b"\xff\xfe",
        b"\x00",
        b"{'a': 1}",
        b"1" * 5000,
        b"[" * 200_000,
        b'{"a":' * 200_000,
    ],
)
def test_a_body_that_is_not_json_is_refused(body: bytes) -> None:
    with pytest.raises(BadInput) as caught:
        parse_json(body)
    assert caught.value.field is None
    assert len(json.dumps(caught.value.as_json())) < 500


def test_a_name_given_twice_is_refused() -> None:
    with pytest.raises(BadInput, match='"image" is given twice') as caught:
        parse_json(b'{"image": [[1]], "image": [[2]]}')
    assert caught.value.field == "image"


def test_a_refusal_is_short_whatever_came() -> None:
    assert len(refusal({"x" * 10**6: 1}).error) < 300
    assert len(refusal({"image": "x" * 10**6}).error) < 300
    assert len(refusal({"image": [[1, 2, 10**4000]]}).error) < 300


# Anything that JSON can say.
numbers = st.integers() | st.floats() | st.integers(min_value=-300, max_value=300)
leaves = st.none() | st.booleans() | numbers | st.text(max_size=5)
json_values = st.recursive(
    leaves,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.sampled_from("abx"), inner, max_size=3),
)
dimensions = st.none() | st.sampled_from(["n", "m"]) | st.integers(min_value=0, max_value=3)
shapes = st.none() | st.lists(dimensions, max_size=3).map(tuple)
bounds = st.none() | st.integers(min_value=-5, max_value=5)


@st.composite
def specs(draw: st.DrawFn) -> tuple[TensorSpec, ...]:
    names = draw(st.lists(st.sampled_from("abx"), min_size=1, max_size=2, unique=True))
    tensors = []
    for name in names:
        dtype = draw(st.sampled_from(DTYPES))
        ranged = dtype not in ("bool", "string")
        low, high = (draw(bounds), draw(bounds)) if ranged else (None, None)
        tensors.append(TensorSpec(name, dtype, draw(shapes), low, high))
    return service(*tensors)


def read_or_refusal(spec: tuple[TensorSpec, ...], body: bytes) -> Inputs | BadInput:
    try:
        return RequestReader(spec).read(body)
    except BadInput as bad:
        return bad


def fits(tensor: TensorSpec, array: Array) -> bool:
    if array.dtype != np.dtype(object if tensor.dtype == "string" else tensor.dtype):
        return False
    shape = (None,) * array.ndim if tensor.shape is None else tensor.shape
    sizes = zip(array.shape, shape, strict=True)
    return all(want == size if isinstance(want, int) else True for size, want in sizes)


@settings(max_examples=300, deadline=None)
@given(specs(), json_values)
def test_any_json_value_gives_arrays_that_fit_or_a_refusal(spec: tuple[TensorSpec, ...], value: Any) -> None:
    names = {tensor.name for tensor in spec}
    inputs = read_or_refusal(spec, json.dumps(value).encode())
    if isinstance(inputs, BadInput):
        assert inputs.field is None or inputs.field in names | set(value)
        assert inputs.error and inputs.expected and inputs.got
        json.dumps(inputs.as_json()).encode("ascii")
    else:
        assert set(inputs.arrays) == names
        assert all(fits(tensor, inputs.arrays[tensor.name]) for tensor in spec)


@settings(max_examples=200, deadline=None)
@given(st.data())
def test_nested_lists_of_any_form_give_arrays_that_fit_or_a_refusal(data: st.DataObject) -> None:
    """Nearer to the mark than any JSON value: lists of numbers under the right name."""
    spec = data.draw(specs())
    nested = st.recursive(
        leaves | numbers, lambda inner: st.lists(inner, min_size=1, max_size=3), max_leaves=12
    )
    value = {tensor.name: data.draw(nested) for tensor in spec}
    inputs = read_or_refusal(spec, json.dumps(value).encode())
    if isinstance(inputs, BadInput):
        assert inputs.field in value
    else:
        assert all(fits(tensor, inputs.arrays[tensor.name]) for tensor in spec)


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=60))
def test_any_bytes_that_are_no_request_are_refused(body: bytes) -> None:
    refused = read_or_refusal(service(), body)
    assert isinstance(refused, BadInput)
    json.dumps(refused.as_json()).encode("ascii")


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
def test_finite_floats_arrive_bit_by_bit(dtype: str) -> None:
    @settings(max_examples=100, deadline=None)
    @given(hnp.arrays(dtype, (2, 3), elements={"allow_nan": False, "allow_infinity": False}))
    def arrive(array: Array) -> None:
        body = json.dumps({"x": array.tolist()}).encode()
        got = RequestReader(service(TensorSpec("x", dtype, ("n", 3)))).read(body).arrays["x"]
        assert got.tobytes() == array.tobytes()

    arrive()


def test_a_name_given_twice_among_many_is_found_in_no_time() -> None:
    fields = ",".join(f'"k{number}":1' for number in range(200_000))
    began = time.monotonic()
    with pytest.raises(BadInput) as caught:
        parse_json(b'{"z":1,%b,"z":2}' % fields.encode())
    assert caught.value.error == '"z" is given twice'
    assert time.monotonic() - began < 5


def test_a_refusal_does_not_send_back_a_name_of_any_length() -> None:
    assert len(json.dumps(refusal({"k" * 1_000_000: 1}).as_json())) < 1000


@pytest.mark.parametrize(
    "body",
    [b"[]," * 6_000_000, b'{"a":1},' * 1_500_000, b"1," * 14_000_000],
    ids=["lists", "objects", "numbers"],
)
def test_a_body_whose_values_take_too_much_memory_is_not_read(body: bytes) -> None:
    with pytest.raises(TooLarge, match="MB to read"):
        RequestReader(service()).read(b'{"image":[%b1]}' % body)


def test_large_numbers_of_usual_length_are_read() -> None:
    rows = b",".join([b"[0.12345678,0.12345678,0.12345678]"] * 100_000)
    assert len(RequestReader(service()).read(b'{"image":[%b]}' % rows).arrays["image"]) == 100_000
