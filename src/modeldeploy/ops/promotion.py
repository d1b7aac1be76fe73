"""From one target to the next: promote what is stable there, and approve what may go."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from modeldeploy.audit import Entry
from modeldeploy.config.peek import peek
from modeldeploy.errors import BundleError, ConfigError, PreflightError
from modeldeploy.events import Emit, Event
from modeldeploy.model import BundleRef, Finding, Level, RevisionId
from modeldeploy.ops.auditing import build_facts, recorder
from modeldeploy.ops.evidence import approvals_in, stable_on, unfinished_on
from modeldeploy.rollout.engine import Outcome

TYPE_CHECKING = False
if TYPE_CHECKING:
    from modeldeploy.bundle.build import Built
    from modeldeploy.config.load import Project


@dataclass(frozen=True, slots=True)
class Promoted:
    """What a promotion did. The fields of the rollout's outcome, and where the bundle came from."""

    bundle: BundleRef
    source: str
    target: str
    result: str
    """``promoted`` or ``unchanged``."""
    revision: RevisionId | None
    previous: RevisionId | None
    endpoint: str | None
    seconds: float


@dataclass(frozen=True, slots=True)
class Approval:
    """An approval that is on record, or was taken back."""

    bundle: BundleRef
    target: str
    by: str
    revoked: bool
    approvals: tuple[str, ...]
    """All who approve this bundle for this target now."""
    wanted: int
    """How many the target's policy asks for."""
    again: bool = False
    """This person had approved it before: that counts once."""


def promote(
    root: Path,
    source: str,
    target: str,
    *,
    strategy: str | None = None,
    emit: Emit,
    interrupted: Callable[[], bool] = lambda: False,
) -> Promoted:
    """Roll out on ``target`` exactly the bundle that is stable on ``source`` now.

    It is the digest that is promoted: what happens on the source afterwards changes nothing. Raises
    `PreflightError` where the source has nothing to give or the target's policy does not let it in, and
    all that `deploy` raises.
    """
    from modeldeploy.config.load import load
    from modeldeploy.ops.rollouts import Run, preflight

    project = load(root)
    if source == target:
        raise ConfigError(f"{source} is what it would be promoted to", hint="name two targets")
    run = Run.on(root, target, "promote", emit, interrupted)
    preflight(run.place)
    wanted = _stable(project, source, target)
    emit(Event("step.progress", run.holder.since, f"{source} runs {wanted} ({wanted.digest})"))
    bundle = _bundle(project, wanted, emit)
    run.telling.note(source={"target": source, "digest": wanted.digest})
    outcome: Outcome = run.roll_out(project, bundle, strategy)
    return Promoted(
        bundle.ref,
        source,
        target,
        outcome.result,
        outcome.revision,
        outcome.previous,
        outcome.endpoint,
        outcome.seconds,
    )


def approve(
    root: Path, ref: str, target: str, *, note: str = "", revoke: bool = False, emit: Emit
) -> Approval:
    """Put on record that whoever runs this wants a bundle to go to a target; or not any more.

    The approval is for the bundle's digest. Raises `RegistryUnavailable` where it cannot be put on record.
    """
    from modeldeploy.config.load import load
    from modeldeploy.ops.making import find_bundle

    project = load(root)
    name = peek(root, target).target
    bundle = find_bundle(project, ref, emit)
    log = recorder(root, emit)
    record = log.draft(
        "approve",
        target=name,
        bundle=bundle.ref,
        data={"for": name, "note": note[:1000], "revoked": revoke, "build": build_facts(bundle.path)},
    )
    before, _ = approvals_in(_own(log.entries(), bundle.ref), name)
    again = record.by in {approval.by for approval in before}
    if revoke and not again:
        who = ", ".join(approval.by for approval in before) or "nobody"
        raise ConfigError(
            f"{record.by} has not approved {bundle.ref} for {name}; {who} has",
            hint="mdeploy audit    (who approved what)",
        )
    log.insist(record)
    approvals, _ = approvals_in(_own(log.entries(), bundle.ref), name)
    wanted = project.promotion(name).approvals
    people = tuple(approval.by for approval in approvals)
    return Approval(bundle.ref, name, record.by, revoke, people, wanted, again=again and not revoke)


def _stable(project: Project, source: str, target: str) -> BundleRef:
    """The bundle to promote. Raises `PreflightError` where the source is in no state to give one."""
    busy = unfinished_on(project, source)
    stable = stable_on(project, source)
    if busy:
        told = f"{source} is not settled: {busy}"
        raise _refused(source, target, told, f"mdeploy status {source}")
    if stable is None:
        raise _refused(source, target, f"{source} runs nothing as stable", f"mdeploy deploy {source}")
    if stable.name != project.file.project.name:
        told = f"{source} runs {stable}, which is no bundle of {project.file.project.name}"
        raise _refused(source, target, told, f"mdeploy status {source}")
    return stable


def _refused(source: str, target: str, told: str, remedy: str) -> PreflightError:
    finding = Finding(f"{source}: stable", Level.ERROR, told, remedy)
    return PreflightError(f"nothing to promote to {target}: {told}", findings=[finding], hint=remedy)


def _bundle(project: Project, wanted: BundleRef, emit: Emit) -> Built:
    """The bundle of that digest: this machine's, otherwise the registry's."""
    from modeldeploy.ops.making import find_bundle

    found = find_bundle(project, wanted.digest, emit)
    if found.ref.digest != wanted.digest:
        raise BundleError(f"{found.ref} has the digest {found.ref.digest}, not {wanted.digest}")
    return found


def _own(entries: Sequence[Entry], bundle: BundleRef) -> list[Entry]:
    return [one for one in entries if one.record.bundle and one.record.bundle.digest == bundle.digest]
