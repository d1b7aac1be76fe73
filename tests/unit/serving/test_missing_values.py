"""Models that know what is missing are told so by null or NaN; all others refuse both."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from modeldeploy.serving.problems import BadInput
from modeldeploy.serving.spec import SpecError, TensorSpec, parse
from modeldeploy.serving.tensors.arrays import read_arrays
from modeldeploy.serving.tensors.validate import RequestReader

GAPS = TensorSpec("x", "float32", ("batch", 2), minimum=0, maximum=9, nan=True)
WHOLE = TensorSpec("x", "float32", ("batch", 2))


@pytest.mark.parametrize("gap", ["null", '"NaN"', "NaN"])
def test_a_value_may_be_missing_where_the_model_allows_it(gap: str) -> None:
    body = f'{{"x": [[1, {gap}], [2, 3]]}}'.encode()
    (first, missing), rest = RequestReader([GAPS]).read(body).arrays["x"].tolist()
    assert (first, rest) == (1.0, [2.0, 3.0]) and math.isnan(missing)
    with pytest.raises(BadInput, match=r"at \[0\]\[1\]"):
        RequestReader([WHOLE]).read(body)


@pytest.mark.parametrize("wrong", ["Infinity", '"nan"', '""', "true", "[1]", "10"])
def test_nothing_else_is_let_in_with_it(wrong: str) -> None:
    with pytest.raises(BadInput):
        RequestReader([GAPS]).read(f'{{"x": [[1, {wrong}]]}}'.encode())


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
@pytest.mark.parametrize("beside", [0.0, math.nan, 1e4])
@pytest.mark.parametrize("infinite", [math.inf, -math.inf])
def test_infinities_in_bytes_are_refused_whatever_is_beside_them(
    dtype: str, beside: float, infinite: float
) -> None:
    specs = [TensorSpec("x", dtype, ("batch", 2), nan=True)]
    array = np.array([[beside, beside], [beside, infinite]], dtype=dtype)
    with pytest.raises(BadInput, match=r"not -?Infinity at \[1\]\[1\]"):
        read_arrays(specs, {"x": array})
    array[1, 1] = math.nan
    assert read_arrays(specs, {"x": array}).arrays["x"] is array


@pytest.mark.parametrize(("dtype", "nan"), [("int64", True), ("float32", "yes"), ("string", True)])
def test_only_floats_can_be_missing(dtype: str, nan: Any) -> None:
    tensor = {"name": "x", "dtype": dtype, "shape": ["batch"]}
    told = {"inputs": [{**tensor, "nan": nan}], "outputs": [tensor]}
    models = {"m": {"framework": "xgboost", "path": "m.ubj", **told}}
    with pytest.raises(SpecError, match="nan"):
        parse({"format": 2, "name": "m", **told, "models": models})
