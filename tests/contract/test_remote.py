"""The client of the distribution protocol keeps the contract, on a real registry with and without deletes."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest

from modeldeploy.registry.remote import RemoteRegistry
from modeldeploy.registry.remote.uploads import PIECE
from modeldeploy.testing.registry import RepositoryContract, Shelf
from registry_place import Place, registry


def falsify(place: Place, name: str, digest: str, content: bytes) -> None:
    """Replace what the registry has on its disk; it trusts its disk."""
    del name
    hexadecimal = digest.removeprefix("sha256:")
    path = place.folder / f"docker/registry/v2/blobs/sha256/{hexadecimal[:2]}/{hexadecimal}/data"
    assert path.exists()
    path.write_bytes(content)


def shelf_of(place: Place) -> Shelf:
    return Shelf(partial(RemoteRegistry, place.url), part=PIECE, falsify=partial(falsify, place))


class TestRemote(RepositoryContract):
    @pytest.fixture
    def shelf(self, tmp_path: Path) -> Iterator[Shelf]:
        with registry(tmp_path / "registry") as place:
            yield shelf_of(place)


class TestRemoteThatDoesNotDelete(RepositoryContract):
    @pytest.fixture
    def shelf(self, tmp_path: Path) -> Iterator[Shelf]:
        with registry(tmp_path / "registry", deletes=False) as place:
            yield shelf_of(place)
