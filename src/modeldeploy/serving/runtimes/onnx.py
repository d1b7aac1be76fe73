"""ONNX models, run by onnxruntime."""

from __future__ import annotations

import logging
import os
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ..spec import FILE, ModelSpec, SpecError
from ..tensors.rules import Array
from .base import Settings, Value
from .sharing import Copy, shared_copy, worth_it

log = logging.getLogger("mdeploy_serving")

_PROVIDERS = {
    "cpu": ("CPUExecutionProvider", "onnxruntime"),
    "cuda": ("CUDAExecutionProvider", "onnxruntime-gpu"),
    "tensorrt": ("TensorrtExecutionProvider", "onnxruntime-gpu"),
    "coreml": ("CoreMLExecutionProvider", "onnxruntime, on macOS"),
}
"""Our name: onnxruntime's, and the package that has it."""
_LEVELS = {
    "disable": "ORT_DISABLE_ALL",
    "basic": "ORT_ENABLE_BASIC",
    "extended": "ORT_ENABLE_EXTENDED",
    "all": "ORT_ENABLE_ALL",
}
_ERRORS_ONLY = 3
_LARGE_RUN = 8 * 1024 * 1024
"""Bytes of input after which the memory of the run is given back: it would stay for the process's life."""


class OnnxModel:
    """A session of onnxruntime, which any number of threads may use at once."""

    parallel = True

    def __init__(self, session: Any, outputs: Sequence[str], copy: Copy | None = None) -> None:
        import onnxruntime

        self._session = session
        self._copy = copy
        self._outputs = list(outputs)
        self._options = onnxruntime.RunOptions
        self._running: dict[int, Any] = {}
        self._shrinks = session.get_providers()[0] == _PROVIDERS["cpu"][0]

    def run(self, arrays: Mapping[str, Array]) -> dict[str, Value]:
        """The outputs by name."""
        thread = threading.get_ident()
        options = self._running[thread] = self._options()
        if self._shrinks and sum(array.nbytes for array in arrays.values()) >= _LARGE_RUN:
            options.add_run_config_entry("memory.enable_memory_arena_shrinkage", "cpu:0")
        try:
            return dict(zip(self._outputs, self._session.run(self._outputs, arrays, options), strict=True))
        finally:
            del self._running[thread]

    def interrupt(self, thread: int) -> None:
        """Have the run that goes on in a thread raise at the next operator; from any other thread."""
        if (options := self._running.get(thread)) is not None:
            options.terminate = True

    def close(self) -> None:
        """Give the session's memory back."""
        self._session = None
        if self._copy is not None:
            self._copy.close()
            self._copy = None


def load(folder: Path, spec: ModelSpec, settings: Settings) -> OnnxModel:
    """Load a model. Raises `SpecError` where its inputs and outputs, or the providers, are not as told.

    A file that is no model makes onnxruntime raise errors of its own.
    """
    os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
    import onnxruntime  # after the line above, and only where a model is loaded

    chosen = _providers(settings.providers, onnxruntime.get_available_providers())
    path = folder / spec.path
    copy = _shared(path, settings, chosen[0]) if worth_it(path, settings.workers) else None
    session, copy = _session(path, copy, settings, chosen)
    model = OnnxModel(session, [output.name for output in spec.outputs], copy)
    try:
        _check_providers(settings.providers, chosen, session.get_providers())
        _check_names(spec, session)
    except SpecError:
        model.close()
        raise
    return model


def _session(
    path: Path, copy: Copy | None, settings: Settings, providers: list[str]
) -> tuple[Any, Copy | None]:
    """A session of the copy, or of the model itself where there is none, or one that is damaged."""
    import onnxruntime

    options = _options(settings)
    if copy is not None:
        try:
            return onnxruntime.InferenceSession(os.fspath(copy.path), options, providers=providers), copy
        except Exception as error:  # noqa: BLE001  # whatever is wrong with it: the model itself is there
            log.warning("the weights are not shared among the workers: %s", error)
            copy.close()
    return onnxruntime.InferenceSession(os.fspath(path), options, providers=providers), None


def _shared(path: Path, settings: Settings, provider: str) -> Copy | None:
    """The model's copy that workers share; only processors can use it."""
    import onnxruntime

    if provider != _PROVIDERS["cpu"][0]:
        return None
    level = _LEVELS[settings.graph_optimization]
    program = [sys.executable, "-P", os.fspath(Path(__file__).with_name("packing.py"))]

    def write(place: Path) -> None:
        subprocess.run([*program, path, place, level], check=True, stdin=subprocess.DEVNULL)

    return shared_copy(path, f"{onnxruntime.__version__} {level}", write)


def _options(settings: Settings) -> Any:
    """Idle threads sleep: several revisions share a machine, and one that spins takes from its neighbours."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = settings.threads
    options.inter_op_num_threads = 1
    options.graph_optimization_level = getattr(
        onnxruntime.GraphOptimizationLevel, _LEVELS[settings.graph_optimization]
    )
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.log_severity_level = _ERRORS_ONLY
    return options


def _providers(wanted: Sequence[str], installed: Sequence[str]) -> list[str]:
    """onnxruntime's names of those that are there. Raises `SpecError` if none is."""
    unknown = [name for name in wanted if name not in _PROVIDERS]
    if unknown or not wanted:
        raise SpecError(f"providers: expected some of {', '.join(_PROVIDERS)}, got {list(wanted)}")
    found = [name for name in wanted if _PROVIDERS[name][0] in installed]
    for name in wanted:
        if name not in found and found:
            log.warning("the provider %s is not installed; the model runs on %s", name, found[0])
    if not found:
        packages = sorted({_PROVIDERS[name][1] for name in wanted})
        ours = [name for name, (theirs, _) in _PROVIDERS.items() if theirs in installed]
        raise SpecError(
            f"providers: {', '.join(wanted)} is not installed here: that takes the package "
            f"{' or '.join(packages)} in place of the one that has {', '.join(ours)}; "
            'or declare a fallback, e.g. providers = ["cuda", "cpu"]'
        )
    return [_PROVIDERS[name][0] for name in found]


def _check_providers(wanted: Sequence[str], chosen: Sequence[str], real: Sequence[str]) -> None:
    """onnxruntime goes on with the processor where a device does not start; only who declared it may."""
    if chosen[0] in real:
        return
    names = {theirs: name for name, (theirs, _) in _PROVIDERS.items()}
    left = [name for name in chosen if name in real]
    if not left:
        raise SpecError(
            f"providers: {', '.join(wanted)} is installed but did not start: is there a device, and its "
            'driver? onnxruntime\'s log has more. Declare a fallback to do without, e.g. ["cuda", "cpu"]'
        )
    log.warning("the provider %s did not start; the model runs on %s", names[chosen[0]], names[left[0]])


def _check_names(spec: ModelSpec, session: Any) -> None:
    for kind, said, real in (
        ("inputs", spec.inputs, session.get_inputs()),
        ("outputs", spec.outputs, session.get_outputs()),
    ):
        named, known = {tensor.name for tensor in said}, {node.name for node in real}
        if named - known or (kind == "inputs" and known - named):
            raise SpecError(
                f"{FILE}: models.{spec.name}: {kind} {sorted(named)} are not the model's own: {sorted(known)}"
            )
