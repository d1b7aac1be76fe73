"""The fake target keeps the contract, so that what is tested with it holds for real ones."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from fake_place import new_world, place_in
from modeldeploy.testing import Place, TargetContract


@pytest.fixture(scope="module")
def new_place(tmp_path_factory: pytest.TempPathFactory) -> Callable[[], Place]:
    return lambda: place_in(new_world(tmp_path_factory.mktemp("place")))


class TestFakeTarget(TargetContract):
    """All tests come from the contract."""
