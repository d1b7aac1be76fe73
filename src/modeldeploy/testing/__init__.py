"""For those who write drivers: a fake target, the contract to pass, and crash points. Needs pytest.

docs/how-to/write-a-target-driver.md shows how they are used.
"""

import pytest

pytest.register_assert_rewrite("modeldeploy.testing.contract")

from modeldeploy.testing.clock import FakeClock
from modeldeploy.testing.contract import TargetContract
from modeldeploy.testing.crash import CrashPoints, SimulatedCrash
from modeldeploy.testing.fake import FakeTarget
from modeldeploy.testing.place import Place
from modeldeploy.testing.revision import Behaviour
from modeldeploy.testing.world import FakeWorld, InvariantBroken

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
