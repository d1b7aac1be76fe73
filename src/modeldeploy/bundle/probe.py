"""Loads one ONNX model and prints its signature as JSON. Runs as a child process that may crash.

``python -m modeldeploy.bundle.probe MODEL SECONDS``
"""

from __future__ import annotations

import json
import os
import resource
import sys
from pathlib import Path
from typing import Any

DTYPES = {
    "tensor(bool)": "bool",
    "tensor(double)": "float64",
    "tensor(float)": "float32",
    "tensor(float16)": "float16",
    "tensor(string)": "string",
    **{f"tensor({sign}int{bits})": f"{sign}int{bits}" for sign in ("", "u") for bits in (8, 16, 32, 64)},
}
RANGES = "mdeploy.ranges"
_GIB = 1 << 30


def main() -> None:
    """Print one line: the signature, or ``{"error": why}``."""
    model, seconds = Path(sys.argv[1]), int(sys.argv[2])
    _limit(model, seconds)
    try:
        answer = signature_of(model)
    except Exception as error:  # noqa: BLE001  # whatever the runtime says is the answer
        answer = {"error": _reason(model, error)}
    print(json.dumps(answer))  # noqa: T201  # stdout is this program's interface


def signature_of(model: Path) -> dict[str, Any]:
    """Inputs and outputs as JSON values; ``tensor`` tells whether it is a tensor of a plain type."""
    import onnxruntime  # heavy, and this process alone may load it

    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 4
    options.enable_cpu_mem_arena = False
    options.add_session_config_entry("session.disable_prepacking", "1")  # it would hold the weights twice
    session = onnxruntime.InferenceSession(str(model), options, providers=["CPUExecutionProvider"])
    ranges = _ranges(session.get_modelmeta().custom_metadata_map.get(RANGES, "{}"))
    return {
        "inputs": [_described(value, ranges) for value in session.get_inputs()],
        "outputs": [_described(value, {}) for value in session.get_outputs()],
    }


def _described(value: Any, ranges: dict[str, Any]) -> dict[str, Any]:
    low, high = ranges.get(value.name, (None, None))
    dtype = DTYPES.get(value.type)
    return {
        "name": value.name,
        "dtype": dtype or _plain(value.type),
        "tensor": dtype is not None,
        "shape": [_dimension(size) for size in value.shape] if dtype and value.shape is not None else None,
        "minimum": low,
        "maximum": high,
    }


def _plain(kind: str) -> str:
    """ONNX Runtime's name for a type in numpy's words: ``seq(map(int64,tensor(float)))`` and the like."""
    kind = kind.replace("seq(", "sequence(")
    for theirs, ours in DTYPES.items():
        kind = kind.replace(theirs, ours)
    return kind


def _dimension(size: int | str | None) -> int | str | None:
    free = size is None or size == "" or (isinstance(size, int) and size < 0)
    return None if free else size


def _ranges(text: str) -> dict[str, tuple[float | None, float | None]]:
    """The metadata ``{"pixels": [0, 16]}``: lowest and highest value per input, null for an open end."""
    try:
        pairs = json.loads(text)
        return {name: (_bound(low), _bound(high)) for name, (low, high) in pairs.items()}
    except (ValueError, TypeError, AttributeError) as error:
        example = '{"input": [0, 16]}'
        raise ValueError(
            f"its metadata '{RANGES}' must be JSON such as {example}, not {text[:80]!r}"
        ) from error


def _bound(value: float | None) -> float | None:
    return None if value is None else float(value)


def _reason(model: Path, error: Exception) -> str:
    text = " ".join(str(error).split()).replace(str(model), model.name)
    return text.removeprefix("[ONNXRuntimeError] : ")[:500] or type(error).__name__


def _limit(model: Path, seconds: int) -> None:
    """Bound processor time and memory: enough for any honest model, not for all of the machine."""
    os.umask(0o077)
    room = 8 * _GIB + 6 * sum(entry.stat().st_size for entry in model.parent.glob(f"{model.name}*"))
    for kind, amount in (
        (resource.RLIMIT_CPU, seconds),
        (resource.RLIMIT_AS, room),
        (resource.RLIMIT_CORE, 0),
    ):
        try:
            resource.setrlimit(kind, (amount, amount))
        except (ValueError, OSError):
            continue  # lower already, or this system does not let it be set


if __name__ == "__main__":
    main()
