"""The short way from a body to arrays accepts nothing that the long way refuses, and gives the same."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from modeldeploy.serving.problems import BadInput
from modeldeploy.serving.spec import DTYPES, TensorSpec
from modeldeploy.serving.tensors.fast import BodyReader
from modeldeploy.serving.tensors.rules import Array
from modeldeploy.serving.tensors.validate import RequestReader, parse_json, read_inputs

Specs = tuple[TensorSpec, ...]
Result = tuple[dict[str, Array], bool] | None

NAMES = ("a", "s", "true", "u:0", "ä")
NUMBERS = (
    "0",
    "-0",
    "1",
    "1.0",
    "1e2",
    "-1.5",
    "255",
    "256",
    "65504",
    "65520",
    "7e4",
    "1e39",
    "1e308",
    "1e400",
)
LARGE = (
    str(2**53 + 1),
    str(2**63 - 1),
    str(2**63),
    str(2**64 - 1),
    str(2**64),
    str(-(2**63)),
    str(-(2**63) - 1),
)
ODD = (
    "null",
    "true",
    "false",
    "NaN",
    "-Infinity",
    '"1"',
    '"u"',
    '""',
    r'"\ud800"',
    r'"\""',
    r'"\\"',
    "{}",
    "[]",
)

literals = st.sampled_from(NUMBERS * 3 + LARGE + ODD) | st.floats().map(json.dumps) | st.integers().map(str)
dimensions = st.none() | st.sampled_from(["n", "m"]) | st.integers(min_value=0, max_value=3)
bounds = st.none() | st.integers(min_value=-5, max_value=5) | st.sampled_from([0.1, 2**53, 2**63])


@st.composite
def tensors(draw: st.DrawFn) -> Specs:
    found = []
    for name in draw(st.lists(st.sampled_from(NAMES), min_size=1, max_size=3, unique=True)):
        dtype = draw(st.sampled_from(DTYPES))
        low, high = (None, None) if dtype in ("bool", "string") else (draw(bounds), draw(bounds))
        shape = draw(st.none() | st.lists(dimensions, max_size=3).map(tuple))
        found.append(TensorSpec(name, dtype, shape, low, high))
    return tuple(found)


@st.composite
def nested(draw: st.DrawFn, shape: tuple[int, ...], one: st.SearchStrategy[str]) -> str:
    if not shape:
        return draw(one)
    return f"[{', '.join(draw(nested(shape[1:], one)) for _ in range(shape[0]))}]"


@st.composite
def values(draw: st.DrawFn, tensor: TensorSpec) -> str:
    """Text near to what the input takes: its shape, or one less; its kind of values, or one that is odd."""
    kinds = {
        "b": ("true", "false"),
        "s": ('"x"', '"1"', '"us"'),
        "f": NUMBERS[:8],
        "i": ("0", "3"),
        "u": ("0", "3"),
    }
    own = st.sampled_from(kinds[tensor.dtype[0]])
    wanted = (2,) * draw(st.integers(0, 2)) if tensor.shape is None else tensor.shape
    shape = [size if isinstance(size, int) else draw(st.sampled_from([1, 2, 2, 2])) for size in wanted]
    if shape and draw(st.integers(0, 4)) == 0:
        shape = shape[1:]
    odd = draw(st.integers(0, 2)) == 0
    return draw(nested(tuple(shape), own | literals if odd else own))


@st.composite
def bodies(draw: st.DrawFn) -> tuple[Specs, bytes]:
    specs = draw(tensors())
    fields = [(tensor.name, draw(values(tensor))) for tensor in specs]
    if draw(st.integers(0, 6)) == 0:
        fields.append(draw(st.sampled_from(fields)))  # a name that comes twice
    escape = draw(st.booleans())
    text = ",".join(f"{json.dumps(name, ensure_ascii=escape)}:{value}" for name, value in fields)
    return specs, f"{{{text}}}".encode(errors="surrogatepass")


def long_way(specs: Specs, body: bytes) -> Result:
    try:
        inputs = read_inputs(specs, parse_json(body))
    except BadInput:
        return None
    return inputs.arrays, inputs.single


def check_same(specs: Specs, body: bytes) -> bool:
    """True if the short way accepted it."""
    short, long = BodyReader(specs).accept(body), long_way(specs, body)
    if short is None:
        return False
    assert long is not None, body
    assert short[1] == long[1]
    assert short[0].keys() == long[0].keys()
    for name, array in short[0].items():
        other = long[0][name]
        assert (array.dtype, array.shape) == (other.dtype, other.shape)
        same = (
            array.tolist() == other.tolist() if array.dtype == object else array.tobytes() == other.tobytes()
        )
        assert same, (array, other)
    return True


@settings(max_examples=300, deadline=None)
@given(bodies())
def test_near_misses_go_both_ways_alike(asked: tuple[Specs, bytes]) -> None:
    check_same(*asked)


@settings(max_examples=150, deadline=None)
@given(st.sampled_from([(TensorSpec("a", kind, ("n", None)),) for kind in DTYPES]), st.data())
def test_lists_of_any_form_go_both_ways_alike(specs: Specs, data: st.DataObject) -> None:
    ragged = st.recursive(
        literals, lambda one: st.lists(one, max_size=3).map(lambda all_: f"[{','.join(all_)}]")
    )
    check_same(specs, f'{{"a":{data.draw(ragged)}}}'.encode(errors="surrogatepass"))


@settings(max_examples=150, deadline=None)
@given(st.binary(max_size=40))
@example(b'\xef\xbb\xbf{"a":[[1,2]]}')
@example(b'{"a":[[1,2]]}\x00')
@example(b'\x0c{"a":[[1,2]]}')
@example(b'{"a":[[1,2]],"a":[[3,4]]}')
@example(b'{"a":[[01,2]]}')
@example(b'{"a":' + b"[" * 2000 + b"]" * 2000 + b"}")
@example(b'{"a":[[1,' + b"9" * 400 + b"]]}")
def test_bytes_of_any_kind_go_both_ways_alike(body: bytes) -> None:
    check_same((TensorSpec("a", "float32", ("n", 2)),), body)


@pytest.mark.parametrize(
    ("dtype", "text"),
    [
        *[(kind, "[[1, -0.0], [2.5e-3, 65504]]") for kind in ("float16", "float32", "float64")],
        *[(kind, "[[1, 0], [3, 127]]") for kind in DTYPES if "int" in kind],
        ("uint64", f"[[1, {2**53 + 1}], [2, 3]]"),
        ("int64", f"[[{-(2**63)}, {2**63 - 1}], [2, 3]]"),
        ("bool", "[[true, false], [false, true]]"),
        ("string", r'[["true", "us"], ["日本\n", "1"]]'),
    ],
)
def test_what_is_in_order_takes_the_short_way(dtype: str, text: str) -> None:
    for bounds_ in ((None, None), (None if dtype in ("bool", "string") else -(2.0**63), None)):
        spec = TensorSpec("x", dtype, ("batch", 2), *bounds_)
        assert check_same((spec,), f'{{"x": {text}}}'.encode())


def test_inputs_of_several_kinds_take_the_short_way_together() -> None:
    specs = (
        TensorSpec("name", "string", ("n",)),
        TensorSpec("age", "int64", ("n",), 0, 150),
        TensorSpec("member", "bool", ("n",)),
        TensorSpec("scores", "float32", ("n", 2)),
    )
    assert check_same(specs, b'{"name":["su"],"age":[3],"member":[true],"scores":[[1,2.5]]}')
    assert check_same(specs, b'{"name":"su","age":3,"member":true,"scores":[1,2.5]}')
    assert not check_same(specs, b'{"name":["su"],"age":[true],"member":[true],"scores":[[1,2.5]]}')


@pytest.mark.parametrize("kind", [bytes, bytearray, memoryview])
def test_a_body_may_be_any_kind_of_bytes(kind: Any) -> None:
    specs = (TensorSpec("x", "float32", ("n",)),)
    assert RequestReader(specs).read(kind(b'{"x":[1]}')).arrays["x"].tolist() == [1.0]
    with pytest.raises(BadInput, match="must hold numbers"):
        RequestReader(specs).read(kind(b'{"x":[null]}'))


def test_floats_that_are_large_but_finite_need_not_go_the_long_way() -> None:
    values_ = np.full((1, 100), 60000.0, dtype=np.float16)
    assert check_same((TensorSpec("x", "float16", ("n", 100)),), json.dumps({"x": values_.tolist()}).encode())
