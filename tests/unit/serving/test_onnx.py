"""How ONNX models are loaded: providers, threads, and weights that workers share."""

from __future__ import annotations

import logging
import os
import subprocess
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from modeldeploy.serving import runtimes
from modeldeploy.serving.runtimes import onnx as onnx_runtime
from modeldeploy.serving.runtimes import sharing
from modeldeploy.serving.runtimes.base import Settings
from modeldeploy.serving.spec import ModelSpec, SpecError, TensorSpec

SIZE = 64
SPEC = ModelSpec(
    "m",
    "onnx",
    "model.onnx",
    (TensorSpec("x", "float32", ("n", SIZE)),),
    (TensorSpec("y", "float32", ("n", SIZE)),),
)
X = np.linspace(-1, 1, SIZE, dtype=np.float32).reshape(1, SIZE)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A model with a weight worth packing."""
    place = tmp_path / "bündel mit Raum"
    place.mkdir()
    weights = np.random.default_rng(0).standard_normal((SIZE, SIZE)).astype(np.float32)
    value = helper.make_tensor_value_info
    graph = helper.make_graph(
        [helper.make_node("MatMul", ["x", "w"], ["y"])],
        "g",
        [value("x", TensorProto.FLOAT, ["n", SIZE])],
        [value("y", TensorProto.FLOAT, ["n", SIZE])],
        [numpy_helper.from_array(weights, "w")],
    )
    onnx.save(
        helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8),
        place / "model.onnx",
    )
    return place


@pytest.fixture
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of the copies; every model is worth one."""
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    monkeypatch.setattr(sharing, "_LEAST", 1)
    return tmp_path / f"mdeploy-weights-{os.getuid()}"


def run(folder: Path, settings: Settings) -> np.ndarray[tuple[int, ...], np.dtype[np.float32]]:
    model = runtimes.load(folder, SPEC, settings)
    try:
        return np.asarray(model.run({"x": X})["y"])
    finally:
        model.close()


@pytest.mark.parametrize("level", ["disable", "basic", "extended", "all"])
def test_every_level_of_graph_optimisation_loads(folder: Path, level: str) -> None:
    assert run(folder, Settings(threads=1, graph_optimization=level)).shape == (1, SIZE)


def test_a_provider_that_is_not_installed_is_named_with_those_that_are_and_the_package(folder: Path) -> None:
    with pytest.raises(SpecError) as caught:
        runtimes.load(folder, SPEC, Settings(threads=1, providers=("cuda", "tensorrt")))
    assert "cuda, tensorrt is not installed" in str(caught.value)
    assert "onnxruntime-gpu" in str(caught.value) and "has cpu" in str(caught.value)
    assert 'providers = ["cuda", "cpu"]' in str(caught.value)


def test_a_declared_fallback_is_taken_and_said(folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        assert run(folder, Settings(threads=1, providers=("cuda", "cpu"))).shape == (1, SIZE)
    assert "cuda is not installed; the model runs on cpu" in caplog.text


def test_a_device_that_does_not_start_needs_a_declared_fallback_too(caplog: pytest.LogCaptureFixture) -> None:
    cuda, cpu = "CUDAExecutionProvider", "CPUExecutionProvider"
    onnx_runtime._check_providers(("cuda",), [cuda], [cuda, cpu])
    with pytest.raises(SpecError, match="cuda is installed but did not start"):
        onnx_runtime._check_providers(("cuda",), [cuda], [cpu])
    onnx_runtime._check_providers(("cuda", "cpu"), [cuda, cpu], [cpu])
    assert "cuda did not start; the model runs on cpu" in caplog.text


def test_a_framework_is_a_word_of_a_list_and_never_a_path_to_a_module(folder: Path) -> None:
    for framework in ("base", "sharing", "..engine", "os"):
        spec = ModelSpec("m", framework, "model.onnx", SPEC.inputs, SPEC.outputs)
        with pytest.raises(SpecError, match="expected one of onnx"):
            runtimes.load(folder, spec, Settings(threads=1))


def test_a_model_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(SpecError, match=r"there is no 'model\.onnx'"):
        runtimes.load(tmp_path, SPEC, Settings(threads=1))


def test_workers_share_a_copy_that_gives_the_same_answers(folder: Path, temporary: Path) -> None:
    alone = run(folder, Settings(threads=1))
    assert not temporary.exists()
    first = runtimes.load(folder, SPEC, Settings(threads=1, workers=2))
    (copy,) = temporary.glob("*/model.onnx.data")
    written = copy.stat().st_mtime_ns
    assert copy.stat().st_size >= 2 * X.size * SIZE * 4, "the weights, and packed beside them"
    assert run(folder, Settings(threads=1, workers=2)).tobytes() == alone.tobytes()
    assert copy.stat().st_mtime_ns == written
    assert (temporary.stat().st_mode & 0o777) == 0o700
    first.close()


def test_a_copy_goes_when_nobody_uses_it_and_another_is_written(folder: Path, temporary: Path) -> None:
    used = runtimes.load(folder, SPEC, Settings(threads=1, workers=2))
    run(folder, Settings(threads=1, workers=2, graph_optimization="basic"))
    assert len([*temporary.glob("*/model.onnx")]) == 2
    run(folder, Settings(threads=1, workers=2, graph_optimization="disable"))
    assert len([*temporary.glob("*/model.onnx")]) == 2, "that for basic is gone, the one in use is not"
    used.close()


def test_a_folder_that_others_could_write_to_is_not_trusted(
    folder: Path, temporary: Path, caplog: pytest.LogCaptureFixture
) -> None:
    temporary.mkdir(mode=0o700)
    temporary.chmod(0o777)
    assert run(folder, Settings(threads=1, workers=2)).shape == (1, SIZE)
    assert "not shared" in caplog.text and not [*temporary.iterdir()]


def test_a_damaged_copy_is_done_without(
    folder: Path, temporary: Path, caplog: pytest.LogCaptureFixture
) -> None:
    alone = run(folder, Settings(threads=1, workers=2))
    (copy,) = temporary.glob("*/model.onnx")
    copy.write_bytes(b"nonsense")
    assert run(folder, Settings(threads=1, workers=2)).tobytes() == alone.tobytes()
    assert "not shared" in caplog.text


def test_a_copy_that_cannot_be_written_is_done_without(
    folder: Path, temporary: Path, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(place: Path) -> None:
        place.write_bytes(b"half of it")
        raise OSError("disk full")

    assert sharing.shared_copy(folder / "model.onnx", "", fail) is None
    assert "disk full" in caplog.text and not [*temporary.glob("*/*")]


def test_only_large_models_of_several_workers_are_shared(folder: Path) -> None:
    assert not sharing.worth_it(folder / "model.onnx", 2)
    with (folder / "model.onnx.data").open("wb") as file:
        file.truncate(sharing._LEAST)
    assert sharing.worth_it(folder / "model.onnx", 2) and not sharing.worth_it(folder / "model.onnx", 1)


def test_the_memory_of_a_large_run_is_given_back(folder: Path) -> None:
    made = onnx.load(folder / "model.onnx")
    made.graph.node[0].output[0] = "between"
    made.graph.node.append(helper.make_node("ReduceSum", ["between"], ["y"], keepdims=0))
    made.graph.output[0].type.tensor_type.shape.Clear()
    onnx.save(made, folder / "model.onnx")
    model = runtimes.load(folder, SPEC, Settings(threads=1))
    try:
        model.run({"x": X})
        large = np.ones((500_000, SIZE), dtype=np.float32)
        before = _resident()
        for _ in range(2):
            assert np.isfinite(np.asarray(model.run({"x": large})["y"]))
        assert _resident() - before < large.nbytes // 4
        assert np.isfinite(np.asarray(model.run({"x": X})["y"]))
    finally:
        model.close()


def _resident() -> int:
    """Bytes of memory that this process holds."""
    asked = subprocess.run(["ps", "-o", "rss=", "-p", str(os.getpid())], capture_output=True, check=True)
    return int(asked.stdout) * 1024
