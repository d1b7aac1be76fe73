"""Records to write down, and a repository to keep them in."""

from __future__ import annotations

import pytest

from memory_registry import MemoryRepository
from modeldeploy.audit.log import Log


@pytest.fixture
def repository() -> MemoryRepository:
    return MemoryRepository()


@pytest.fixture
def log(repository: MemoryRepository) -> Log:
    return Log(repository, "digits")
