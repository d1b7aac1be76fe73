"""Rollouts that the real engine ran on the fake target, as the events that it emitted.

``python tests/cli/scenes.py rejected`` plays one in the live view, for people who work on that view.
"""

from __future__ import annotations

import contextlib
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from modeldeploy.errors import ModelDeployError
from modeldeploy.events import Event
from modeldeploy.model import BundleRef, Gates, Holder, HttpRequest, Policy, RevisionId, RevisionSpec
from modeldeploy.rollout.acts import Call, Verification
from modeldeploy.rollout.engine import Engine
from modeldeploy.testing import Behaviour, FakeClock, FakeTarget, FakeWorld
from modeldeploy.testing.fake import GOLDEN

POLICY = Policy(
    steps=(5, 25, 50),
    soak=4.0,
    gates=Gates(error_rate=0.01, p95=0.050, max_p95_ratio=2.0, min_requests=100, patience=20.0),
)
HOLDER = Holder(owner="ada@laptop", pid=4711, command="mdeploy deploy local", since=1_800_000_000.0)


def spec(version: str) -> RevisionSpec:
    bundle = BundleRef("digits", version, f"sha256:{version.replace('.', ''):0>64}")
    return RevisionSpec(RevisionId(f"{version}-3f2a9c1b"), "digits", bundle, "/bundle", "000001", replicas=2)


OLD, NEW = spec("1.0.0"), spec("1.1.0")


def verify(call: Call) -> Verification:
    answer = call(HttpRequest("POST", "/predict"))
    return Verification(16, () if answer.body == GOLDEN else ("sample 3: 0.91 instead of 0.12",))


def world(folder: Path, *, rate: float = 400.0) -> FakeWorld:
    """A target on which 1.0.0 is stable and has users."""
    made = FakeWorld(FakeClock(), folder, rate=0)
    made.behave("1.0.0", Behaviour(error_share=0.001))
    made.install(OLD, weight=100)
    made.rate = rate
    return made


def engine(
    place: FakeWorld, emit: Callable[[Event], None], interrupted: Callable[[], bool] = lambda: False
) -> Engine:
    target = FakeTarget(place)
    return Engine(target, POLICY, holder=HOLDER, clock=place.clock, emit=emit, interrupted=interrupted)


def _deploy(folder: Path, behaviour: Behaviour, *, rate: float = 400.0) -> list[Event]:
    events: list[Event] = []
    place = world(folder, rate=rate)
    place.behave("1.1.0", behaviour)
    with contextlib.suppress(ModelDeployError):
        engine(place, events.append).deploy(NEW, verify)
    return events


def promoted(folder: Path) -> list[Event]:
    """A canary that is well."""
    return _deploy(folder, Behaviour(error_share=0.002))


def rejected(folder: Path) -> list[Event]:
    """A canary that fails one request in five."""
    return _deploy(folder, Behaviour(error_share=0.2))


def held(folder: Path) -> list[Event]:
    """A canary that nobody calls."""
    return _deploy(folder, Behaviour(), rate=0.5)


def rolled_back(folder: Path) -> list[Event]:
    """A rollback by hand, after a promotion."""
    place = world(folder)
    engine(place, lambda _: None).deploy(NEW, verify)
    events: list[Event] = []
    engine(place, events.append).rollback()
    return events


SCENES = {"promoted": promoted, "rejected": rejected, "held": held, "rolled-back": rolled_back}


def _play(scene: str) -> None:
    from modeldeploy.cli.live import LiveView
    from modeldeploy.cli.terminal import Terminal

    with tempfile.TemporaryDirectory() as folder:
        events = SCENES[scene](Path(folder))
    with LiveView(Terminal.standard()) as view:
        for event, following in zip(events, [*events[1:], events[-1]], strict=True):
            view.show(event)
            time.sleep(max(0.0, following.at - event.at))


if __name__ == "__main__":
    _play(sys.argv[1])
