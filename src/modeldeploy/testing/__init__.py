"""For those who write drivers: a fake target, the contract to pass, crash points, and a load of users.

docs/how-to/write-a-target-driver.md shows how they are used. Only the contracts need pytest.
"""

from __future__ import annotations

from modeldeploy.testing.clock import FakeClock
from modeldeploy.testing.crash import CrashPoints, SimulatedCrash
from modeldeploy.testing.fake import FakeTarget
from modeldeploy.testing.place import Place
from modeldeploy.testing.revision import Behaviour
from modeldeploy.testing.world import FakeWorld, InvariantBroken

TYPE_CHECKING = False
if TYPE_CHECKING:
    from modeldeploy.testing.contract import TargetContract
    from modeldeploy.testing.registry import RepositoryContract, Shelf

__all__ = [
    "Behaviour",
    "CrashPoints",
    "FakeClock",
    "FakeTarget",
    "FakeWorld",
    "InvariantBroken",
    "Place",
    "RepositoryContract",
    "Shelf",
    "SimulatedCrash",
    "TargetContract",
]

_CONTRACTS = {"RepositoryContract": "registry", "Shelf": "registry", "TargetContract": "contract"}
"""Names that need pytest, and the modules they are in."""


def __getattr__(name: str) -> object:
    if name not in _CONTRACTS:
        raise AttributeError(f"module 'modeldeploy.testing' has no attribute {name!r}")
    import importlib
    import sys

    import pytest

    module = f"modeldeploy.testing.{_CONTRACTS[name]}"
    if module not in sys.modules:
        pytest.register_assert_rewrite(module)
    return getattr(importlib.import_module(module), name)
