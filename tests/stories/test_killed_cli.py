"""`kill -9` of the command, at any moment: the next command goes on, and users notice nothing.

``MDEPLOY_KILLS=200 MDEPLOY_SEED=1 pytest tests/stories/test_killed_cli.py -s`` kills more often, at other
moments, and tells what it met.
"""

from __future__ import annotations

import os
import random
import signal
import threading
import time
from collections import Counter
from dataclasses import dataclass, field
from typing import Self

import pytest

from modeldeploy.errors import TargetUnavailable
from modeldeploy.model import Observed
from modeldeploy.ops.watching import open_named
from modeldeploy.rollout import journal
from modeldeploy.rollout.plan import can_serve
from modeldeploy.rollout.steps import kind_of
from modeldeploy.target import Target
from story_project import Story

pytestmark = pytest.mark.story

KILLS = int(os.environ.get("MDEPLOY_KILLS", "50"))
SEED = int(os.environ.get("MDEPLOY_SEED", "7"))
REFUSED, HELD = 6, 11


class Guard:
    """Looks at the target all the time: whoever has traffic must be able to serve."""

    def __init__(self, place: Target) -> None:
        self._place = place
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._watch)
        self.looks = 0
        self.objections: list[str] = []

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._over.wait(0.03):
            try:
                seen = self._place.observe()
            except TargetUnavailable as error:
                self.objections.append(error.message)
                continue
            self.looks += 1
            self.objections += objections_to(seen)


def objections_to(seen: Observed) -> list[str]:
    """What must never be seen of a target that users rely on."""
    weights = seen.traffic.weights
    found = [f"weights are {dict(weights)}"] if sum(weights.values()) != 100 else []
    for name, share in weights.items():
        revision = seen.find(name)
        if share and (revision is None or not can_serve(revision)):
            found.append(f"{name} has {share} % and is {revision}")
    return found


@dataclass
class Chaos:
    """Types a command, kills it, types the remedy."""

    user: Story
    place: Target
    dice: random.Random = field(default_factory=lambda: random.Random(SEED))
    took: dict[str, float] = field(default_factory=dict)
    """Seconds that a kind of command takes when nobody kills it."""
    kills: int = 0
    met: Counter[str] = field(default_factory=Counter)
    """In the middle of what a command was killed."""
    ways: Counter[str] = field(default_factory=Counter)
    """How it went on."""

    def command(self, kind: str) -> str:
        """A command line of that kind. ``new`` deploys a revision that was never there."""
        if kind == "rollback":
            return "rollback local"
        if kind == "new":
            self.user.edit("env", f'{{ ROUND = "{self.dice.random()}" }}')
        live = next(version for version, share in self.user.weights().items() if share)
        return f"deploy local digits:{'1.0.0' if live == '1.1.0' else '1.1.0'}"

    def learn(self) -> None:
        """Let each kind of command run to its end once."""
        for kind in ("new", "rollback", "again"):
            line = self.command(kind)
            began = time.monotonic()
            self.user.ask(line)
            self.took[kind] = time.monotonic() - began

    def round(self) -> None:
        """One command that is killed, and what puts things right: at times that is killed, too."""
        kind = self.dice.choice(("new", "again", "again", "rollback"))
        self.kill(self.command(kind), self.took[kind])
        remedy = self.dice.choice(("resume local", "rollback local", "abort local"))
        if self.dice.random() < 0.25:
            self.kill(remedy, self.took["again"])
        self.put_right(remedy)

    def kill(self, line: str, took: float) -> None:
        """Kill it at a moment between its start and its end; most times not before it has begun to act."""
        running = self.user.begin(f"{line} --json")
        if self.dice.random() < 0.75:
            running.until_told('"rollout.start"', or_ended=True)
        time.sleep(self.dice.uniform(0, took))
        running.send(signal.SIGKILL)
        if running.end().code == -signal.SIGKILL:
            self.kills += 1
            self.met[self.what_was_begun()] += 1

    def what_was_begun(self) -> str:
        entry = journal.unfinished(self.place.store)
        if entry is None:
            return "nothing yet, or nothing any more"
        way = "forward" if entry.towards == journal.PROMOTED else "back"
        begun = entry.steps[entry.done : entry.done + 1] if entry.begun else ()
        return f"{way}: {kind_of(begun[0]) if begun else 'between steps'}"

    def put_right(self, line: str) -> None:
        """The remedy must end well; a rollback may find that there is no way further back."""
        typed = self.user.ask(line, ends_with=None)
        if typed.code in {REFUSED, HELD}:
            told = typed.error["message"]
            assert "no former revision" in told or "nothing left to abort" in told, told
            line = "resume local"
            typed = self.user.ask(line, ends_with=None)
        assert typed.code == 0, typed
        self.ways[f"{line.split()[0]}: {typed.result['result']}"] += 1
        seen = self.place.observe()
        assert seen.traffic.weights == {seen.traffic.stable: 100}, seen
        entry = journal.unfinished(self.place.store)
        assert entry is None or not entry.begun, entry


def test_a_command_that_is_killed_harms_nobody_and_the_next_one_goes_on(user: Story) -> None:
    user.init()
    user.hurry(steps="[50]", soak="500ms", requests=10)
    user.deploy()
    user.second_model()
    user.build("build --bump minor")
    place = open_named(user.folder, "local")
    chaos = Chaos(user, place)
    with user.users(keep_alive=2, fresh=1, pause=0.02) as load, Guard(place) as guard:
        chaos.learn()
        while chaos.kills < KILLS:
            chaos.round()
    print(f"\n{chaos.kills} kills (seed {SEED}): {dict(chaos.met)}\nwent on: {dict(chaos.ways)}")
    print(f"{load.report.sent} requests, {load.report.failed} lost; looked {guard.looks} times")
    assert load.report.failures == {}
    assert guard.objections == []
