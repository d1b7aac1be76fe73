"""How a model's outputs become JSON."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis.extra import numpy as hnp

from modeldeploy.serving.tensors.encode import plain_value, without_batch, write_answer


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
def test_floats_come_back_bit_by_bit_also_those_that_json_does_not_know(dtype: str) -> None:
    @settings(max_examples=150, deadline=None)
    @given(hnp.arrays(dtype, (2, 3)))
    def come_back(array: npt.NDArray[Any]) -> None:
        back = np.array(json.loads(write_answer({"y": array}))["y"], dtype=dtype)
        np.testing.assert_array_equal(back, array)
        assert np.signbit(back[array == 0]).tolist() == np.signbit(array[array == 0]).tolist()

    come_back()


def test_what_is_not_finite_is_written_as_protocol_buffers_do() -> None:
    answer = write_answer({"y": np.array([np.nan, np.inf, -np.inf, 1], dtype=np.float32)})
    assert answer == b'{"y":["NaN","Infinity","-Infinity",1.0]}'


def test_integers_booleans_and_text_keep_their_kind() -> None:
    answer = write_answer(
        {"i": np.array([2**63 - 1]), "b": np.array([True]), "s": np.array(["é"], dtype=object), "n": None}
    )
    assert json.loads(answer) == {"i": [2**63 - 1], "b": [True], "s": ["é"], "n": None}


def test_sequences_of_maps_become_lists_of_objects() -> None:
    maps = [{0: 0.25, 1: np.float32(0.75)}, {0: float("nan"), 1: 1.0}]
    assert plain_value(maps) == [{"0": 0.25, "1": 0.75}, {"0": "NaN", "1": 1.0}]


def test_a_scalar_output_is_a_bare_number() -> None:
    assert write_answer({"loss": np.array(0.5, dtype=np.float32)}) == b'{"loss":0.5}'


@pytest.mark.parametrize(
    ("value", "batched", "one"),
    [
        (np.array([[1, 2]]), True, [1, 2]),
        (np.array([[1, 2]]), False, [[1, 2]]),
        (np.array([1, 2]), True, [1, 2]),
        ([{"a": 1}], True, {"a": 1}),
        (np.array(3), True, 3),
    ],
)
def test_an_answer_to_one_sample_loses_its_batch_dimension(value: Any, *, batched: bool, one: object) -> None:
    assert plain_value(without_batch(value, batched=batched)) == one


def test_the_shortest_text_is_written_and_every_float16_comes_back() -> None:
    assert write_answer({"y": np.array([0.1], dtype=np.float32)}) == b'{"y":[0.1]}'
    every = np.arange(2**16, dtype=np.uint16).view(np.float16)
    back = np.array(json.loads(write_answer({"y": every}))["y"], dtype=np.float16)
    np.testing.assert_array_equal(back, every)


@pytest.mark.parametrize("others", [1, 3000])
@pytest.mark.parametrize("sign", [1, -1])
def test_the_one_float32_whose_shortest_text_is_read_as_its_neighbour_is_written_longer(
    others: int, sign: int
) -> None:
    odd = np.full(others, np.array(0x15AE43FD, dtype=np.uint32).view(np.float32) * sign, dtype=np.float32)
    assert np.float32(7.038531e-26) != abs(odd[0])
    assert np.array(json.loads(write_answer({"y": odd}))["y"], dtype=np.float32).tobytes() == odd.tobytes()


def test_what_is_not_finite_is_found_in_long_answers_too() -> None:
    values = np.full(5000, 0.1, dtype=np.float32)
    values[4999] = np.nan
    assert write_answer({"y": values}).endswith(b'0.1,"NaN"]}')


def test_arrays_in_any_order_are_written_as_they_are_read() -> None:
    values = np.arange(6, dtype=np.float32).reshape(2, 3)
    for array in (values.T, values[:, ::2], values.astype(">f4")):
        assert json.loads(write_answer({"y": array}))["y"] == array.tolist()


def test_half_a_character_from_a_model_is_still_json() -> None:
    assert json.loads(write_answer({"y": ["\ud800"]})) == {"y": ["\ud800"]}
