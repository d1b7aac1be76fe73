"""A folder keeps the contract of registries."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import pytest

from modeldeploy.registry.folder import FolderRegistry
from modeldeploy.testing import RepositoryContract, Shelf


@pytest.fixture
def shelf(tmp_path: Path) -> Shelf:
    root = tmp_path / "mít mezerou" / "registry"

    def falsify(name: str, digest: str, content: bytes) -> None:
        path = root / name / "blobs" / digest.replace(":", "/")
        path.unlink()
        path.write_bytes(content)

    return Shelf(open=partial(FolderRegistry, root), falsify=falsify)


class TestFolder(RepositoryContract):
    """All tests come from the contract."""
