"""plan, deploy, rollback, resume, abort, up, destroy."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from modeldeploy import ops
from modeldeploy.cli import report, state, text
from modeldeploy.cli.interrupt import asking_to_stop
from modeldeploy.cli.parser import UsageError
from modeldeploy.cli.session import Answer, Session
from modeldeploy.events import Emit

TYPE_CHECKING = False
if TYPE_CHECKING:
    from modeldeploy.ops.promotion import Promoted
    from modeldeploy.rollout.engine import Outcome

SOMETHING_TO_DO = 8


def plan(session: Session) -> Answer:
    """What a deploy would change."""
    target, ref = _target_and_bundle(session)
    with session.view() as view:
        found = ops.plan(session.root, target, ref=ref, emit=view.show)
    code = 0 if found.nothing_to_do else SOMETHING_TO_DO
    if found.nothing_to_do:
        return Answer(found, [f"nothing to do: {target} runs {found.wanted}"])
    lines = [f"{target}: {found.current or 'nothing'} -> {found.wanted}"]
    lines += [f"{number:>4}  {step.sentence}" for number, step in enumerate(found.steps, start=1)]
    if found.findings:
        lines.append(f"a deploy of {found.wanted} would be refused now:")
        lines += report.findings(found.findings, session.terminal)
    else:
        lines.append(f"to do it: {_again(session, target, ref)}")
    return Answer(found, lines, code=code)


def deploy(session: Session) -> Answer:
    """Roll a bundle out."""
    target, ref = _target_and_bundle(session)
    with rolling_out(session) as (emit, interrupted):
        outcome = ops.deploy(
            session.root,
            target,
            ref=ref,
            strategy=session.values.strategy,
            emit=emit,
            interrupted=interrupted,
        )
    return Answer(outcome, outcome_of(target, outcome))


def rollback(session: Session) -> Answer:
    """Go back to a former revision."""
    target = session.target
    with rolling_out(session) as (emit, interrupted):
        outcome = ops.rollback(session.root, target, to=session.values.to, emit=emit, interrupted=interrupted)
    return Answer(outcome, outcome_of(target, outcome))


def resume(session: Session) -> Answer:
    """Go on with a rollout."""
    target = session.target
    with rolling_out(session) as (emit, interrupted):
        outcome = ops.resume(session.root, target, emit=emit, interrupted=interrupted)
    return Answer(outcome, outcome_of(target, outcome))


def abort(session: Session) -> Answer:
    """End a rollout; all traffic to stable."""
    target = session.target
    with rolling_out(session) as (emit, interrupted):
        outcome = ops.abort(session.root, target, emit=emit, interrupted=interrupted)
    return Answer(outcome, outcome_of(target, outcome))


def up(session: Session) -> Answer:
    """Bring back what should be running."""
    target = session.target
    found = ops.up(session.root, target)
    session.note(f"{target} is coming up; see how far: mdeploy status {target}")
    return Answer(state.told(found), list(state.lines(found)))


def destroy(session: Session) -> Answer:
    """Remove everything that a target runs."""
    target = session.target
    if not session.values.yes and not _confirmed(session, target):
        raise UsageError(
            f"{target} is left as it is: its name was not typed", hint=f"mdeploy destroy {target} --yes"
        )
    with session.view() as view:
        ops.destroy(session.root, target, emit=view.show)
    return Answer({"target": target}, [f"{target} is empty: its revisions and its router are gone"])


def _confirmed(session: Session, target: str) -> bool:
    """Asks in a terminal. A script that says destroy means it: there is nobody to ask."""
    if session.json or sys.stdin is None or not sys.stdin.isatty():
        return True
    session.terminal.tell(f"This removes all revisions of '{target}'; its endpoint stops answering.")
    session.terminal.tell("Type the target's name to go on:")
    return sys.stdin.readline().strip() == target


@contextmanager
def rolling_out(session: Session) -> Iterator[tuple[Emit, Callable[[], bool]]]:
    """The live view of a rollout, and what says that somebody pressed Ctrl-C."""
    with session.view(of_rollout=True) as view, asking_to_stop(view.notice) as interrupted:
        yield view.show, interrupted


def _target_and_bundle(session: Session) -> tuple[str, str | None]:
    """The two words that a command may take. A lone one that cannot name a target is a bundle."""
    values = session.values
    word = values.target or ""
    if values.bundle is None and (":" in word or word[:1].isdigit()):
        values.target, values.bundle = None, word
    return session.target, values.bundle


def _again(session: Session, target: str, ref: str | None) -> str:
    project = f" --project {session.values.project}" if session.values.project else ""
    return f"mdeploy deploy {target}{f' {ref}' if ref else ''}{project}"


_SENTENCES = {
    "promoted": "{revision} has all traffic",
    "rolled-back": "{revision} has all traffic again",
    "aborted": "aborted: {revision} has all traffic",
    "unchanged": "nothing to do: {revision} has all traffic already",
}


def outcome_of(target: str, outcome: Outcome | Promoted) -> list[str]:
    """How a rollout ended, and what comes next."""
    revision = outcome.revision or "no revision"
    sentence = _SENTENCES.get(outcome.result, f"{outcome.result}: {{revision}}").format(revision=revision)
    before = outcome.previous if outcome.previous != outcome.revision else None
    if outcome.result == "promoted" and before:
        sentence += f"; {before} is parked, to go back: mdeploy rollback {target}"
    lines = [f"{sentence} ({text.duration(outcome.seconds)})"]
    if outcome.endpoint:
        lines.append(outcome.endpoint)
    return lines
