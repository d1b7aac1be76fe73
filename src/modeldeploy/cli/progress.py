"""How far a rollout has come, as its events tell it: what the live view draws. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from modeldeploy.events import Event


@dataclass(slots=True)
class Line:
    """One step of the plan."""

    sentence: str
    state: str = "waiting"
    """``waiting``, ``running``, ``done`` or ``failed``."""
    seconds: float | None = None
    note: str = ""
    """What was last said while it ran."""


@dataclass(slots=True)
class Progress:
    """A rollout so far. `take` each event in order."""

    action: str = ""
    """``deploy``, ``rollback``, ``abort`` or ``resume``."""
    strategy: str = ""
    candidate: str = ""
    stable: str = ""
    steps: list[Line] = field(default_factory=list)
    weights: dict[str, int] = field(default_factory=dict)
    judged: Mapping[str, Any] = field(default_factory=dict)
    """The data of the last ``judge`` event."""
    going_back: str = ""
    """Why the rollout goes back; empty while it goes forward."""
    outcome: str = ""
    _first: int = 0
    """Where the steps of the present plan begin in ``steps``."""
    _at: int = 0

    def take(self, event: Event) -> None:
        """Bring the picture up to date."""
        data: Mapping[str, Any] = event.data
        match event.kind:
            case "rollout.start":
                self._start(data)
            case "step.begin":
                self._begin(data)
            case "step.progress":
                self._note(event.message)
            case "step.done":
                self._done(data)
            case "traffic":
                self._traffic(data)
            case "judge":
                self.judged = data
            case "rollback.start":
                self._back(str(data.get("reason") or event.message))
            case "rollout.held":
                self.outcome = "held"
            case "rollout.end":
                self.outcome = str(data.get("outcome") or event.message)

    def share(self, revision: str) -> int:
        """Percent of the traffic that goes to a revision."""
        return self.weights.get(revision, 0)

    def _start(self, data: Mapping[str, Any]) -> None:
        steps = [Line(str(step.get("sentence"))) for step in data.get("steps") or ()]
        if data.get("action") == "return":
            self._first = self._at = len(self.steps)
            self.steps += steps
            return
        self.steps = steps
        self.action = str(data.get("action") or "")
        self.strategy = str(data.get("strategy") or "")
        self.candidate = str(data.get("candidate") or "")
        self.stable = str(data.get("stable") or "")
        self._traffic(data.get("traffic") or {})

    def _traffic(self, data: Mapping[str, Any]) -> None:
        self.weights = {str(name): int(share) for name, share in (data.get("weights") or {}).items()}

    def _begin(self, data: Mapping[str, Any]) -> None:
        at = self._first + int(data.get("index") or 0)
        while len(self.steps) <= at:
            self.steps.append(Line(""))
        self._at = at
        self.steps[at].sentence = str(data.get("sentence") or self.steps[at].sentence)
        self.steps[at].state = "running"
        for earlier in self.steps[self._first : at]:
            if earlier.state == "waiting":
                earlier.state = "done"  # a rollout that was resumed begins in the middle

    def _note(self, message: str) -> None:
        if self._at < len(self.steps):
            self.steps[self._at].note = message

    def _done(self, data: Mapping[str, Any]) -> None:
        if self._at < len(self.steps):
            step = self.steps[self._at]
            step.state, step.note = "done", ""
            step.seconds = data.get("seconds")

    def _back(self, reason: str) -> None:
        self.going_back = reason
        self.steps = [step for step in self.steps if step.state != "waiting"]
        for step in self.steps:
            if step.state == "running":
                step.state = "failed"
