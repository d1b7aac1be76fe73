"""The audit file: one JSON line for each thing that changed what is live, and who did it.

Written from the same events that people watch, to ``audit.jsonl`` in mdeploy's home.
"""

from __future__ import annotations

import json
from pathlib import Path

from modeldeploy import files
from modeldeploy.errors import ModelDeployError
from modeldeploy.events import Emit, Event
from modeldeploy.model import Holder

KINDS = frozenset(
    {"rollout.start", "traffic", "rollback.start", "rollout.held", "rollout.end", "target.destroyed"}
)
"""Kinds of event that change what is live, or say why."""


def audited(emit: Emit, *, project: str, target: str, holder: Holder, file: Path | None = None) -> Emit:
    """An ``emit`` that also writes what matters to the audit file, and then passes everything on."""
    path = file or files.home() / "audit.jsonl"
    who = {"project": project, "target": target, "by": holder.owner, "command": holder.command}

    def write(event: Event) -> None:
        if event.kind in KINDS:
            _append(path, {"at": event.at, "kind": event.kind, **who, **_facts(event)}, emit)
        emit(event)

    return write


def _append(path: Path, record: dict[str, object], emit: Emit) -> None:
    try:
        files.append_durable(path, json.dumps(record, default=str).encode())
    except (OSError, ModelDeployError) as error:
        # The rollout goes on: users' traffic matters more than its record, but say that it is missing.
        emit(Event("audit.failed", 0.0, f"cannot write {path}: {error}"))


def _facts(event: Event) -> dict[str, object]:
    return {"message": event.message, **{k: v for k, v in event.data.items() if k != "steps"}}
