"""A user with a project, for each story."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from story_project import Story, share, story


@pytest.fixture(scope="session")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What stories make once: environments and locks. Tests of bundles use the same folder."""
    return tmp_path_factory.getbasetemp() / "bundles"


@pytest.fixture
def user(tmp_path: Path, home: Path, shared: Path) -> Iterator[Story]:
    """A user in a folder of his own; what he leaves running is ended."""
    with story(tmp_path / "project", home, shared) as user:
        share(home, shared)
        yield user
