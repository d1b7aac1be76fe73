"""From the events of a rollout to its one record.

What happens is written down as it happens: a process that is killed leaves it behind, and the next command
makes the record of it.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

from modeldeploy import files
from modeldeploy.audit.chain import Record
from modeldeploy.audit.spool import Spool
from modeldeploy.errors import ModelDeployError
from modeldeploy.events import Emit, Event

KINDS = frozenset(
    {"rollout.start", "traffic", "judge", "rollback.start", "rollout.held", "rollout.end", "target.destroyed"}
)
"""Kinds of event that change what is live, or say why."""
LONGEST = 4000
"""Characters of a reason that are kept."""


class Telling:
    """Writes down what one command does on one target. Nothing is written before something happens."""

    def __init__(self, spool: Spool, record: Record, emit: Emit) -> None:
        self._spool = spool
        self._record = record
        self._emit = emit
        self._open = ExitStack()
        self._path: Path | None = None
        self._judged: Event | None = None
        self._facts: dict[str, Any] = {}
        self._lines: list[dict[str, Any]] = []
        self._broken = False

    def emit(self, event: Event) -> None:
        """Takes an event, keeps what belongs into the record, and passes it on."""
        if event.kind == "judge":
            self._judged = event  # twice a second: only the last one of each judgement is kept
        elif event.kind in KINDS or event.kind == "step.done":
            judged, self._judged = self._judged, None
            for one in (judged, event):
                if one is not None and one.kind in KINDS:
                    self._tell(
                        {"event": one.kind, "at": one.at, "message": one.message, "data": dict(one.data)}
                    )
        self._emit(event)

    def note(self, **facts: object) -> None:
        """Something that the record should say beside what the events tell."""
        self._facts |= facts
        if self._lines:
            self._tell({"note": facts})

    def revise(self, record: Record) -> None:
        """What is known only now: the bundle, the revision. Nothing of it is lost if nothing happened yet."""
        self._record = record

    @property
    def began(self) -> bool:
        """Whether there is anything to tell."""
        return bool(self._lines)

    @property
    def record(self) -> Record:
        """What the record begins with."""
        return self._record

    def finish(self, error: BaseException | None = None) -> Record | None:
        """The record of what happened, waiting to be delivered; None where nothing did."""
        if self._judged:
            self.emit(replace(self._judged, kind="step.done"))
        if not self._lines:
            return None
        if error is not None:
            reason = getattr(error, "message", "") or type(error).__name__
            self._tell({"note": {"error": type(error).__name__, "reason": reason[:LONGEST]}})
        record = compiled(self._record, self._lines)
        try:
            self._spool.add(record)
            if self._path:
                self._spool.told(self._path)
        except (OSError, ModelDeployError) as failure:
            self._failed(failure)
        finally:
            self._open.close()
        return record

    def _tell(self, line: dict[str, Any]) -> None:
        if not self._lines:
            self._lines.append({"record": self._record.to_json()})
            if self._facts:
                self._lines.append({"note": self._facts})
            self._write(self._lines)
        self._lines.append(line)
        self._write([line])

    def _write(self, lines: Iterable[Mapping[str, Any]]) -> None:
        if self._broken:
            return
        try:
            if self._path is None:
                self._path = self._open.enter_context(self._spool.telling(self._record.id))
            for line in lines:
                files.append_durable(self._path, json.dumps(line, default=str).encode())
        except (OSError, ModelDeployError) as error:
            self._failed(error)

    def _failed(self, error: Exception) -> None:
        # The rollout goes on: users' traffic matters more than its record, but say that it is missing.
        self._broken = True
        self._emit(Event("audit.failed", self._record.at, f"cannot write the audit record: {error}"))


def sweep(spool: Spool) -> None:
    """Make records of what processes told that died before they could. Raises OSError or `DiskFull`."""
    for path, lines in spool.abandoned():
        told = [value for line in lines if (value := _parsed(line))]
        if told and "record" in told[0]:
            record = compiled(Record.from_json(told[0]["record"]), told)
            spool.add(record)
        spool.told(path)


def compiled(record: Record, lines: Iterable[Mapping[str, Any]]) -> Record:
    """The record of a rollout, from what was told of it."""
    story = _Story(record)
    for line in lines:
        story.hear(line)
    return story.told()


class _Story:
    def __init__(self, record: Record) -> None:
        self._record = record
        self._at = record.at
        self._data: dict[str, Any] = {"outcome": "unfinished", "traffic": [], "judgements": []}

    def hear(self, line: Mapping[str, Any]) -> None:
        if "note" in line:
            told = dict(line["note"])
            if "reason" in self._data:
                told.pop("reason", None)  # why it went back says more than how the command ended
            self._data |= told
        if "event" in line:
            self._at = float(line["at"])
            self._happened(str(line["event"]), line["data"], str(line["message"]))

    def _happened(self, kind: str, data: Mapping[str, Any], message: str) -> None:
        match kind:
            case "rollout.start":
                self._start(data)
            case "traffic":
                self._moved(data["weights"], data["stable"])
            case "judge":
                known = {name: data.get(name) for name in ("verdict", "elapsed", "requests", "measures")}
                self._data["judgements"].append({"at": self._at, "weight": self._share(), **known})
            case "rollback.start":
                self._data["reason"] = str(data["reason"])[:LONGEST]
            case "rollout.held":
                self._data |= {"outcome": "held", "reason": message[:LONGEST]}
            case "rollout.end":
                self._data |= {"outcome": data["outcome"], "seconds": data["seconds"]}
            case "target.destroyed":
                self._data["outcome"] = "destroyed"
                self._moved({}, None)

    def _moved(self, weights: Mapping[str, int], stable: str | None) -> None:
        routed = {name: share for name, share in weights.items() if share}
        self._data["traffic"].append({"at": self._at, "weights": routed, "stable": stable})

    def _share(self) -> int:
        """The candidate's share of the traffic now, in percent."""
        moves = self._data["traffic"] or [self._data.get("before") or {}]
        return int(moves[-1].get("weights", {}).get(self._data.get("candidate"), 0))

    def _start(self, data: Mapping[str, Any]) -> None:
        if "before" in self._data:
            return  # the way back of the same rollout
        action = self._record.kind if data["action"] == "return" else data["action"]
        known = ("strategy", "candidate", "stable")
        self._data |= {"action": action, **{name: data[name] for name in known if data.get(name) is not None}}
        weights = {name: share for name, share in data["traffic"]["weights"].items() if share}
        self._data["before"] = {"at": self._at, "weights": weights, "stable": data["traffic"]["stable"]}
        self._record = replace(self._record, rollout=data["rollout"])
        if data.get("candidate"):
            self._record = replace(self._record, revision=data["candidate"])

    def told(self) -> Record:
        return replace(
            self._record, at=self._at, data={**self._record.data, "began": self._record.at, **self._data}
        )


def _parsed(line: bytes) -> dict[str, Any] | None:
    try:
        value = json.loads(line)
    except ValueError:
        return None
    return value if isinstance(value, dict) else None
