"""Changing what is live on a target: deploy, plan, rollback, resume, abort, destroy."""

from __future__ import annotations

import getpass
import hashlib
import json
import os
import platform
import re
import shlex
import sys
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from modeldeploy.audit import audited
from modeldeploy.clock import SystemClock
from modeldeploy.config.peek import peek
from modeldeploy.errors import ConfigError, PreflightError, TargetUnavailable
from modeldeploy.events import Emit, Event
from modeldeploy.model import BundleRef, Holder, Level, Policy, RevisionId, RevisionSpec, Sealed
from modeldeploy.rollout import journal
from modeldeploy.rollout.acts import Call, Verification, VerifyBundle
from modeldeploy.rollout.engine import Engine, Outcome
from modeldeploy.rollout.plan import plan_rollout
from modeldeploy.rollout.steps import Step, kind_of
from modeldeploy.target import Target
from modeldeploy.targets import open_target

TYPE_CHECKING = False
if TYPE_CHECKING:
    from modeldeploy.bundle.build import Built
    from modeldeploy.config.load import Project

Interrupted = Callable[[], bool]

_ROUNDS = 100_000

DESTROY_TIMEOUT = 120.0
"""Seconds within which a target must have stopped everything."""


@dataclass(frozen=True, slots=True)
class PlannedStep:
    """One step that `deploy` would take."""

    kind: str
    sentence: str


@dataclass(frozen=True, slots=True)
class PlanView:
    """What `deploy` would do. Made without touching the target."""

    steps: tuple[PlannedStep, ...]
    nothing_to_do: bool
    current: str | None
    """The stable bundle, e.g. ``digits:1.0.0``; None where nothing is deployed."""
    wanted: str
    revision: RevisionId


def deploy(
    root: Path,
    target: str | None,
    *,
    ref: str | None = None,
    strategy: str | None = None,
    emit: Emit,
    interrupted: Interrupted = lambda: False,
) -> Outcome:
    """Roll a bundle out: the one of that reference, else the project's own, built if need be."""
    project = _load(root)
    run = _Run.on(root, target, emit, interrupted)
    _preflight(run.place)
    bundle = _bundle(project, ref, emit)
    insist_on_every_byte(bundle)
    policy = project.policy(run.target)
    policy = replace(policy, strategy=strategy) if strategy else policy
    return run.engine(policy).deploy(revision_spec(project, run.target, bundle), _verifier(bundle.path))


def plan(root: Path, target: str | None, *, ref: str | None = None, emit: Emit) -> PlanView:
    """The steps that `deploy` would take now. Builds the bundle if need be, touches no target."""
    project = _load(root)
    run = _Run.on(root, target, emit)
    spec = revision_spec(project, run.target, _bundle(project, ref, emit))
    observed = run.place.observe()
    policy = project.policy(run.target)
    planned = plan_rollout(spec.id, spec.bundle, policy, observed, run.place.capabilities)
    stable = observed.find(observed.traffic.stable) if observed.traffic.stable else None
    return PlanView(
        steps=tuple(_described(step) for step in planned.steps),
        nothing_to_do=not planned.steps,
        current=str(stable.bundle) if stable else None,
        wanted=str(spec.bundle),
        revision=spec.id,
    )


def rollback(
    root: Path,
    target: str | None,
    *,
    to: str | None = None,
    emit: Emit,
    interrupted: Interrupted = lambda: False,
) -> Outcome:
    """Give all traffic back to a former revision. Needs no valid project file beyond its address."""
    return _Run.on(root, target, emit, interrupted).engine(Policy()).rollback(to)


def abort(root: Path, target: str | None, *, emit: Emit, interrupted: Interrupted = lambda: False) -> Outcome:
    """Take an unfinished rollout back."""
    return _Run.on(root, target, emit, interrupted).engine(Policy()).abort()


def resume(
    root: Path, target: str | None, *, emit: Emit, interrupted: Interrupted = lambda: False
) -> Outcome:
    """Go on with an unfinished rollout, from any terminal."""
    run = _Run.on(root, target, emit, interrupted)
    entry = journal.unfinished(run.place.store)
    bundle = entry.bundle if entry else None
    if bundle is None:
        return run.engine(Policy()).resume(None, None)
    path = _path_of(bundle)
    return run.engine(Policy()).resume(_spec_again(run, bundle, path), _verifier(path))


def destroy(root: Path, target: str | None, *, emit: Emit) -> None:
    """Remove everything that the target holds, under its lock. Journals stay."""
    run = _Run.on(root, target, emit)
    clock = SystemClock()
    deadline = clock.monotonic() + DESTROY_TIMEOUT
    with run.place.store.lock(run.holder):
        run.place.destroy()
        while (seen := run.place.observe()).revisions or seen.up:
            if clock.monotonic() > deadline:
                left = ", ".join(revision.id for revision in seen.revisions) or "the router"
                raise TargetUnavailable(
                    f"still there after {DESTROY_TIMEOUT:g} s: {left}", hint="run it again"
                )
            clock.sleep(0.05)
        journal.close_unfinished(run.place.store, clock, "the target was destroyed")
    run.emit(Event("target.destroyed", clock.now(), "nothing is left on the target"))


def revision_spec(project: Project, target: str, bundle: Built) -> RevisionSpec:
    """What a driver needs to run this bundle with this target's settings."""
    env = project.env(target)
    replicas = project.target(target).replicas
    return RevisionSpec(
        id=revision_id(bundle.ref, replicas, env),
        project=project.file.project.name,
        bundle=bundle.ref,
        bundle_path=str(bundle.path),
        rollout="",
        replicas=replicas,
        env=env,
    )


def revision_id(bundle: BundleRef, replicas: int, env: Sealed) -> RevisionId:
    """The name of a bundle with a configuration: same inputs, same name, on any machine.

    Every answer's header tells it. So it is derived slowly: nobody should find a secret of ``env`` by
    trying which value gives the name.
    """
    content = json.dumps([bundle.digest, replicas, sorted(env.items())]).encode()
    digest = hashlib.pbkdf2_hmac("sha256", content, bundle.digest.encode(), _ROUNDS)
    version = re.sub(r"[^a-z0-9.]+", "-", bundle.version.lower()).strip("-.")
    return RevisionId(f"{version}-{digest.hex()[:8]}")


def current_holder() -> Holder:
    """This process, as others are told of it when they find the lock held."""
    command = shlex.join([Path(sys.argv[0]).name, *sys.argv[1:]])
    return Holder(f"{getpass.getuser()}@{platform.node()}", os.getpid(), command, SystemClock().now())


def _load(root: Path) -> Project:
    from modeldeploy.config.load import load

    return load(root)


def _bundle(project: Project, ref: str | None, emit: Emit) -> Built:
    from modeldeploy.ops.making import find_bundle

    return find_bundle(project, ref, emit)


def insist_on_every_byte(bundle: Built) -> None:
    """What goes live is what its digest says, also on a disk that forgets."""
    from modeldeploy.bundle.store import BundleStore

    BundleStore().check(bundle.path, full=True)


def _path_of(bundle: BundleRef) -> Path:
    from modeldeploy.ops.making import stored_bundle

    return stored_bundle(bundle.name, bundle.digest).path


def _spec_again(run: _Run, bundle: BundleRef, path: Path) -> RevisionSpec | None:
    """The spec of a candidate whose rollout was interrupted; None if the project file is gone or bad."""
    from modeldeploy.bundle.build import Built

    try:
        return revision_spec(_load(run.root), run.target, Built(bundle, path, unchanged=True))
    except ConfigError:
        return None


def _verifier(bundle_path: Path) -> VerifyBundle:
    def replay(call: Call) -> Verification:
        from modeldeploy.bundle import golden

        report = golden.verify(call, bundle_path)
        return Verification(report.total, report.failures)

    return replay


def _preflight(place: Target) -> None:
    findings = [finding for finding in place.check() if finding.level is Level.ERROR]
    if findings:
        raise PreflightError("the target cannot be used as it is", findings=findings)


@dataclass(frozen=True, slots=True)
class _Run:
    """One command's work on one target: the target, and who is told."""

    root: Path
    target: str
    place: Target
    holder: Holder
    emit: Emit
    interrupted: Interrupted

    @classmethod
    def on(cls, root: Path, target: str | None, emit: Emit, interrupted: Interrupted = lambda: False) -> _Run:
        address = peek(root, target)
        holder = current_holder()
        told = audited(emit, project=address.project, target=address.target, holder=holder)
        place = open_target(address.driver, address.project, address.target, address.options)
        return cls(root, address.target, place, holder, told, interrupted)

    def engine(self, policy: Policy) -> Engine:
        return Engine(
            self.place,
            policy,
            holder=self.holder,
            clock=SystemClock(),
            emit=self.emit,
            interrupted=self.interrupted,
        )


def _described(step: Step) -> PlannedStep:
    return PlannedStep(kind_of(step), step.sentence)
