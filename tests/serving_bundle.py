"""A bundle without its Bento, and workers that serve it from the environment of the tests: quick to make."""

from __future__ import annotations

import json
import re
import shutil
import sys
from pathlib import Path
from typing import Any

from modeldeploy import serving
from serving_place import DIGITS, TEMPLATE, Worker

VERSION = "1.2.0"
SLOW = """
import time


class Slow:
    def load(self, path):
        pass

    def predict(self, arrays):
        image = arrays["image"]
        if image.max() == 13:
            raise RuntimeError("thirteen\\nis {bad}")
        time.sleep({2: 0.2, 5: 2.0}.get(float(image.flat[-1]), 0.0))
        return {"digit": image.argmax(axis=1)}
"""


def plain_bundle(folder: Path, **changes: Any) -> Path:
    """The digits model as a bundle; ``changes`` go into its mdeploy_service.json."""
    source = folder / "src"
    shutil.copytree(
        Path(serving.__file__).parent,
        source / "mdeploy_serving",
        ignore=shutil.ignore_patterns("__pycache__"),
    )
    shutil.copy(TEMPLATE / "model.onnx", source)
    (source / "mdeploy_service.json").write_text(json.dumps({**DIGITS, "protocols": ["grpc"], **changes}))
    (folder / "mdeploy.json").write_text(json.dumps({"name": "digits", "version": VERSION}))
    return folder


def slow_bundle(folder: Path) -> Path:
    """One whose model sleeps 0.2 s for a last pixel of 2, 2 s for one of 5, and fails on 13."""
    tensors = {"inputs": DIGITS["inputs"], "outputs": DIGITS["outputs"][:1]}
    model = {"framework": "python", "path": "slow.py", "options": {"class": "slow:Slow"}, **tensors}
    plain_bundle(folder, models={"digits": model}, **tensors)
    (folder / "src" / "slow.py").write_text(SLOW)
    return folder


def started(bundle: Path, folder: Path, *options: str, **env: str) -> Worker:
    """A worker, ready, that speaks gRPC on a port of its own choice."""
    worker = Worker(Path(sys.executable), bundle, folder, "--grpc-port", "0", *options, **env)
    return worker.ready()


def grpc_address(worker: Worker) -> str:
    """Where it speaks gRPC."""
    found = re.search(r"gRPC on port (\d+)", worker.log)
    assert found, worker.log
    return f"127.0.0.1:{found[1]}"


def lines(worker: Worker) -> list[dict[str, Any]]:
    """What it logged."""
    return [json.loads(line) for line in worker.log.splitlines()]
