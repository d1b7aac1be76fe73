"""Fixtures for what runs inside a bundle."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import uv

from modeldeploy import files, serving
from serving_place import DIGITS, OWN_SERVICE, REQUIREMENTS, TEMPLATE, Start, Worker, build_bento


@pytest.fixture(scope="session")
def python() -> Path:
    """The interpreter of an environment with what bundles hold; made once and kept between runs."""
    cache = Path(os.environ.get("MDEPLOY_TEST_CACHE") or Path.home() / ".cache" / "mdeploy-tests")
    env = cache / f"serving-{sys.version_info.major}.{sys.version_info.minor}"
    wanted = "\n".join(REQUIREMENTS)
    cache.mkdir(parents=True, exist_ok=True)
    with files.locked(cache / f"{env.name}.lock"):
        if not (env / "ready").exists() or (env / "ready").read_text() != wanted:
            run: list[str | Path] = [uv.find_uv_bin(), "--quiet"]
            subprocess.run([*run, "venv", "--clear", "--python", sys.executable, env], check=True)
            install = [*run, "pip", "install", "--compile-bytecode", "--python", env / "bin" / "python"]
            subprocess.run([*install, *REQUIREMENTS], check=True)
            (env / "ready").write_text(wanted)
    return env / "bin" / "python"


@pytest.fixture(scope="session")
def digits(python: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The template's model as a Bento, on a path with a space and letters that are not ASCII."""
    folder = tmp_path_factory.mktemp("digits")
    source = folder / "source"
    source.mkdir()
    shutil.copy(TEMPLATE / "model.onnx", source)
    (source / "mdeploy_service.py").write_text(serving.SERVICE)
    (source / "mdeploy_service.json").write_text(json.dumps(DIGITS))
    return build_bento(python, source, "mdeploy_service:service", folder / "bündel mit Raum")


@pytest.fixture(scope="session")
def own(python: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A user's own BentoML service as a Bento."""
    folder = tmp_path_factory.mktemp("own")
    source = folder / "source"
    source.mkdir()
    (source / "own_service.py").write_text(OWN_SERVICE)
    (source / "greeting.txt").write_text("grüß Gott,", encoding="utf-8")
    return build_bento(python, source, "own_service:Own", folder / "bundle")


@pytest.fixture
def start(python: Path, tmp_path: Path) -> Iterator[Start]:
    """Start workers in a folder of the test; those still running at its end are killed."""
    workers: list[Worker] = []

    def begin(bundle: Path, *options: str, **env: str) -> Worker:
        workers.append(Worker(python, bundle, tmp_path, *options, **env))
        return workers[-1]

    yield begin
    for worker in workers:
        worker.process.kill()
        worker.process.wait()
