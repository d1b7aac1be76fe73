"""TensorFlow models: the folder of a SavedModel, asked by its signature ``serving_default``.

A SavedModel is a graph of operations, some of which reach beyond it. One that reads or writes files, or calls
Python, is refused when it is described (`mdeploy build`), unless the project trusts it.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from ..spec import ModelSpec, SpecError
from ..tensors.rules import Array
from .base import Settings, Value
from .tabular import BATCH, picked

SIGNATURE = "serving_default"
_REACHING = frozenset(
    {
        *("ReadFile", "WriteFile", "MatchingFiles", "PyFunc", "PyFuncStateless", "EagerPyFunc"),
        *("PrintV2", "Save", "SaveSlices", "DebugIdentityV2", "WholeFileReader", "WholeFileReaderV2"),
    }
)
_REACHING_ENDS = ("Dataset", "DatasetV2", "DatasetV3", "SummaryWriter", "SummaryFileWriter")


class TensorFlow:
    """One signature of a SavedModel. Its thread safety is not promised anywhere, so one thread at a time."""

    parallel = False

    def __init__(self, path: Path, spec: ModelSpec) -> None:
        self._kept, self._function = _loaded(path)
        self._inputs = {each.name: _dtype(self._function, each.name, spec) for each in spec.inputs}
        self._wanted, self._where = [each.name for each in spec.outputs], spec.name
        picked(dict.fromkeys(self._function.structured_outputs), self._wanted, self._where)

    def run(self, arrays: Mapping[str, Array]) -> dict[str, Value]:
        """The outputs by name."""
        import tensorflow as tf

        given = {name: tf.constant(arrays[name], dtype) for name, dtype in self._inputs.items()}
        answer = {name: _plain(value) for name, value in self._function(**given).items()}
        return picked(answer, self._wanted, self._where)

    def close(self) -> None:
        """Nothing is held but memory."""


def load(folder: Path, spec: ModelSpec, settings: Settings) -> TensorFlow:
    """Load a model."""
    tf = _tensorflow()
    with contextlib.suppress(RuntimeError):  # of several models, the first has set it for the process
        tf.config.threading.set_intra_op_parallelism_threads(settings.threads)
        tf.config.threading.set_inter_op_parallelism_threads(1)
    return TensorFlow(folder / spec.path, spec)


def describe(path: Path, options: Mapping[str, Any]) -> dict[str, Any]:
    """Inputs and outputs of its signature. Raises ValueError for operations that reach beyond the model."""
    _tensorflow()
    if not options.get("trust") and (reaching := sorted(set(_reaching(path)))):
        raise ValueError(
            f"it has operations that read or write files, or run Python: {', '.join(reaching[:8])}"
        )
    _, function = _loaded(path)
    _, inputs = function.structured_input_signature
    return {  # sorted: TensorFlow has them in another order in each process
        "inputs": [_described(name, each) for name, each in sorted(inputs.items())],
        "outputs": [_described(name, each) for name, each in sorted(function.structured_outputs.items())],
        "options": {},
    }


def _tensorflow() -> Any:
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "0")  # the same sums on all processors
    import tensorflow as tf

    return tf


def _loaded(path: Path) -> tuple[Any, Any]:
    """The model, which must stay alive, and its function."""
    loaded = _tensorflow().saved_model.load(str(path))
    known = sorted(loaded.signatures)
    if SIGNATURE not in known:
        raise SpecError(f"it has no signature {SIGNATURE}, only {', '.join(known) or 'none'}")
    return loaded, loaded.signatures[SIGNATURE]


def _dtype(function: Any, name: str, spec: ModelSpec) -> Any:
    _, inputs = function.structured_input_signature
    if name not in inputs:
        raise SpecError(f"models.{spec.name}: the model has no input {name!r}; it has {sorted(inputs)}")
    return inputs[name].dtype


def _plain(value: Any) -> Any:
    found = value.numpy()
    if not isinstance(found, bytes) and found.dtype.kind != "O":
        return found
    import numpy as np

    found = np.asarray(found, dtype=object)
    texts = [each.decode(errors="replace") for each in found.ravel()]
    return np.array(texts, dtype=object).reshape(found.shape)


def _described(name: str, spec: Any) -> dict[str, Any]:
    sizes = spec.shape.as_list() if spec.shape.rank is not None else None
    free = [BATCH if index == 0 and size is None else size for index, size in enumerate(sizes or ())]
    return {"name": name, "dtype": spec.dtype.name, "shape": None if sizes is None else free}


def _reaching(path: Path) -> Iterator[str]:
    """Names of operations that reach beyond the model, without those that restore its variables."""
    from tensorflow.core.protobuf import saved_model_pb2

    saved = saved_model_pb2.SavedModel()
    saved.ParseFromString((path / "saved_model.pb").read_bytes())
    for graph in saved.meta_graphs:
        nodes = list(graph.graph_def.node)
        for function in graph.graph_def.library.function:
            nodes += function.node_def
        for node in nodes:
            if node.op in _REACHING or node.op.endswith(_REACHING_ENDS):
                yield node.op
