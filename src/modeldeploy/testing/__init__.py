"""For those who write drivers: a fake target, the contract to pass, crash points, and a load of users.

docs/how-to/write-a-target-driver.md shows how they are used. Only `TargetContract` needs pytest.
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

__all__ = [
    "Behaviour",
    "CrashPoints",
    "FakeClock",
    "FakeTarget",
    "FakeWorld",
    "InvariantBroken",
    "Place",
    "SimulatedCrash",
    "TargetContract",
]


def __getattr__(name: str) -> object:
    if name != "TargetContract":
        raise AttributeError(f"module 'modeldeploy.testing' has no attribute {name!r}")
    import pytest

    pytest.register_assert_rewrite("modeldeploy.testing.contract")
    from modeldeploy.testing.contract import TargetContract

    return TargetContract
