"""What a rollout meant to do and how far it came, written down before each act.

JSON lines in the target's `RolloutStore`, each on stable storage before the act that it announces::

    start     what is being done, by whom, with which policy
    plan      the list of steps and what they lead towards: a later one replaces it
    begin i   step i is about to be tried
    done i    step i holds
    hold      the rollout stands still and waits for a person
    end       it is over, and how

A torn last line is cut off: its act never began. A process that died leaves no `end`; whoever reads
the journal then goes on from the last `begin`, and every step asks the world before it acts.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from typing import Any

from modeldeploy.clock import Clock
from modeldeploy.errors import RolloutStuck
from modeldeploy.model import BundleRef, Gates, Holder, Policy, RevisionId
from modeldeploy.target import RolloutStore

TYPE_CHECKING = False
if TYPE_CHECKING:
    from modeldeploy.rollout.plan import Plan
    from modeldeploy.rollout.steps import Step

PROMOTED = "promoted"
"""What a plan leads towards that goes forward; every other plan is a way back."""


@dataclass(slots=True)
class Entry:
    """A rollout as its journal tells it."""

    rollout: str
    action: str = ""
    """What was asked for: ``deploy``, ``rollback`` or ``abort``."""
    began: float = 0.0
    ended: float | None = None
    by: str = ""
    command: str = ""
    candidate: RevisionId | None = None
    bundle: BundleRef | None = None
    stable: RevisionId | None = None
    """The revision to return to should the rollout fail."""
    policy: Policy = field(default_factory=Policy)
    towards: str = PROMOTED
    """What the newest plan leads towards: ``promoted``, ``rejected``, ``rolled-back`` or ``aborted``."""
    steps: tuple[Step, ...] = ()
    done: int = 0
    """How many steps of the newest plan hold."""
    begun: bool = False
    """A step has been tried: the target may have changed."""
    reason: str = ""
    """Why it goes back, is held, or ended as it did."""
    log: tuple[str, ...] = ()
    """The last lines of a candidate that was taken back."""
    held: bool = False
    outcome: str | None = None
    """One of those, or ``abandoned`` where nothing was ever tried; None while it is open."""


class Journal:
    """The open journal of one rollout."""

    def __init__(self, store: RolloutStore, clock: Clock, rollout: str) -> None:
        self.rollout = rollout
        self._store = store
        self._clock = clock

    @classmethod
    def open_new(cls, store: RolloutStore, clock: Clock) -> Journal:
        """A journal under the next number. Call it with the target's lock held."""
        # Numbered, because a wall clock that was set back would otherwise make new rollouts old.
        last = max((int(name.split("-")[0]) for name in store.rollouts()), default=0)
        return cls(store, clock, f"{last + 1:06d}-{int(clock.now())}")

    def start(
        self, action: str, holder: Holder, policy: Policy, plan: Plan, bundle: BundleRef | None
    ) -> None:
        """Say what is about to be done, and why it may be."""
        self._write(
            "start",
            action=action,
            by=holder.owner,
            command=holder.command,
            candidate=plan.candidate,
            bundle=asdict(bundle) if bundle else None,
            stable=plan.stable,
            policy=asdict(policy),
        )

    def plan(self, steps: tuple[Step, ...], towards: str, reason: str = "", log: Sequence[str] = ()) -> None:
        """These are the steps from now on, and this is how it ends if they succeed.

        ``log`` is what the candidate wrote last, where the way back is going to delete it.
        """
        from modeldeploy.rollout.steps import encode

        self._write(
            "plan", towards=towards, reason=reason, steps=[encode(step) for step in steps], log=list(log)
        )

    def begin(self, index: int) -> None:
        self._write("begin", i=index)

    def done(self, index: int) -> None:
        self._write("done", i=index)

    def hold(self, reason: str) -> None:
        self._write("hold", reason=reason)

    def end(self, outcome: str, reason: str = "") -> None:
        self._write("end", outcome=outcome, reason=reason)

    def _write(self, kind: str, **fields: object) -> None:
        record = {"kind": kind, "at": self._clock.now(), **fields}
        self._store.append(self.rollout, json.dumps(record).encode())


def read(store: RolloutStore, rollout: str) -> Entry:
    """The rollout as its journal tells it. Raises `RolloutStuck` for a journal that makes no sense."""
    entry = Entry(rollout)
    for number, line in enumerate(store.read(rollout), start=1):
        try:
            record = json.loads(line)
            _READERS[record["kind"]](entry, record)
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise RolloutStuck(
                f"line {number} of the journal of rollout {rollout} cannot be read: {error!r}",
                hint="see what is live (mdeploy status), then set the journal aside by its name",
            ) from error
    return entry


def unfinished(store: RolloutStore) -> Entry | None:
    """The rollout that began and did not end; None if the newest one is over."""
    names = store.rollouts()
    if not names or _is_over(store.read(names[-1])):
        return None
    return read(store, names[-1])


def _is_over(lines: Sequence[bytes]) -> bool:
    """Told by the last line alone, so that `status` need not load what a step is."""
    return bool(lines) and lines[-1].startswith(b'{"kind": "end"')


def close_unfinished(store: RolloutStore, clock: Clock, reason: str) -> None:
    """End the open rollout, if there is one: nothing is left of it. One that cannot be read stays."""
    with suppress(RolloutStuck):
        entry = unfinished(store)
        if entry:
            outcome = "aborted" if entry.begun else "abandoned"
            Journal(store, clock, entry.rollout).end(outcome, reason)


def _read_start(entry: Entry, record: Mapping[str, Any]) -> None:
    entry.action, entry.by, entry.command = record["action"], record["by"], record["command"]
    entry.began = record["at"]
    entry.candidate, entry.stable = record["candidate"], record["stable"]
    entry.bundle = BundleRef(**record["bundle"]) if record["bundle"] else None
    policy = dict(record["policy"])
    gates = Gates(**policy.pop("gates"))
    entry.policy = Policy(**{**policy, "steps": tuple(policy["steps"])}, gates=gates)


def _read_plan(entry: Entry, record: Mapping[str, Any]) -> None:
    from modeldeploy.rollout.steps import decode

    entry.steps = tuple(decode(step) for step in record["steps"])
    entry.towards, entry.reason, entry.log = record["towards"], record["reason"], tuple(record["log"])
    entry.done, entry.held = 0, False


def _read_begin(entry: Entry, record: Mapping[str, Any]) -> None:
    entry.begun, entry.held = True, False
    entry.steps[record["i"]]  # an index that is not in the plan makes no sense


def _read_done(entry: Entry, record: Mapping[str, Any]) -> None:
    entry.done = record["i"] + 1


def _read_hold(entry: Entry, record: Mapping[str, Any]) -> None:
    entry.held, entry.reason = True, record["reason"]


def _read_end(entry: Entry, record: Mapping[str, Any]) -> None:
    entry.outcome, entry.ended, entry.held = record["outcome"], record["at"], False
    entry.reason = record["reason"] or entry.reason


_READERS = {
    "start": _read_start,
    "plan": _read_plan,
    "begin": _read_begin,
    "done": _read_done,
    "hold": _read_hold,
    "end": _read_end,
}
