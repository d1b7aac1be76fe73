"""Makes another form of an ONNX model. Runs as a child process that may crash, in an environment with ONNX.

``python -I forms_child.py JOB``; prints one line, ``{}`` or ``{"error": why}``. Imports nothing of mdeploy.
"""

from __future__ import annotations

import json
import resource
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

_GIB = 1 << 30
_WHOLE = 1_900_000_000
"""Bytes. A model that is one file has less than two gigabytes."""
_LONGEST = 300
"""Characters of what a tool says."""
_MARKS = ("Quantize", "Integer", "QLinear")


def main() -> None:
    """Make the form that the job names."""
    job = json.loads(Path(sys.argv[1]).read_bytes())
    limit(Path(job["model"]), job["seconds"])
    try:
        make(job["kind"], Path(job["model"]), Path(job["output"]), job["samples"])
        answer = {}
    except Exception as error:  # noqa: BLE001  # whatever the tools say is the answer
        answer = {"error": _reason(error)}
    print(json.dumps(answer))  # noqa: T201  # stdout is this program's interface


def _reason(error: Exception) -> str:
    text = " ".join(str(error).split()).rstrip(".") or type(error).__name__
    text = text if len(text) <= _LONGEST else f"{text[:_LONGEST]}..."
    return "it has no operators that can be made int8" if "ai.onnx domain" in text else text


def make(kind: str, model: Path, output: Path, samples: dict[str, Any]) -> None:
    """Write the model in another form. Raises whatever ONNX's tools raise."""
    if sum(entry.stat().st_size for entry in model.parent.glob(f"{model.name}*")) > _WHOLE:
        raise ValueError("it has two gigabytes or more, which no single .onnx file can hold")
    {"int8-dynamic": _dynamic, "int8-static": _static, "fp16": _half}[kind](model, output, samples)


def _dynamic(model: Path, output: Path, _samples: dict[str, Any]) -> None:
    from onnxruntime.quantization import QuantType, quantize_dynamic

    # Unsigned weights give the same answers on processors with and without instructions for int8.
    _quantised(model, output, lambda source: quantize_dynamic(source, output, weight_type=QuantType.QUInt8))


def _static(model: Path, output: Path, samples: dict[str, Any]) -> None:
    from onnxruntime.quantization import QuantFormat, QuantType, quantize_static

    options = {
        "quant_format": QuantFormat.QDQ,
        "per_channel": True,
        "reduce_range": True,  # with 7 bits no sum overflows on processors without instructions for int8
        "activation_type": QuantType.QUInt8,
        "weight_type": QuantType.QInt8,
        # The adjustment compares an array where weights have a scale per channel, and fails (1.32).
        "extra_options": {"QDQDisableWeightAdjustForInt32Bias": True},
    }
    _quantised(
        model, output, lambda source: quantize_static(source, output, _Calibration(samples), **options)
    )


def _half(model: Path, output: Path, _samples: dict[str, Any]) -> None:
    import onnx
    from onnxruntime.transformers.float16 import convert_float_to_float16

    before = onnx.load(model)
    after = convert_float_to_float16(before, keep_io_types=True)
    if not any(each.data_type == onnx.TensorProto.FLOAT16 for each in after.graph.initializer):
        raise ValueError("nothing in it can be made fp16")
    onnx.save(after, output)


def _quantised(model: Path, output: Path, quantise: Callable[[Path], object]) -> None:
    """Quantise the model as ONNX Runtime rewrites it; where the quantiser fails on that, as it was written.

    The rewriting may take out a cast from which ONNX knows a type: the one after a scikit-learn scaler, say.
    """
    try:
        quantise(_prepared(model, output, rewritten=True))
    except RuntimeError:
        quantise(_prepared(model, output, rewritten=False))
    _insist_on_change(output)


def _prepared(model: Path, output: Path, *, rewritten: bool) -> Path:
    """The model with its shapes worked out; as it is where that fails."""
    from onnxruntime.quantization.shape_inference import quant_pre_process

    prepared = output.with_suffix(".prepared.onnx")
    try:
        quant_pre_process(model, prepared, skip_symbolic_shape=True, skip_optimization=not rewritten)
    except Exception:  # noqa: BLE001  # a help for the quantiser, not a condition
        return model
    return prepared


def _insist_on_change(output: Path) -> None:
    import onnx

    nodes = onnx.load(output, load_external_data=False).graph.node
    if not any(mark in node.op_type for node in nodes for mark in _MARKS):
        raise ValueError("nothing in it can be made int8")


class _Calibration:
    """Gives the golden inputs one after the other: what ranges are learned from."""

    def __init__(self, samples: dict[str, Any]) -> None:
        self._feeds = feeds(samples)

    def get_next(self) -> dict[str, Any] | None:
        """The next inputs by name, None at the end."""
        return next(self._feeds, None)


def feeds(samples: dict[str, Any], rows: int = 1) -> Any:
    """The golden inputs as a model takes them, so many rows at a time where they can be stacked."""
    import numpy as np

    with np.load(samples["path"], allow_pickle=False) as content:
        inputs = {name[6:]: content[name] for name in content.files if name.startswith("input/")}
    inputs = {name: each.astype(object) if each.dtype.kind in "US" else each for name, each in inputs.items()}
    total = min(len(each) for each in inputs.values())
    step = rows if samples["stacked"] else 1
    for at in range(0, total, step):
        pick: Any = slice(at, at + step) if samples["stacked"] else at
        yield {name: each[pick] for name, each in inputs.items()}


def limit(model: Path, seconds: int) -> None:
    """Bound processor time and memory: enough for any honest model, not for all of the machine."""
    room = 8 * _GIB + 12 * sum(entry.stat().st_size for entry in model.parent.glob(f"{model.name}*"))
    bounds = ((resource.RLIMIT_CPU, seconds), (resource.RLIMIT_AS, room), (resource.RLIMIT_CORE, 0))
    for kind, amount in bounds:
        try:
            resource.setrlimit(kind, (amount, amount))
        except (ValueError, OSError):
            continue  # lower already, or this system does not let it be set


if __name__ == "__main__":
    main()
