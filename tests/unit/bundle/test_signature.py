"""Signatures are read in a child process: whatever the model does to it, mdeploy says what happened."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import onnx
import pytest
from onnx import TensorProto, helper

from bundle_place import write_model
from modeldeploy.bundle import inspection, signature
from modeldeploy.bundle.signature import Signature, TensorSpec
from modeldeploy.errors import BundleError


def save(path: Path, nodes: list[Any], inputs: list[Any], outputs: list[Any]) -> Path:
    graph = helper.make_graph(nodes, "g", inputs, outputs)
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid("ai.onnx.ml", 3)]
    onnx.save(helper.make_model(graph, opset_imports=opsets, ir_version=8), path)
    return path


def test_names_dtypes_shapes_and_ranges_are_read(tmp_path: Path) -> None:
    found = signature.read(write_model(tmp_path / "m.onnx", ranges='{"pixels": [0, 16]}'))
    assert found == Signature(
        inputs=(TensorSpec("pixels", "float32", ("batch", 4), 0.0, 16.0),),
        outputs=(
            TensorSpec("label", "int64", ("batch",)),
            TensorSpec("probability", "float32", ("batch", 3)),
        ),
    )
    assert Signature.from_json(found.to_json()) == found
    assert str(found.inputs[0]) == "pixels: float32[batch, 4]"


@pytest.mark.parametrize("ranges", ["[1]", '{"pixels": 3}', '{"pixels": ["a", "b"]}', "{"])
def test_ranges_that_are_no_ranges_are_refused(ranges: str, tmp_path: Path) -> None:
    with pytest.raises(BundleError, match=r"metadata 'mdeploy.ranges' must be JSON such as"):
        signature.read(write_model(tmp_path / "m.onnx", ranges=ranges))


def test_an_output_that_is_no_tensor_keeps_its_type_in_words(tmp_path: Path) -> None:
    zipmap = helper.make_node("ZipMap", ["p"], ["maps"], domain="ai.onnx.ml", classlabels_int64s=[0, 1])
    maps = helper.make_sequence_type_proto(
        helper.make_map_type_proto(TensorProto.INT64, helper.make_tensor_type_proto(TensorProto.FLOAT, None))
    )
    model = save(
        tmp_path / "m.onnx",
        [zipmap],
        [helper.make_tensor_value_info("p", TensorProto.FLOAT, [None, 2])],
        [helper.make_value_info("maps", maps)],
    )
    (output,) = signature.read(model).outputs
    assert (output.dtype, output.shape) == ("sequence(map(int64,float32))", None)
    assert not output.is_tensor


def test_an_input_that_is_no_tensor_is_refused_unless_the_service_is_the_users(tmp_path: Path) -> None:
    sequence = helper.make_tensor_sequence_value_info("items", TensorProto.FLOAT, None)
    node = helper.make_node("SequenceLength", ["items"], ["n"])
    model = save(
        tmp_path / "m.onnx", [node], [sequence], [helper.make_tensor_value_info("n", TensorProto.INT64, [])]
    )
    with pytest.raises(BundleError, match=r"input 'items' is sequence\(float32\)"):
        inspection.inspect(model)
    assert inspection.inspect(model, own_service=True).signature is None


def test_names_that_would_play_tricks_on_a_terminal_are_refused(tmp_path: Path) -> None:
    value = helper.make_tensor_value_info("\x1b[2Jpixels", TensorProto.FLOAT, [1])
    out = helper.make_tensor_value_info("y", TensorProto.FLOAT, [1])
    model = save(tmp_path / "m.onnx", [helper.make_node("Relu", ["\x1b[2Jpixels"], ["y"])], [value], [out])
    with pytest.raises(BundleError, match="not printable") as caught:
        signature.read(model)
    assert "\x1b" not in caught.value.message


def test_a_model_with_operators_that_do_not_exist_is_refused_without_its_folder(tmp_path: Path) -> None:
    value = helper.make_tensor_value_info("x", TensorProto.FLOAT, [1])
    out = helper.make_tensor_value_info("y", TensorProto.FLOAT, [1])
    model = save(tmp_path / "m.onnx", [helper.make_node("Frobnicate", ["x"], ["y"])], [value], [out])
    with pytest.raises(BundleError, match=r"m.onnx does not load: .*Frobnicate") as caught:
        signature.read(model)
    assert str(tmp_path) not in caught.value.message


def fake_runtime(folder: Path, monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    """An onnxruntime that misbehaves in a way no well-formed file is known to cause."""
    folder.mkdir()
    (folder / "onnxruntime.py").write_text(text)
    monkeypatch.setenv("PYTHONPATH", str(folder))


def test_a_crash_of_the_runtime_is_told_by_its_signal(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake_runtime(tmp_path / "fake", monkeypatch, "import os, signal; os.kill(os.getpid(), signal.SIGSEGV)")
    with pytest.raises(BundleError, match=r"makes ONNX Runtime crash \(SIGSEGV\)"):
        signature.read(write_model(tmp_path / "m.onnx"))


def test_a_runtime_that_hangs_is_given_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fake_runtime(tmp_path / "fake", monkeypatch, "import time; time.sleep(60)")
    monkeypatch.setattr(signature, "PROBE_SECONDS", 1.0)
    began = time.monotonic()
    with pytest.raises(BundleError, match="did not load it within 1 s"):
        signature.read(write_model(tmp_path / "m.onnx"))
    assert time.monotonic() - began < 30


def test_a_runtime_that_wants_all_memory_is_stopped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fake_runtime(tmp_path / "fake", monkeypatch, "bytearray(1 << 40)")
    with pytest.raises(BundleError, match="does not load: MemoryError"):
        signature.read(write_model(tmp_path / "m.onnx"))


def test_code_in_the_current_folder_is_not_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "onnxruntime.py").write_text("raise SystemExit('hijacked')")
    monkeypatch.chdir(tmp_path)
    assert signature.read(write_model(tmp_path / "m.onnx")).inputs


def test_what_was_read_is_kept_by_content_and_a_damaged_note_is_read_anew(
    tmp_path: Path, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = write_model(tmp_path / "m.onnx")
    first = inspection.inspect(model)
    (note,) = (home / "cache" / "models-1").iterdir()
    monkeypatch.setenv("PYTHONPATH", str(tmp_path / "nothing"))
    renamed = model.rename(tmp_path / "other.onnx")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(signature, "read", lambda _: pytest.fail("read again"))
        assert inspection.inspect(renamed).signature == first.signature
    note.write_text("{ torn")
    assert inspection.inspect(renamed).signature == first.signature
