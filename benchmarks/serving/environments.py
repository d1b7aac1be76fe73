"""An environment for each server, made once and kept: their requirements contradict each other."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import uv

_CACHE = Path.home() / ".cache" / "mdeploy-bench"
_ONNX = "onnxruntime>=1.20,<2"
REQUIREMENTS = {
    "bentoml": ("bentoml>=1.4.39,<1.5", _ONNX),
    "starlette": ("starlette<2", "uvicorn<1", "uvloop<1", "httptools<1", "orjson<4", "numpy<3", _ONNX),
    "mlserver": ("mlserver>=1.7,<1.8", _ONNX),
    "litserve": ("litserve>=0.2.16,<0.3", "python-multipart<1", "uvloop<1", "httptools<1", "orjson<4", _ONNX),
    "mlflow": ("mlflow>=3.5,<4", "onnx<2", _ONNX),
}


def environment(name: str) -> Path:
    """The folder with an environment's programs."""
    folder = _CACHE / f"{name}-{sys.version_info.major}.{sys.version_info.minor}"
    wanted = "\n".join(REQUIREMENTS[name])
    ready = folder / "ready"
    if not ready.exists() or ready.read_text() != wanted:
        run = [uv.find_uv_bin(), "--quiet"]
        subprocess.run([*run, "venv", "--clear", "--python", sys.executable, str(folder)], check=True)
        install = [*run, "pip", "install", "--compile-bytecode", "--python", str(folder / "bin/python")]
        subprocess.run([*install, *REQUIREMENTS[name]], check=True)
        ready.write_text(wanted)
    return folder / "bin"
