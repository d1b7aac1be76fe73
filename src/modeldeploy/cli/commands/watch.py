"""predict, status, history, logs."""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from typing import Any

from modeldeploy import ops
from modeldeploy.cli import state, text
from modeldeploy.cli.jsonlines import log_line
from modeldeploy.cli.session import Answer, Session
from modeldeploy.errors import ConfigError
from modeldeploy.ops.watching import RolloutRecord


def status(session: Session) -> Answer:
    """What runs where, and who gets the traffic."""
    found = ops.status(session.root, session.values.target)
    told = [state.told(one) for one in found]
    lines = [line for one in found for line in (*state.lines(one), "")]
    return Answer(told[0] if len(told) == 1 else {"targets": told}, lines[:-1])


def history(session: Session) -> Answer:
    """The rollouts of a target, the newest first."""
    target = session.target
    found = ops.history(session.root, target, limit=session.values.limit)
    if not found:
        return Answer({"target": target, "rollouts": []}, [f"no rollouts on {target} yet"])
    header = ("WHEN", "ROLLOUT", "WHAT", "CANDIDATE", "OUTCOME", "TOOK", "BY", "REASON")
    return Answer({"target": target, "rollouts": found}, text.table(header, map(_history_row, found)))


def logs(session: Session) -> Answer:
    """The lines that a revision wrote."""
    values = session.values
    lines = ops.logs(
        session.root, session.target, revision=values.revision, tail=values.tail, follow=values.follow
    )
    count, code = 0, 0
    try:
        for line in lines:
            count += 1
            session.terminal.say(log_line(line) if session.json else text.clean(line))
            if session.terminal.unread:
                break
    except KeyboardInterrupt:
        code = 130  # how one stops following: no error
    return Answer({"lines": count}, [], code=code)


def predict(session: Session) -> Answer:
    """One request to the endpoint."""
    values = session.values
    body = _input(values.input)
    began = time.monotonic()
    answer = ops.predict(session.root, session.target, body=body, path=values.path)
    took = time.monotonic() - began
    revision = answer.headers.get("x-model-version")
    session.note(f"{answer.status} in {1000 * took:.0f} ms from {revision or 'an unnamed revision'}")
    content, shown = _body(answer.body)
    result = {"status": answer.status, "revision": revision, "seconds": round(took, 6), "body": content}
    ok = answer.status < 400
    return Answer(result, [shown], code=0 if ok else 6, ok=ok)


def _input(name: str) -> bytes:
    try:
        if name == "-":
            if sys.stdin is None:
                raise ConfigError("--input - reads standard input, which is closed", hint="--input FILE")
            return sys.stdin.buffer.read()
        return Path(name).read_bytes()
    except OSError as error:
        raise ConfigError(f"--input: cannot read {name}: {error.strerror}") from error


def _body(body: bytes) -> tuple[Any, str]:
    """The body as a JSON value (or text), and as it is shown."""
    try:
        value = json.loads(body)
    except ValueError:
        told = body.decode(errors="replace")
        return told, text.clean(told)
    return value, _pretty(value)


def _pretty(value: Any) -> str:
    """Indented, but with lists of numbers on one line: a tensor is read by rows."""
    whole = json.dumps(value, ensure_ascii=False)
    if len(whole) <= 100:
        return text.clean(whole)
    if isinstance(value, dict):
        items = [f"  {json.dumps(key)}: {_pretty(item)}".replace("\n", "\n  ") for key, item in value.items()]
        return "{\n" + ",\n".join(items) + "\n}"
    if isinstance(value, list) and any(isinstance(item, list | dict) for item in value):
        return "[\n" + ",\n".join(f"  {_pretty(item)}".replace("\n", "\n  ") for item in value) + "\n]"
    return text.clean(whole)


def _history_row(record: RolloutRecord) -> tuple[str, ...]:
    return (
        text.date_time(record.began),
        record.id,
        record.action,
        record.candidate or "-",
        record.outcome or "unfinished",
        text.duration(record.ended - record.began) if record.ended is not None else "-",
        record.by,
        text.short(record.reason),
    )
