"""The signature file of a generated service."""

from __future__ import annotations

import json
from copy import deepcopy
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from modeldeploy.serving.spec import FILE, Limits, Runtime, SpecError, TensorSpec, load, parse
from modeldeploy.serving.tensors.schema import schema_of

TENSORS: dict[str, Any] = {
    "inputs": [{"name": "image", "dtype": "float32", "shape": ["batch", 64], "minimum": 0, "maximum": 16}],
    "outputs": [
        {"name": "digit", "dtype": "int64", "shape": ["batch"]},
        {"name": "scores", "dtype": "sequence(map(int64,float32))", "shape": None},
    ],
}
GOOD: dict[str, Any] = {
    "format": 2,
    "name": "digits",
    **deepcopy(TENSORS),
    "models": {"digits": {"framework": "onnx", "path": "models/v1.onnx", **deepcopy(TENSORS), "options": {}}},
    "graph": None,
    "hooks": {"before": "hooks:clean"},
    "batching": {"rows": 32},
    "limits": {"body": 1000, "queue": 10, "timeout": 2.5},
    "runtime": {"workers": 2, "threads": 1, "providers": ["cuda", "cpu"], "graph_optimization": "basic"},
    "protocols": ["arrow"],
}
TWO = {**GOOD, "models": {"a": GOOD["models"]["digits"], "b": GOOD["models"]["digits"]}}


def changed(path: list[Any], value: Any) -> dict[str, Any]:
    content = deepcopy(GOOD)
    at: Any = content
    for step in path[:-1]:
        at = at[step]
    if value is KeyError:
        del at[path[-1]]
    else:
        at[path[-1]] = value
    return content


def test_a_good_file_is_read(tmp_path: Path) -> None:
    (tmp_path / FILE).write_text(json.dumps(GOOD))
    spec = load(tmp_path)
    assert spec.name == "digits"
    assert spec.inputs == (TensorSpec("image", "float32", ("batch", 64), 0, 16),)
    assert spec.inputs[0].batched and not spec.outputs[1].batched
    assert spec.models[0].path == "models/v1.onnx"
    assert (spec.before, spec.after, spec.rows, spec.protocols) == ("hooks:clean", "", 32, ("arrow",))
    assert spec.limits == Limits(body=1000, queue=10, timeout=2.5)
    assert spec.runtime == Runtime(2, 1, ("cuda", "cpu"), "basic")


def test_a_service_of_the_users_own_has_only_limits_and_runtime() -> None:
    spec = parse({"format": 2, "name": "own", "limits": {"queue": 3}, "runtime": {}})
    assert (spec.models, spec.inputs, spec.limits.queue, spec.runtime) == ((), (), 3, Runtime())


@pytest.mark.parametrize(
    ("path", "value", "says"),
    [
        (["name"], "Digits!", "name"),
        (["name"], KeyError, "missing keys: ['name']"),
        (["colour"], "red", "unknown keys: ['colour']"),
        (["format"], 1, "format: expected 2, got 1"),
        (["format"], True, "format: expected 2"),
        (["models"], [], "models: expected an object"),
        (["models", "digits", "path"], "../secret", "models.digits: path"),
        (["models", "digits", "path"], "/etc/passwd", "models.digits: path"),
        (["models", "digits", "path"], "", "models.digits: path"),
        (["models", "digits", "framework"], "caffe", "framework: expected one of onnx"),
        (["models", "digits", "options"], [], "models.digits: options: expected an object"),
        (["models", "x/y"], {}, "models.x/y: expected a name"),
        (["models"], TWO["models"], "graph: expected how 2 models are one"),
        (["graph"], {"kind": "loop"}, "graph: kind: expected one of chain, ensemble, choose, got 'loop'"),
        (["graph"], 7, "graph: kind: expected one of"),
        (["graph"], {"kind": "chain", "models": ["digits"]}, "graph: models: expected at least 2"),
        (["graph"], {"kind": "chain", "models": ["digits", "x"]}, "expected digits, got 'x'"),
        (
            [],
            {**TWO, "graph": {"kind": "choose", "rules": [{"when": "x < 1", "model": "a"}], "default": "a"}},
            "graph: expected a part for each model, got none for b",
        ),
        (["hooks", "before"], "os.system", "hooks: before: expected module:function"),
        (["hooks", "during"], "a:b", "unknown keys: ['during']"),
        (["batching", "rows"], -1, "batching: rows: expected a whole number from 0"),
        (["batching", "rows"], True, "batching: rows"),
        (["limits", "body"], 1e3, "limits: body: expected a whole number from 1"),
        (["limits", "timeout"], float("nan"), "limits: timeout: expected a number above 0"),
        (["limits", "timeout"], 0, "limits: timeout"),
        (["runtime", "workers"], 10**9, "runtime: workers"),
        (
            ["runtime", "providers"],
            ["gpu"],
            "runtime: providers: expected cpu, cuda, tensorrt, coreml, got 'gpu'",
        ),
        (["runtime", "providers"], [], "runtime: providers: expected at least 1"),
        (["runtime", "graph_optimization"], "most", "graph_optimization: expected one of disable"),
        (["protocols"], ["soap"], "protocols: expected grpc, arrow, got 'soap'"),
        (["protocols"], "grpc", "protocols: expected a list of texts"),
        (["inputs", 0, "shape"], [2**40], "inputs[0]: shape"),
        (["inputs"], KeyError, "inputs: expected a list"),
        (["inputs"], [], "inputs: expected a list"),
        (["inputs"], [GOOD["inputs"][0]] * 2, "two entries have one name"),
        (["inputs", 0, "dtype"], "complex64", "inputs[0]: dtype: expected one of bool"),
        (["inputs", 0, "shape"], [-1], "inputs[0]: shape"),
        (["inputs", 0, "shape"], [True], "inputs[0]: shape"),
        (["inputs", 0, "shape"], "64", "inputs[0]: shape"),
        (["inputs", 0, "minimum"], "0", "inputs[0]: minimum"),
        (["inputs", 0, "minimum"], -(10**400), "inputs[0]: minimum"),
        (["inputs", 0, "name"], 1, "inputs[0]: name"),
        (["outputs", 0, "minimum"], 0, "outputs[0]: missing keys: []; unknown keys: ['minimum']"),
    ],
)
def test_a_bad_file_is_refused_with_the_key(path: list[Any], value: Any, says: str) -> None:
    with pytest.raises(SpecError) as caught:
        parse(changed(path, value) if path else value)
    assert says in str(caught.value)


@pytest.mark.parametrize("content", [b"", b"[]", b"\xff", b'{"name": "a"'])
def test_what_is_no_json_object_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / FILE).write_bytes(content)
    with pytest.raises(SpecError, match=FILE):
        load(tmp_path)


json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-3, 2**40)
    | st.floats()
    | st.sampled_from(["", "onnx", "a:b", "cpu"]),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["kind", "x"]), inner, max_size=2)
    ),
    max_leaves=5,
)
PLACES = [
    [],
    *([key] for key in GOOD),
    *(["models", "digits", key] for key in GOOD["models"]["digits"]),
    *(["inputs", 0, key] for key in GOOD["inputs"][0]),
    *([table, key] for table in ("hooks", "batching", "limits", "runtime") for key in GOOD[table]),
]


@given(st.sampled_from(PLACES), json_values)
@settings(max_examples=150, deadline=None)
def test_a_damaged_file_is_refused_or_read_and_never_crashes(path: list[Any], value: Any) -> None:
    content = changed(path, value) if path else value
    told = ""
    try:
        spec = parse(content)
    except SpecError as error:
        told = str(error)
    assert len(told) < 600
    assert told or (type(spec.rows) is int and type(spec.limits.timeout) is float)


def test_a_range_is_only_for_numbers() -> None:
    with pytest.raises(SpecError, match="minimum and maximum are for numbers"):
        parse(changed(["inputs", 0, "dtype"], "string"))


@pytest.mark.parametrize(
    ("tensor", "text"),
    [
        (TensorSpec("x", "float32", ("batch", None, 64)), "float32 [batch, ?, 64]"),
        (TensorSpec("x", "int64", ()), "one int64"),
        (TensorSpec("x", "bool", None), "bool of any shape"),
    ],
)
def test_messages_show_a_tensor_in_a_few_words(tensor: TensorSpec, text: str) -> None:
    assert str(tensor) == text


def test_the_openapi_schema_takes_a_batch_and_refuses_what_the_service_refuses() -> None:
    schema = schema_of(parse(GOOD).inputs, "Request", openapi=True)
    jsonschema.Draft202012Validator.check_schema(schema)
    jsonschema.validate({"image": [[0] * 64]}, schema)
    assert "one sample may come without" in schema["properties"]["image"]["description"]
    wrongs: tuple[dict[str, Any], ...] = (
        {},
        {"image": []},
        {"image": [[0] * 63]},
        {"image": [["a"] * 64]},
        {"image": [[17] * 64]},
    )
    for wrong in wrongs:
        with pytest.raises(jsonschema.ValidationError):
            jsonschema.validate(wrong, schema)
