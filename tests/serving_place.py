"""Real Bentos, and workers that serve them as a bundle's environment would run them."""

from __future__ import annotations

import http.client
import json
import os
import shutil
import socket
import subprocess
import time
from pathlib import Path
from typing import Any, Protocol

import pytest
import uv

from modeldeploy import serving

REQUIREMENTS = ("bentoml>=1.4.39,<1.5", "httptools", "onnxruntime>=1.20,<2", "orjson>=3.10,<4", "uvloop")
ROOT = Path(__file__).parents[1]
TEMPLATE = ROOT / "templates" / "onnx"

_TENSORS: dict[str, Any] = {
    "inputs": [{"name": "image", "dtype": "float32", "shape": ["batch", 64], "minimum": 0, "maximum": 16}],
    "outputs": [
        {"name": "digit", "dtype": "int64", "shape": ["batch"]},
        {"name": "probability", "dtype": "float32", "shape": ["batch", 10]},
    ],
}
DIGITS: dict[str, Any] = {
    "format": 2,
    "name": "digits",
    **_TENSORS,
    "models": {"digits": {"framework": "onnx", "path": "model.onnx", **_TENSORS}},
}

OWN_SERVICE = """
import logging
import os
import time

import bentoml


@bentoml.service(name="own", threads=4)
class Own:
    def __init__(self):
        self.greeting = open("greeting.txt", encoding="utf-8").read()
        print("printed", self.greeting)
        time.sleep(float(os.environ.get("SLEEP", "0")))

    @bentoml.api
    def greet(self, name: str) -> dict[str, str]:
        logging.getLogger("own").info("asked\\nby %s", name)
        return {"answer": f"{self.greeting} {name}"}

    @bentoml.api
    def wait(self, seconds: float) -> float:
        time.sleep(seconds)
        return seconds

    @bentoml.api
    def fail(self) -> int:
        raise RuntimeError("the model is broken")
"""


def build_bento(python: Path, source: Path, service: str, bundle: Path) -> Path:
    """Let BentoML itself build a Bento from a folder, and put it where the caller wants it."""
    shutil.copytree(
        Path(serving.__file__).parent,
        source / "mdeploy_serving",
        ignore=shutil.ignore_patterns("__pycache__"),
    )
    (source / "bentofile.yaml").write_text(
        f"service: {service}\nname: bundle\ninclude: ['*']\npython: {{lock_packages: false}}\n"
    )
    env = {**os.environ, "BENTOML_HOME": str(source.parent / "bentoml"), "BENTOML_DO_NOT_TRACK": "True"}
    # With uv in sight, or BentoML would install one.
    env["PATH"] = f"{Path(uv.find_uv_bin()).parent}{os.pathsep}{env['PATH']}"
    build: list[str | Path] = [python.with_name("bentoml"), "build", "--version", "1", "--output", "tag", "."]
    subprocess.run(build, cwd=source, env=env, check=True, capture_output=True)
    shutil.move(source.parent / "bentoml" / "bentos" / "bundle" / "1", bundle)
    return bundle


class _UnixConnection(http.client.HTTPConnection):
    def __init__(self, path: Path) -> None:
        super().__init__("worker", timeout=30)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(30)
        self.sock.connect(str(self._path))


class Worker:
    """A worker process and the way to ask it something."""

    def __init__(self, python: Path, bundle: Path, folder: Path, *options: str, **env: str) -> None:
        self.socket = folder / "w.sock"
        self._log = folder / "log"
        clean = {name: os.environ[name] for name in ("PATH", "LANG") if name in os.environ}
        clean |= {
            "HOME": "/dev/null/no-home",
            "PYTHONPATH": str(bundle / "src"),
            "PYTHONDONTWRITEBYTECODE": "1",
        }
        with self._log.open("wb") as log:
            self.process = subprocess.Popen(
                [python, "-m", "mdeploy_serving.worker", "--socket", self.socket, *options],
                cwd=folder,
                env={**clean, **env},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )

    @property
    def log(self) -> str:
        return self._log.read_text()

    def ready(self) -> Worker:
        """Wait until it accepts; fail with its log if it ends before."""
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline and self.process.poll() is None:
            try:
                assert self.get("/readyz")[0] == 200
            except OSError:
                time.sleep(0.02)
            else:
                return self
        pytest.fail(f"the worker did not become ready:\n{self.log}")

    def connection(self) -> http.client.HTTPConnection:
        return _UnixConnection(self.socket)

    def get(self, path: str) -> tuple[int, Any]:
        return self._ask("GET", path, None)

    def post(self, path: str, value: object) -> tuple[int, Any]:
        return self._ask("POST", path, value if isinstance(value, bytes) else json.dumps(value).encode())

    def _ask(self, method: str, path: str, body: bytes | None) -> tuple[int, Any]:
        connection = self.connection()
        try:
            connection.request(method, path, body, {"content-type": "application/json"})
            answer = connection.getresponse()
            content = answer.read()
        finally:
            connection.close()
        kind = answer.headers.get("content-type", "")
        return answer.status, json.loads(content) if "json" in kind else content

    def stop(self) -> int:
        """SIGTERM, and the exit code."""
        self.process.terminate()
        return self.process.wait(timeout=60)


class Start(Protocol):
    """Starts a worker for a bundle, with options and environment variables; killed at the test's end."""

    def __call__(self, bundle: Path, *options: str, **env: str) -> Worker: ...
