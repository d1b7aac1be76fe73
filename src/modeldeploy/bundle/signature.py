"""A model's signature: its typed inputs and outputs, read without letting the file near mdeploy.

Reading happens in a child process (`modeldeploy.bundle.probe`), so that a model that makes ONNX Runtime
crash, hang or eat all memory ends as a sentence.
"""

from __future__ import annotations

import json
import signal
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from modeldeploy import shell
from modeldeploy.errors import BundleError

PROBE_SECONDS = 120.0
_LONGEST_NAME = 200


@dataclass(frozen=True, slots=True)
class TensorSpec:
    """One input or output: ``dtype`` as numpy names it (text: ``string``), ``shape`` with free dimensions.

    A dimension is a number, or a name or None where the model leaves it free; a shape of None means any
    rank. An output that is no tensor has its whole type as ``dtype``: ``sequence(map(int64,float32))``.
    ``minimum`` and ``maximum`` bound the values of an input whose range the model's metadata tells; with
    ``nan`` its values may be missing, which NaN says. None of it, in what the project says: as the file says.
    """

    name: str
    dtype: str
    shape: tuple[int | str | None, ...] | None
    minimum: float | None = None
    maximum: float | None = None
    nan: bool | None = False

    def __str__(self) -> str:
        if self.shape is None:
            return f"{self.name}: {self.dtype}"
        dims = ", ".join("?" if size is None else str(size) for size in self.shape)
        return f"{self.name}: {self.dtype}[{dims}]"

    @property
    def batched(self) -> bool:
        """True if the first dimension is free, so that samples can be stacked along it."""
        return bool(self.shape) and not isinstance((self.shape or (0,))[0], int)

    @property
    def is_tensor(self) -> bool:
        """False for sequences and maps."""
        return "(" not in self.dtype

    def to_json(self) -> dict[str, object]:
        """JSON values; bounds only where there are any."""
        bounds = {"minimum": self.minimum, "maximum": self.maximum, "nan": self.nan or None}
        known = {name: value for name, value in bounds.items() if value is not None}
        shape = None if self.shape is None else list(self.shape)
        return {"name": self.name, "dtype": self.dtype, "shape": shape, **known}

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> TensorSpec:
        """Reads what `to_json` wrote."""
        shape = value["shape"]
        return cls(
            name=str(value["name"]),
            dtype=str(value["dtype"]),
            shape=None if shape is None else tuple(shape),
            minimum=value.get("minimum"),
            maximum=value.get("maximum"),
            nan=bool(value.get("nan")),
        )


@dataclass(frozen=True, slots=True)
class Signature:
    """What a model takes and gives, in the model's own order."""

    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]

    def to_json(self) -> dict[str, object]:
        """JSON values: ``{"inputs": [...], "outputs": [...]}``."""
        return {
            "inputs": [spec.to_json() for spec in self.inputs],
            "outputs": [spec.to_json() for spec in self.outputs],
        }

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Signature:
        """Reads what `to_json` wrote."""
        return cls(
            inputs=tuple(TensorSpec.from_json(spec) for spec in value["inputs"]),
            outputs=tuple(TensorSpec.from_json(spec) for spec in value["outputs"]),
        )


class Unusual(BundleError):
    """The model loads, but its inputs are not such that mdeploy could make a service for them."""


def read(model: Path) -> Signature:
    """The signature of an ONNX model.

    Raises `BundleError` for a model that ONNX Runtime does not load, `Unusual` for inputs other than
    tensors.
    """
    return _checked(model, _probe(model))


def _probe(model: Path) -> dict[str, Any]:
    command = [sys.executable, "-P", "-m", "modeldeploy.bundle.probe", str(model), str(int(PROBE_SECONDS))]
    env = {"ORT_DISABLE_TELEMETRY": "1", "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
    try:
        done = shell.run(command, env=env, timeout=PROBE_SECONDS)
    except shell.ToolFailed as error:
        raise BundleError(
            f"{model.name} could not be read: {how_it_ended('ONNX Runtime', PROBE_SECONDS, error)}",
            hint="export the model again; does it load with onnxruntime.InferenceSession?",
            details=error.details,
        ) from error
    answer: dict[str, Any] = json.loads(done.output.splitlines()[-1])
    if "error" in answer:
        raise BundleError(
            f"{model.name} does not load: {answer['error']}",
            hint="check it where it was made: python -m onnx.checker, or onnxruntime.InferenceSession",
        )
    return answer


def how_it_ended(who: str, seconds: float, error: shell.ToolFailed) -> str:
    """Why a child process has nothing to say of a model: ``who`` is what read it there."""
    if error.completed is None:
        return f"{who} did not load it within {seconds:g} s"
    if error.completed.code < 0:
        try:
            name = signal.Signals(-error.completed.code).name
        except ValueError:
            name = f"signal {-error.completed.code}"
        return f"it makes {who} crash ({name})"
    return f"its reader ended with code {error.completed.code}"


def _checked(model: Path, answer: Mapping[str, Any]) -> Signature:
    for kind in ("inputs", "outputs"):
        if not answer[kind]:
            raise Unusual(f"{model.name} has no {kind}", hint=f"export it with at least one of its {kind}")
        for spec in answer[kind]:
            _check_text(
                model, kind, [spec["name"], *(size for size in spec["shape"] or () if isinstance(size, str))]
            )
    for spec in answer["inputs"]:
        if not spec["tensor"]:
            raise Unusual(
                f"{model.name}: input '{spec['name']}' is {spec['dtype']}; only plain tensors are served",
                hint="export the model with tensors, or write your own service (service.entrypoint)",
            )
    return Signature.from_json(answer)


def _check_text(model: Path, kind: str, names: Sequence[str]) -> None:
    for name in names:
        if not name.isprintable() or not 0 < len(name) <= _LONGEST_NAME:
            raise Unusual(
                f"{model.name}: a name among its {kind} is empty, too long or not printable: {name[:40]!r}",
                hint="give inputs and outputs plain names when exporting the model",
            )
