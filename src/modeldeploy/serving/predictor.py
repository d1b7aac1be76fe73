"""The model of a generated service: loaded, warmed, and asked.

`Predictor.answer` goes from the bytes of a request to the bytes of its answer and knows nothing of HTTP
servers, so that every way in (BentoML's, a faster one, a test) gives the same answers.
"""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from . import cpu
from .encode import without_batch, write_answer
from .spec import FILE, ServiceSpec, SpecError, TensorSpec
from .validate import Array, BadInput, read_request

log = logging.getLogger("mdeploy_serving")


@dataclass(frozen=True, slots=True)
class Answer:
    """An HTTP status and a JSON body."""

    status: int
    body: bytes


class Predictor:
    """An ONNX model in memory, warmed on construction. Threads may share it.

    Raises `SpecError` where the model's inputs are not those of the spec, and onnxruntime's own
    errors for a file that is no model.
    """

    def __init__(self, folder: Path, spec: ServiceSpec) -> None:
        self.spec = spec
        self._session = _session(folder / spec.model)
        self._outputs = [output.name for output in spec.outputs]
        self._check_names()
        self._warm()

    def answer(self, body: bytes) -> Answer:
        """Answer a request's body: 200 with the outputs, or 400 that says what is wrong with it.

        A model that fails on valid input raises: that is the server's error, not the client's.
        """
        try:
            inputs = read_request(self.spec, body)
        except BadInput as bad:
            return Answer(400, json.dumps(bad.as_json()).encode())
        outputs = self.run(inputs.arrays)
        if inputs.single:
            outputs = {
                output.name: without_batch(
                    outputs[output.name], batched=output.batched or output.shape is None
                )
                for output in self.spec.outputs
            }
        return Answer(200, write_answer(outputs))

    def run(self, arrays: Mapping[str, Array]) -> dict[str, object]:
        """The model's outputs by name for inputs that match the signature."""
        return dict(zip(self._outputs, self._session.run(self._outputs, dict(arrays)), strict=True))

    def _check_names(self) -> None:
        for kind, said, real in (
            ("inputs", self.spec.inputs, self._session.get_inputs()),
            ("outputs", self.spec.outputs, self._session.get_outputs()),
        ):
            named, known = {tensor.name for tensor in said}, {node.name for node in real}
            if named - known or (kind == "inputs" and known - named):
                raise SpecError(
                    f"{FILE}: {kind} {sorted(named)} are not those of {self.spec.model}: {sorted(known)}"
                )

    def _warm(self) -> None:
        """Run once, so that no user waits for what the first run allocates.

        The values are made up: a model that refuses them may still be in order, so we only say so.
        """
        try:
            self.run({tensor.name: _made_up(tensor) for tensor in self.spec.inputs})
        except Exception as error:  # noqa: BLE001  # any kernel may object to made-up values
            log.warning("the warm-up with made-up values failed, the first request will be slow: %s", error)


def _made_up(tensor: TensorSpec) -> Array:
    """One sample of the smallest allowed values; free dimensions have size 1."""
    shape = tuple(size if isinstance(size, int) else 1 for size in tensor.shape or ())
    if tensor.dtype == "string":
        return np.full(shape, "", dtype=object)
    lowest = 0 if tensor.minimum is None else tensor.minimum
    highest = lowest if tensor.maximum is None else tensor.maximum
    return np.full(shape, min(max(0, lowest), highest), dtype=tensor.dtype)


def _session(path: Path) -> Any:
    """An onnxruntime session. It never phones home, and idle threads sleep rather than spin.

    Several revisions share a machine: a spinning pool would take the processors from its neighbours.
    """
    os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
    import onnxruntime  # after the line above, and only where a model is loaded

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = cpu.threads()
    options.inter_op_num_threads = 1
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.log_severity_level = 3
    return onnxruntime.InferenceSession(os.fspath(path), options, providers=["CPUExecutionProvider"])
