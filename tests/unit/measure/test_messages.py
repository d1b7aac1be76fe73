"""Requests made from a bundle's golden samples, or from its signature."""

from __future__ import annotations

import io
import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import small_bundles
from modeldeploy.bundle.manifest import MANIFEST, Golden
from modeldeploy.bundle.signature import Signature, TensorSpec
from modeldeploy.errors import BundleError, ConfigError
from modeldeploy.measure.messages import make

IMAGE = TensorSpec("image", "float32", ("batch", 2))
AGE = TensorSpec("age", "int64", ("batch",))
NAME = TensorSpec("name", "string", ("batch",))
LABEL = TensorSpec("label", "int64", ("batch",))


def bundle(
    folder: Path,
    *inputs: TensorSpec,
    golden: Mapping[str, Any] | list[Any] | None = None,
    signature: bool = True,
) -> Path:
    """A bundle's folder with this signature and these golden samples."""
    content = dict(small_bundles.CODE) | {"src/model.onnx": b""}
    manifest = small_bundles.manifest_of(content)
    if signature:
        manifest = replace(manifest, signature=Signature(inputs, (LABEL,)))
    if golden is not None:
        name = "golden.json" if isinstance(golden, list) else "golden.npz"
        buffer = io.BytesIO()
        if isinstance(golden, list):
            buffer.write(json.dumps(golden).encode())
        else:
            np.savez(buffer, **golden)
        content[name] = buffer.getvalue()
        manifest = replace(manifest, golden=Golden(name, 3, 1e-4, 1e-5))
    small_bundles.write(content | {MANIFEST: manifest.to_bytes()}, folder)
    return folder


def parts(message: bytes) -> tuple[str, dict[str, str], bytes]:
    """Path, headers and body, with the length that is told."""
    head, _, body = message.partition(b"\r\n\r\n")
    first, *lines = head.decode().split("\r\n")
    headers = dict(line.lower().split(": ", 1) for line in lines)
    assert int(headers["content-length"]) == len(body)
    method, path, version = first.split()
    assert (method, version) == ("POST", "HTTP/1.1")
    return path, headers, body


GOLDEN = {
    "input/image": np.array([[1, 2], [3, 4], [5, 6]], "float32"),
    "output/label": np.array([0, 1, 0]),
}


def test_each_golden_sample_becomes_a_request(tmp_path: Path) -> None:
    made = make(bundle(tmp_path, IMAGE, golden=GOLDEN), "predict")

    assert (made.source, made.rows, len(made.messages)) == ("golden samples", 1, 3)
    path, headers, body = parts(made.messages[2])
    assert (path, headers["content-type"], headers["host"]) == ("/predict", "application/json", "bench")
    assert json.loads(body) == {"image": [[5.0, 6.0]]}


def test_rows_are_taken_in_turn_and_again_from_the_first(tmp_path: Path) -> None:
    made = make(bundle(tmp_path, IMAGE, golden=GOLDEN), "predict", rows=2, host="h:1", prefix="/m")

    path, headers, body = parts(made.messages[1])
    assert (path, headers["host"]) == ("/m/predict", "h:1")
    assert json.loads(body) == {"image": [[5.0, 6.0], [1.0, 2.0]]}


def test_the_open_inference_protocol_names_types_and_shapes(tmp_path: Path) -> None:
    path, _, body = parts(make(bundle(tmp_path, IMAGE, golden=GOLDEN), "v2", rows=2).messages[0])

    assert path == "/v2/models/digits/infer"
    assert json.loads(body) == {
        "inputs": [{"name": "image", "shape": [2, 2], "datatype": "FP32", "data": [1.0, 2.0, 3.0, 4.0]}]
    }


def test_its_binary_form_tells_the_sizes_of_what_follows(tmp_path: Path) -> None:
    golden = {
        "input/age": np.array([7, 8]),
        "input/name": np.array(["ä", "bc"]),
        "output/label": np.array([0, 1]),
    }
    made = make(bundle(tmp_path, AGE, NAME, golden=golden), "v2-binary", rows=2)

    _, headers, body = parts(made.messages[0])
    length = int(headers["inference-header-content-length"])
    age, name = json.loads(body[:length])["inputs"]
    assert (age["datatype"], age["parameters"]) == ("INT64", {"binary_data_size": 16})
    assert (name["datatype"], name["shape"]) == ("BYTES", [2])
    assert np.frombuffer(body[length : length + 16], "int64").tolist() == [7, 8]
    assert body[length + 16 :] == b"\x02\0\0\0\xc3\xa4\x02\0\0\0bc"


def test_a_npy_body_is_the_one_array(tmp_path: Path) -> None:
    _, headers, body = parts(make(bundle(tmp_path / "a", IMAGE, golden=GOLDEN), "npy").messages[0])

    assert headers["content-type"] == "application/x-npy"
    assert np.load(io.BytesIO(body)).tolist() == [[1.0, 2.0]]
    with pytest.raises(ConfigError, match="takes 2 inputs"):
        make(bundle(tmp_path / "b", IMAGE, AGE), "npy")


def test_without_samples_inputs_are_made_up(tmp_path: Path) -> None:
    made = make(bundle(tmp_path, IMAGE, AGE), "predict", rows=4)

    assert made.source == "made up"
    _, _, body = parts(made.messages[0])
    assert (len(json.loads(body)["image"]), len(json.loads(body)["age"])) == (4, 4)


def test_what_cannot_be_made_up_is_said(tmp_path: Path) -> None:
    with pytest.raises(BundleError, match="no samples can be made up"):
        make(bundle(tmp_path, NAME), "predict")


def test_a_model_without_a_free_dimension_takes_one_at_a_time(tmp_path: Path) -> None:
    golden = {"input/one": np.zeros((3, 1, 2), "float32"), "output/label": np.zeros((3, 1), "int64")}
    place = bundle(tmp_path, TensorSpec("one", "float32", (1, 2)), golden=golden)

    assert json.loads(parts(make(place, "predict").messages[0])[2]) == {"one": [[0.0, 0.0]]}
    with pytest.raises(ConfigError, match="one sample at a time"):
        make(place, "predict", rows=2)


def test_whole_requests_are_sent_as_they_are(tmp_path: Path) -> None:
    cases = [{"path": "/double", "body": {"number": 2}, "expect": {"doubled": 4}}]
    place = bundle(tmp_path, golden=cases, signature=False)

    path, _, body = parts(make(place, "predict").messages[0])

    assert (path, json.loads(body)) == ("/double", {"number": 2})
    with pytest.raises(ConfigError, match="whole requests"):
        make(place, "v2")


def test_a_service_of_which_nothing_is_known_needs_samples(tmp_path: Path) -> None:
    with pytest.raises(BundleError, match="neither a signature nor golden samples") as caught:
        make(bundle(tmp_path, signature=False), "predict")
    assert "mdeploy golden" in (caught.value.hint or "")
