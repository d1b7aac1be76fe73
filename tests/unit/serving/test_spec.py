"""The signature file of a generated service."""

from __future__ import annotations

import json
from copy import deepcopy
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from modeldeploy.serving.schema import schema_of
from modeldeploy.serving.spec import FILE, SpecError, TensorSpec, load, parse

GOOD: dict[str, Any] = {
    "name": "digits",
    "model": "models/v1.onnx",
    "framework": "onnx",
    "inputs": [{"name": "image", "dtype": "float32", "shape": ["batch", 64], "minimum": 0, "maximum": 16}],
    "outputs": [
        {"name": "digit", "dtype": "int64", "shape": ["batch"]},
        {"name": "scores", "dtype": "sequence(map(int64,float32))", "shape": None},
    ],
}


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


@pytest.mark.parametrize(
    ("path", "value", "says"),
    [
        (["name"], "Digits!", "name"),
        (["name"], KeyError, "missing keys: ['name']"),
        (["colour"], "red", "unknown keys: ['colour']"),
        (["model"], "../secret", "model"),
        (["model"], "/etc/passwd", "model"),
        (["model"], "", "model"),
        (["framework"], "caffe", "framework: expected one of onnx"),
        (["inputs"], [], "inputs: expected a list"),
        (["inputs"], [GOOD["inputs"][0]] * 2, "two entries have one name"),
        (["inputs", 0, "dtype"], "complex64", "inputs[0]: dtype: expected one of bool"),
        (["inputs", 0, "shape"], [-1], "inputs[0]: shape"),
        (["inputs", 0, "shape"], [True], "inputs[0]: shape"),
        (["inputs", 0, "shape"], "64", "inputs[0]: shape"),
        (["inputs", 0, "minimum"], "0", "inputs[0]: minimum"),
        (["inputs", 0, "name"], 1, "inputs[0]: name"),
        (["outputs", 0, "minimum"], 0, "outputs[0]: missing keys: []; unknown keys: ['minimum']"),
    ],
)
def test_a_bad_file_is_refused_with_the_key(path: list[Any], value: Any, says: str) -> None:
    with pytest.raises(SpecError) as caught:
        parse(changed(path, value))
    assert says in str(caught.value)


@pytest.mark.parametrize("content", [b"", b"[]", b"\xff", b'{"name": "a"'])
def test_what_is_no_json_object_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / FILE).write_bytes(content)
    with pytest.raises(SpecError, match=FILE):
        load(tmp_path)


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
