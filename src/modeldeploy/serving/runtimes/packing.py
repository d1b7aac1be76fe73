"""Write a model in the form that workers share: ``python -P packing.py MODEL PLACE LEVEL``.

A program of its own, because it takes several times the model's memory, which a worker would keep.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path


def main(model: str, place: str, level: str) -> None:
    """Let onnxruntime write the model with its packed weights in a file beside it."""
    os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
    import onnxruntime  # after the line above

    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = getattr(onnxruntime.GraphOptimizationLevel, level)
    options.optimized_model_filepath = place
    options.log_severity_level = 3
    for name, value in (
        ("optimized_model_external_initializers_file_name", f"{Path(place).name}.data"),
        ("optimized_model_external_initializers_min_size_in_bytes", "1024"),
        ("save_external_prepacked_constant_initializers", "1"),
    ):
        options.add_session_config_entry(f"session.{name}", value)
    onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])


if __name__ == "__main__":
    main(*sys.argv[1:])
