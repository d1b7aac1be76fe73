"""A repository in a folder, and keys that cost no scrypt."""

from pathlib import Path

import pytest

from modeldeploy.registry.base import Repository
from modeldeploy.registry.folder import FolderRegistry
from modeldeploy.signing.signers import LocalSigner
from signing_place import signer


@pytest.fixture
def repository(tmp_path: Path) -> Repository:
    return FolderRegistry(tmp_path / "registry").repository("digits")


@pytest.fixture
def ours() -> LocalSigner:
    return signer("ours.pub")


@pytest.fixture
def theirs() -> LocalSigner:
    return signer("theirs.pub")
