"""The environment in which models get other forms: ONNX's tools beside the bundle's own ONNX Runtime."""

from __future__ import annotations

import tempfile
from pathlib import Path

from modeldeploy import files, shell
from modeldeploy.bundle import uvtool
from modeldeploy.bundle.environment import Environment
from modeldeploy.bundle.manifest import canonical
from modeldeploy.errors import BundleError
from modeldeploy.events import Emit
from modeldeploy.measure.contest import LIMIT, Samples, environment
from modeldeploy.oci.descriptor import digest_of

WANTED = ("onnx>=1.17,<2", "packaging>=24")
"""Beside ONNX Runtime, whose quantiser and fp16 converter need them."""
_CACHE = "optimize-1"
KINDS = {"int8-dynamic": "int8, dynamic", "int8-static": "int8, calibrated", "fp16": "fp16"}
"""Forms that are tried, with their names for people."""


def prepare(python: str, onnxruntime: str, emit: Emit) -> Environment:
    """The environment for a Python and an ONNX Runtime, made unless it is there. Raises `BundleError`."""
    pinned = f"onnxruntime=={onnxruntime}" if onnxruntime else "onnxruntime>=1.20,<2"
    requirements = [pinned, *WANTED]
    key = digest_of(canonical([python, *requirements])).removeprefix("sha256:")
    kept = files.home() / "cache" / _CACHE / f"{key}.txt"
    try:
        lock = kept.read_text()
    except OSError:
        lock = _compiled(python, requirements)
        files.private(kept.parent)
        files.write_atomic(kept, lock.encode())
    made = Environment.for_lock(lock, python)
    made.create(emit)
    return made


def _compiled(python: str, requirements: list[str]) -> str:
    with tempfile.TemporaryDirectory(prefix="mdeploy-lock-") as folder:
        output = Path(folder) / "lock.txt"
        arguments = [
            *("pip", "compile", "-", "--quiet", "--generate-hashes", "--python-version", python),
            *("--output-file", str(output), "--no-header", "--no-annotate", "--no-emit-index-url"),
        ]
        wanted = "\n".join(requirements).encode()
        uvtool.run(arguments, doing="locking ONNX's tools", cwd=Path(folder), stdin=wanted)
        return output.read_text()


def make(kind: str, model: Path, output: Path, samples: Samples, python: Path) -> None:
    """Write a model in another form. Raises `BundleError` with the tools' reason."""
    import json

    job = output.with_suffix(".json")
    told = {"kind": kind, "model": str(model), "output": str(output), "seconds": LIMIT}
    job.write_text(json.dumps({**told, "samples": samples.to_json()}))
    program = Path(__file__).with_name("forms_child.py")
    try:
        command = ["env", "-i", *(f"{name}={value}" for name, value in environment().items())]
        done = shell.run(
            [*command, str(python), "-I", "-B", str(program), str(job)], timeout=LIMIT, cwd=output.parent
        )
    except shell.ToolFailed as error:
        raise BundleError(f"its maker failed: {error.message}", details=error.details) from error
    answer = json.loads(done.output.splitlines()[-1])
    if "error" in answer:
        raise BundleError(answer["error"])
