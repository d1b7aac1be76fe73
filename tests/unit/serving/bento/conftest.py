"""A module with many services, built into a Bento once, and each served twice."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from bento_place import Both, both, variant
from serving_place import build_bento


@pytest.fixture(scope="session")
def many_bundle(python: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The Bento, with ``Many`` as its service."""
    folder = tmp_path_factory.mktemp("many")
    source = folder / "source"
    source.mkdir()
    shutil.copy(Path(__file__).parent / "users_services.py", source)
    return build_bento(python, source, "users_services:Many", folder / "bundle")


@pytest.fixture(scope="session")
def many(python: Path, many_bundle: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Both]:
    folder = tmp_path_factory.mktemp("many") / "run"
    with both(python, many_bundle, folder, MDEPLOY_MAX_BODY_BYTES="3000000") as served:
        yield served


@pytest.fixture(scope="session")
def guarded(python: Path, many_bundle: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Both]:
    folder = tmp_path_factory.mktemp("guarded")
    bundle = variant(many_bundle, "Guarded", "guarded", folder / "bundle")
    with both(python, bundle, folder / "run") as served:
        yield served


@pytest.fixture(scope="session")
def strict(python: Path, many_bundle: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Both]:
    folder = tmp_path_factory.mktemp("strict")
    with both(python, variant(many_bundle, "Strict", "strict", folder / "bundle"), folder / "run") as served:
        yield served


@pytest.fixture(scope="session")
def crowded(python: Path, many_bundle: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Both]:
    folder = tmp_path_factory.mktemp("crowded")
    bundle = variant(many_bundle, "Crowded", "crowded", folder / "bundle")
    with both(python, bundle, folder / "run") as served:
        yield served
