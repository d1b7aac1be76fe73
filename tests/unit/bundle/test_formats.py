"""A model file is what its content says, and whatever else comes gets a sentence."""

from __future__ import annotations

import contextlib
import gzip
import io
import os
import pickle
import zipfile
from pathlib import Path

import numpy as np
import onnx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bundle_place import write_model
from modeldeploy.bundle import formats, frameworks, onnxfile
from modeldeploy.bundle.inspection import inspect
from modeldeploy.errors import BundleError


def a_zip() -> bytes:
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as archive:
        archive.writestr("data.pkl", b"weights")
    return content.getvalue()


WRONG = {
    "a zip archive": a_zip(),
    "a Python pickle": pickle.dumps({"weights": [1, 2]}),
    "a PNG picture": b"\x89PNG\r\n\x1a\n" + bytes(100),
    "a gzip file": gzip.compress(b"weights"),
    "a JSON text": b'{"layers": []}',
    "an HDF5 file": b"\x89HDF\r\n\x1a\n" + bytes(64),
    "a TensorFlow Lite model": b"\x1c\x00\x00\x00TFL3" + bytes(64),
    "a safetensors file": (40).to_bytes(8, "little") + b'{"w": {}}' + bytes(64),
    "a GGUF model": b"GGUF\x03" + bytes(64),
    "no ONNX model": b"hello, I am a model",
    "a program (ELF)": b"\x7fELF" + bytes(64),
}


@pytest.mark.parametrize("kind", WRONG)
def test_another_kind_of_file_called_onnx_is_recognised(kind: str, tmp_path: Path) -> None:
    model = tmp_path / "model.onnx"
    model.write_bytes(WRONG[kind])
    with pytest.raises(BundleError, match=r"model.onnx is") as caught:
        inspect(model)
    assert kind in caught.value.message
    assert "service:NAME" in (caught.value.hint or "")


def test_an_empty_model_is_refused_also_for_an_own_service(tmp_path: Path) -> None:
    (tmp_path / "model.pkl").touch()
    with pytest.raises(BundleError, match=r"model.pkl is empty \(0 bytes\)"):
        inspect(tmp_path / "model.pkl", own_service=True)


def test_a_pointer_of_git_lfs_gets_the_command_that_fetches_the_model(tmp_path: Path) -> None:
    model = tmp_path / "model.onnx"
    model.write_text("version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 5\n")
    with pytest.raises(BundleError, match="pointer of Git LFS") as caught:
        inspect(model)
    assert caught.value.hint == "git lfs pull"


def test_a_web_page_in_place_of_a_download_is_recognised(tmp_path: Path) -> None:
    model = tmp_path / "model.onnx"
    model.write_text("\n<!DOCTYPE html><html>404</html>")
    with pytest.raises(BundleError, match="a web page"):
        inspect(model)


def test_a_missing_model_a_folder_and_a_pipe_are_told_apart(tmp_path: Path) -> None:
    with pytest.raises(BundleError, match="No such file"):
        inspect(tmp_path / "gone.onnx")
    with pytest.raises(BundleError, match="a folder or a device"):
        inspect(tmp_path)
    os.mkfifo(tmp_path / "pipe.onnx")
    with pytest.raises(BundleError, match="a folder or a device"):
        inspect(tmp_path / "pipe.onnx")


def test_a_model_cut_short_is_damaged_and_its_sizes_are_told(tmp_path: Path) -> None:
    whole = write_model(tmp_path / "model.onnx").read_bytes()
    cut = tmp_path / "cut.onnx"
    cut.write_bytes(whole[:200])
    with pytest.raises(BundleError, match="breaks off") as caught:
        inspect(cut)
    assert "200 are there" in caught.value.message


def test_every_cut_of_a_model_is_refused(tmp_path: Path) -> None:
    whole = write_model(tmp_path / "model.onnx").read_bytes()
    cut = tmp_path / "cut.onnx"
    for length in range(1, len(whole) - 30):  # the opset comes last: without it the frame may be whole
        cut.write_bytes(whole[:length])
        with pytest.raises((onnxfile.NotOnnx, onnxfile.Damaged)):
            onnxfile.survey(cut)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(
    content=st.binary(min_size=1, max_size=300), prefix=st.sampled_from([b"", b"\x08\x08", b"\x08\x08\x3a"])
)
def test_no_content_makes_the_walk_fail_otherwise(content: bytes, prefix: bytes, tmp_path: Path) -> None:
    model = tmp_path / "model.onnx"
    model.write_bytes(prefix + content)
    with contextlib.suppress(onnxfile.NotOnnx, onnxfile.Damaged):
        onnxfile.survey(model)


def test_graphs_nested_without_end_are_refused(tmp_path: Path) -> None:
    inner = b""
    for _ in range(60):  # attribute.g (6) of node.attribute (5) of graph.node (1)
        for field in (6, 5, 1):
            inner = bytes([field << 3 | 2]) + _varint(len(inner)) + inner
    model = tmp_path / "model.onnx"
    model.write_bytes(b"\x08\x08\x3a" + _varint(len(inner)) + inner)
    with pytest.raises(onnxfile.Damaged):
        onnxfile.survey(model)


def _varint(number: int) -> bytes:
    head = b""
    while number > 0x7F:
        head += bytes([number & 0x7F | 0x80])
        number >>= 7
    return head + bytes([number])


def with_external_data(folder: Path, location: str) -> Path:
    path = write_model(folder / "model.onnx")
    model = onnx.load(path)
    weights = np.random.default_rng(0).standard_normal((4, 3)).astype("float32")
    tensor = onnx.numpy_helper.from_array(weights, "W")
    onnx.external_data_helper.set_external_data(tensor, location, offset=0, length=48)
    tensor.ClearField("raw_data")
    model.graph.initializer[0].CopyFrom(tensor)
    path.write_bytes(model.SerializeToString())
    (folder / "weights.bin").write_bytes(weights.tobytes())
    return path


def test_weights_in_a_file_beside_the_model_belong_to_it(tmp_path: Path) -> None:
    model = with_external_data(tmp_path, "weights.bin")
    facts = inspect(model)
    assert facts.files == (model, tmp_path / "weights.bin")


def test_weights_that_are_missing_are_named(tmp_path: Path) -> None:
    model = with_external_data(tmp_path, "weights.bin")
    (tmp_path / "weights.bin").unlink()
    with pytest.raises(BundleError, match=r"keeps weights in 'weights.bin', which is not beside it"):
        inspect(model)


@pytest.mark.parametrize("location", ["../secret", "/etc/passwd", "a/../../secret", ".."])
def test_a_model_cannot_point_at_files_elsewhere(location: str, tmp_path: Path) -> None:
    (tmp_path / "secret").write_bytes(bytes(48))
    model = with_external_data(tmp_path / "project", location)
    with pytest.raises(BundleError, match="only files beside the model are followed"):
        inspect(model)


def test_a_link_beside_the_model_that_leads_away_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "secret").write_bytes(bytes(48))
    model = with_external_data(tmp_path / "project", "weights.bin")
    (tmp_path / "project" / "weights.bin").unlink()
    (tmp_path / "project" / "weights.bin").symlink_to(tmp_path / "secret")
    with pytest.raises(BundleError, match="only files beside the model"):
        inspect(model)


def test_models_linked_from_a_folder_of_blobs_are_followed(tmp_path: Path) -> None:
    blobs, snapshot = tmp_path / "blobs", tmp_path / "snapshot"
    with_external_data(blobs, "weights.bin")
    snapshot.mkdir()
    for name in ("model.onnx", "weights.bin"):
        (snapshot / name).symlink_to(blobs / name)
    assert formats.beside(snapshot / "model.onnx", ["weights.bin"]) == (snapshot / "weights.bin",)


def test_insisting_on_a_framework_that_the_file_is_not_is_refused(tmp_path: Path) -> None:
    model = tmp_path / "model.bin"
    model.write_bytes(b"anything")
    assert inspect(model, own_service=True).framework == frameworks.CUSTOM
    with pytest.raises(BundleError, match=r"framework is 'onnx', but model.bin is no model"):
        inspect(model, own_service=True, insisted="onnx")


def test_a_model_may_be_a_folder_for_an_own_service(tmp_path: Path) -> None:
    for name in ("config.json", "weights/part-1.bin"):
        (tmp_path / "llm" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "llm" / name).write_text(name)
    facts = inspect(tmp_path / "llm", own_service=True)
    assert [path.name for path in facts.files] == ["config.json", "part-1.bin"]
    (tmp_path / "empty").mkdir()
    with pytest.raises(BundleError, match="an empty folder"):
        inspect(tmp_path / "empty", own_service=True)
