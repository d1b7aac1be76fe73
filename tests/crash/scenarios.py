"""What can be going on when the process dies: each scenario is a world, a command, and its right end."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from modeldeploy.errors import RolloutHeld, RolloutRejected, TargetRefused
from modeldeploy.model import (
    BundleRef,
    Gates,
    Holder,
    HttpRequest,
    Policy,
    RevisionId,
    RevisionSpec,
    Traffic,
)
from modeldeploy.rollout import journal as journals
from modeldeploy.rollout.acts import Call, Verification
from modeldeploy.rollout.engine import Engine, Outcome
from modeldeploy.rollout.steps import Create, Delete, Shift, Step
from modeldeploy.target import Target
from modeldeploy.testing import Behaviour, FakeClock, FakeTarget, FakeWorld
from modeldeploy.testing.fake import GOLDEN

HOLDER = Holder(owner="ada@laptop", pid=1, command="mdeploy deploy local", since=0.0)
POLICY = Policy(
    steps=(10, 50),
    soak=1.0,
    ready_timeout=10.0,
    drain_timeout=5.0,
    gates=Gates(min_requests=20, patience=5.0),
)


def spec(version: str) -> RevisionSpec:
    bundle = BundleRef("digits", version, f"sha256:{version:0>64}")
    revision = RevisionId(f"{version}-0a0a0a0a")
    return RevisionSpec(revision, "digits", bundle, "/bundle", "by-hand", replicas=3)


OLDEST, OLD, NEW = spec("1.0.0"), spec("1.1.0"), spec("1.2.0")


def verify(call: Call) -> Verification:
    answer = call(HttpRequest("POST", "/predict"))
    return Verification(1, () if answer.body == GOLDEN else ("sample 0: 0.9 instead of 0.1",))


@dataclass(frozen=True)
class Scenario:
    """A world before the command, and the command."""

    name: str
    policy: Policy = POLICY
    stable: RevisionSpec | None = OLD
    parked: tuple[RevisionSpec, ...] = (OLDEST,)
    behaviours: Mapping[str, Behaviour] = field(default_factory=dict)
    rolls_back: bool = False
    """The command is `rollback`, not `deploy`."""

    rate: float = 1000.0
    """Users' requests a second."""

    def world(self, folder: Path) -> FakeWorld:
        world = FakeWorld(FakeClock(), folder, rate=0)
        for version, behaviour in self.behaviours.items():
            world.behave(version, behaviour)
        for parked in self.parked:
            world.install(parked)
            world.clock.sleep(1)
        if self.stable:
            world.install(self.stable, weight=100)
            world.clock.sleep(1)
        world.rate = self.rate
        return world

    def command(self, target: Target, clock: FakeClock) -> str:
        """Run it; returns how it ended."""
        terminal = engine(target, clock, self.policy)
        if self.rolls_back:
            return told(terminal.rollback)
        return told(lambda: terminal.deploy(NEW, verify))

    def resume(self, target: Target, clock: FakeClock) -> str:
        terminal = engine(target, clock, self.policy)
        return told(lambda: terminal.resume(NEW, verify))

    def abort(self, target: Target, clock: FakeClock) -> str:
        return told(engine(target, clock, self.policy).abort)

    def roll_back(self, target: Target, clock: FakeClock) -> str:
        return told(engine(target, clock, self.policy).rollback)


class AnnouncedTarget(FakeTarget):
    """Refuses an act that the journal has not announced: what is written must be true at any instant."""

    def create(self, spec: RevisionSpec) -> None:
        self._require_announced(Create)
        super().create(spec)

    def set_traffic(self, traffic: Traffic) -> None:
        self._require_announced(Shift)
        super().set_traffic(traffic)

    def delete(self, revision: RevisionId, *, grace: float) -> None:
        self._require_announced(Delete, Create)  # before creating again, what failed is deleted
        super().delete(revision, grace=grace)

    def _require_announced(self, *kinds: type[Step]) -> None:
        newest = self.store.rollouts()[-1]
        last = json.loads(self.store.read(newest)[-1])
        announced = journals.read(self.store, newest).steps[last["i"]] if last["kind"] == "begin" else None
        if not isinstance(announced, kinds):
            self.world.breaks(f"an act that was not announced; the journal says {last}")


def engine(target: Target, clock: FakeClock, policy: Policy) -> Engine:
    return Engine(target, policy, holder=HOLDER, clock=clock, emit=lambda event: None)


def told(operation: Callable[[], Outcome]) -> str:
    """How an operation ended; that a candidate was refused, or held for a person, is a good end too."""
    try:
        return operation().result
    except RolloutRejected:
        return "rejected"
    except RolloutHeld:
        return "held"
    except TargetRefused:
        return "refused"


FAILING = {
    "errors": Behaviour(error_share=0.5),
    "crash loop": Behaviour(crash_after=0.3),
    "wrong answers": Behaviour(wrong_answers=True),
    "never ready": Behaviour(never_ready=True),
    "refused": Behaviour(refused="there is no room"),
}


def scenarios() -> list[Scenario]:
    found = [
        Scenario("rollback by hand", stable=NEW, parked=(OLDEST, OLD), rolls_back=True),
        Scenario("canary without users", rate=0.0),
        *(failing("canary", why) for why in FAILING),
        failing("blue-green", "errors"),
        replace(failing("blue-green", "errors"), name="blue-green: failing, nothing parked", parked=()),
        failing("rolling", "crash loop"),
    ]
    for strategy in ("canary", "blue-green", "rolling"):
        policy = replace(POLICY, strategy=strategy)
        first = Scenario(f"{strategy}: first release", policy, stable=None, parked=())
        found.append(first)
        found += [
            Scenario(f"{strategy}: upgrade, keep {keep}", replace(policy, keep=keep)) for keep in (0, 1, 2)
        ]
    failing_first = {NEW.bundle.version: FAILING["wrong answers"]}
    return [*found, replace(first, name="failing first release", behaviours=failing_first)]


def failing(strategy: str, why: str) -> Scenario:
    policy = replace(POLICY, strategy=strategy)
    return Scenario(f"{strategy}: failing, {why}", policy, behaviours={NEW.bundle.version: FAILING[why]})


def state(world: FakeWorld) -> object:
    """What a person would compare: who is there, in which state, and who answers."""
    revisions = {name: revision.state.value for name, revision in world.revisions.items()}
    weights = {name: share for name, share in world.applied.weights.items() if share}
    return revisions, weights, world.applied.stable
