"""Fixtures for what runs inside a bundle."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from cached_environment import cached_environment
from modeldeploy import serving
from serving_place import DIGITS, OWN_SERVICE, REQUIREMENTS, TEMPLATE, Start, Worker, build_bento


@pytest.fixture(scope="session")
def python() -> Path:
    """The interpreter of an environment with what bundles hold; made once and kept between runs."""
    return cached_environment("serving", REQUIREMENTS)


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
