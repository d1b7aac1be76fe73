"""Large bodies of numbers are read in pieces: what is accepted so, and that it is the same."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from modeldeploy.serving.spec import TensorSpec
from modeldeploy.serving.tensors import fast, pieces
from modeldeploy.serving.tensors.fast import BodyReader
from modeldeploy.serving.tensors.pieces import read_numbers
from modeldeploy.serving.tensors.validate import RequestReader


def as_floats(value: object) -> np.ndarray[tuple[int, ...], np.dtype[np.float64]]:
    return np.array(value, dtype=np.float64)


@pytest.fixture
def small_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    """Cut at nearly every comma."""
    monkeypatch.setattr(pieces, "_PIECE", 3)
    monkeypatch.setattr(fast, "LARGE", 0)


def numbers(text: str) -> object:
    """The value that was read; None where there is none, or it is left to others."""
    try:
        array = read_numbers(text.encode(), as_floats)
    except ValueError:
        return None
    return None if array is None else array.tolist()


def as_array(text: str) -> object:
    """The same by Python's reader and numpy."""
    try:
        value = json.loads(text)
        array = as_floats(value)
    except (ValueError, TypeError):
        return None
    return array.tolist() if array.size and "n" not in text else None


WRONG = (
    "[[1],[[2]]]",
    "[1,[2]]",
    "[[1],2]",
    "[1[,2]]",
    "[[1,]2]",
    "[[1,2],[3,]]",
    "[[1,2],[3,4],]",
    "[1,,2]",
    "[1,2",
    "1,2]",
    "[1]]",
    "[[1]",
    "[1]2[3]",
    "[1 2]",
    "[1 [ ] 2]",
    "[[1]2,[3]]",
    "[]",
    "[[]]",
    "[[],[]]",
    "",
    "[01]",
    "[1.]",
    "[+1]",
    "[-]",
    "[1e]",
    "]1[",
    "[1],[2]",
    "1,2",
    "[null]",
    "[true]",
    "[" * 40 + "1" + "]" * 40,
)


@pytest.mark.usefixtures("small_pieces")
@pytest.mark.parametrize("text", WRONG)
def test_what_is_no_array_of_numbers_is_not_read(text: str) -> None:
    assert numbers(text) is None
    assert numbers(text + ",") is None


@pytest.mark.usefixtures("small_pieces")
@pytest.mark.parametrize(
    "text",
    ["5", "[1]", "[[1]]", "[ [1 ,2],\n[3, 4e5]\t]", "[[[1,-2.5],[3,4]],[[5,6],[7,8E-1]]]", "[[1],[2],[3]]"],
)
def test_arrays_are_read_as_they_are(text: str) -> None:
    assert numbers(text) == json.loads(text)


@pytest.mark.usefixtures("small_pieces")
@settings(max_examples=400, deadline=None)
@given(st.text("[],12 .-e", max_size=14), st.sampled_from(["%s", "[%s]", "[[%s],[1]]", "[[1,2],[%s]]"]))
def test_any_brackets_and_commas_are_taken_as_other_readers_do(inner: str, around: str) -> None:
    text = around % inner
    got = numbers(text)
    assert got is None or got == as_array(text)
    if as_array(text) is not None:
        assert got is not None


X = TensorSpec("x", "float32", ("n", None), -10, 10)
BOTH = (X, TensorSpec("times", "int64", ("n",)))
BODIES = (
    ({"x": [[1, 2.5], [3, 4]], "times": [5, 6]}, True),
    ({"times": 5, "x": [1, 2]}, True),
    ({"x": [[1, 2]], "times": 5}, False),
    ({"x": [[1, 2]], "times": [5, 6]}, False),
    ({"x": [[1, 11]], "times": [5]}, False),
    ({"x": [[1, 2]], "times": [5.5]}, False),
    ({"x": [[1, 2]], "times": [2**70]}, False),
    ({"x": [[1, 2]]}, False),
    ({"x": [[1, 2]], "time": [1]}, False),
    ({"x": [[1, 2]], "times": ["1"]}, False),
    ({"x": [[1, None]], "times": [1]}, False),
)


@pytest.mark.parametrize(("value", "right"), BODIES)
def test_a_body_in_pieces_is_taken_as_one_that_is_read_whole(
    value: object, *, right: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    body = json.dumps(value).encode()
    whole = BodyReader(BOTH).accept(body)
    monkeypatch.setattr(fast, "LARGE", 0)
    cut = BodyReader(BOTH).accept(body)
    assert (cut is not None) == (whole is not None) == right
    if cut is not None and whole is not None:
        assert cut[1] == whole[1]
        for name, array in whole[0].items():
            assert (cut[0][name].dtype, cut[0][name].tolist()) == (array.dtype, array.tolist())


@pytest.mark.usefixtures("small_pieces")
@pytest.mark.parametrize(
    "body", [b'{"x":[[1]],"x":[[2]]}', b'{"x":[[1]]}}', b'["x":[[1]]}', b'{"x":[[1]],}', b'{,"x":[[1]]}']
)
def test_objects_that_are_none_are_not_accepted(body: bytes) -> None:
    assert BodyReader((X,)).accept(body) is None


def test_a_large_body_has_every_bit_of_its_numbers() -> None:
    sent = np.random.default_rng(0).standard_normal((400, 200)).astype(np.float32)
    body = json.dumps({"x": sent.tolist()}).encode()
    assert len(body) > pieces.LARGE
    got = RequestReader((TensorSpec("x", "float32", ("n", 200)),)).read(body).arrays["x"]
    assert got.tobytes() == sent.tobytes()
