"""Changing what is live on a target: deploy, plan, rollback, resume, abort, destroy."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from modeldeploy.audit import Recorder, Telling
from modeldeploy.clock import SystemClock
from modeldeploy.config.peek import peek
from modeldeploy.errors import ConfigError, ModelDeployError, PreflightError, RegistryError, TargetUnavailable
from modeldeploy.events import Emit, Event
from modeldeploy.model import BundleRef, Finding, Holder, Level, Policy, RevisionId, RevisionSpec, Sealed
from modeldeploy.ops.auditing import build_facts, current_holder, recorder, told_bundle
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
    findings: tuple[Finding, ...] = ()
    """What the target's policy misses now, as warnings: `deploy` refuses to begin with any of them."""


def deploy(
    root: Path,
    target: str | None,
    *,
    ref: str | None = None,
    strategy: str | None = None,
    emit: Emit,
    interrupted: Interrupted = lambda: False,
) -> Outcome:
    """Roll a bundle out: the one of that reference, else the project's own, built if need be.

    Raises `PreflightError` where the target's ``[policy]`` does not let this bundle in.
    """
    project = _load(root)
    run = Run.on(root, target, "deploy", emit, interrupted)
    preflight(run.place)
    return run.roll_out(project, _bundle(project, ref, emit), strategy)


def plan(root: Path, target: str | None, *, ref: str | None = None, emit: Emit) -> PlanView:
    """The steps that `deploy` would take now. Builds the bundle if need be, touches no target."""
    project = _load(root)
    run = Run.on(root, target, "deploy", emit)
    bundle = _bundle(project, ref, emit)
    spec = revision_spec(project, run.target, bundle)
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
        findings=_against(run, bundle) if planned.steps else (),
    )


def _against(run: Run, bundle: Built) -> tuple[Finding, ...]:
    """What the target's policy has against a bundle now, as warnings. Planning does not fail over it."""
    from modeldeploy.ops.evidence import judge
    from modeldeploy.policy import unmet

    try:
        found = unmet(judge(run.root, run.target, bundle.ref, bundle.path, run.recorder))
    except RegistryError as error:
        told = f"whether its policy lets {bundle.ref} in cannot be told: {error.message}"
        return (Finding(f"{run.target}: policy", Level.WARNING, told, error.hint or ""),)
    return tuple(replace(finding, level=Level.WARNING) for finding in found)


def rollback(
    root: Path,
    target: str | None,
    *,
    to: str | None = None,
    emit: Emit,
    interrupted: Interrupted = lambda: False,
) -> Outcome:
    """Give all traffic back to a former revision. Needs no valid project file beyond its address."""
    run = Run.on(root, target, "rollback", emit, interrupted)
    with run.told():
        return run.engine(Policy()).rollback(to)


def abort(root: Path, target: str | None, *, emit: Emit, interrupted: Interrupted = lambda: False) -> Outcome:
    """Take an unfinished rollout back."""
    run = Run.on(root, target, "abort", emit, interrupted)
    with run.told():
        return run.engine(Policy()).abort()


def resume(
    root: Path, target: str | None, *, emit: Emit, interrupted: Interrupted = lambda: False
) -> Outcome:
    """Go on with an unfinished rollout, from any terminal. Going forward asks the policy again."""
    run = Run.on(root, target, "deploy", emit, interrupted)
    entry = journal.unfinished(run.place.store)
    bundle = entry.bundle if entry else None
    if entry is None or bundle is None:
        with run.told():
            return run.engine(Policy()).resume(None, None)
    path = _path_of(run, bundle)
    run.about(bundle, entry.candidate, path)
    if entry.towards == journal.PROMOTED and run.place.observe().traffic.stable != entry.candidate:
        run.insist_on_policy(bundle, path)
    from modeldeploy.ops.deployed import in_use

    with in_use(root, run.target, bundle), run.told():
        return run.engine(Policy()).resume(_spec_again(run, bundle, path), run.verifier(path))


def destroy(root: Path, target: str | None, *, emit: Emit) -> None:
    """Remove everything that the target holds, under its lock. Journals stay."""
    run = Run.on(root, target, "destroy", emit)
    with run.told():
        _destroy(run)


def _destroy(run: Run) -> None:
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


def _path_of(run: Run, bundle: BundleRef) -> Path:
    """Where a bundle is unpacked; fetched from the registry, where the rollout was begun elsewhere."""
    from modeldeploy.ops.references import obtain

    return obtain(run.root, bundle.name, bundle.digest, emit=run.emit).path


def _spec_again(run: Run, bundle: BundleRef, path: Path) -> RevisionSpec | None:
    """The spec of a candidate whose rollout was interrupted; None if the project file is gone or bad."""
    from modeldeploy.bundle.build import Built

    try:
        return revision_spec(_load(run.root), run.target, Built(bundle, path, unchanged=True))
    except ConfigError:
        return None


def preflight(place: Target) -> None:
    """Raise `PreflightError` for a target that cannot be used as it is."""
    findings = [finding for finding in place.check() if finding.level is Level.ERROR]
    if findings:
        raise PreflightError("the target cannot be used as it is", findings=findings)


@dataclass(frozen=True, slots=True)
class Run:
    """One command's work on one target: the target, who is told, and what the audit log will say."""

    root: Path
    target: str
    place: Target
    holder: Holder
    recorder: Recorder
    telling: Telling
    interrupted: Interrupted

    @classmethod
    def on(
        cls,
        root: Path,
        target: str | None,
        kind: str,
        emit: Emit,
        interrupted: Interrupted = lambda: False,
    ) -> Run:
        """The work of a command that makes an audit entry of that kind, should it change anything."""
        address = peek(root, target)
        log = recorder(root, emit)
        telling = log.telling(log.draft(kind, target=address.target))
        place = open_target(address.driver, address.project, address.target, address.options)
        return cls(root, address.target, place, current_holder(), log, telling, interrupted)

    @property
    def emit(self) -> Emit:
        return self.telling.emit

    def engine(self, policy: Policy) -> Engine:
        return Engine(
            self.place,
            policy,
            holder=self.holder,
            clock=SystemClock(),
            emit=self.emit,
            interrupted=self.interrupted,
        )

    def roll_out(self, project: Project, bundle: Built, strategy: str | None = None) -> Outcome:
        """Make a bundle the stable one, if the target's policy lets it in."""
        from modeldeploy.ops.deployed import in_use

        policy = project.policy(self.target)
        policy = replace(policy, strategy=strategy) if strategy else policy
        with in_use(self.root, self.target, bundle.ref):
            insist_on_every_byte(bundle)
            spec = revision_spec(project, self.target, bundle)
            self.about(bundle.ref, spec.id, bundle.path)
            self.insist_on_policy(bundle.ref, bundle.path)
            with self.told():
                return self.engine(policy).deploy(spec, self.verifier(bundle.path))

    def insist_on_policy(self, bundle: BundleRef, path: Path) -> None:
        """Raise `PreflightError` with all that the target's policy misses; note what it has found."""
        from modeldeploy.ops.evidence import insist

        found = insist(self.root, self.target, bundle, path, self.recorder)
        if found:
            self.telling.note(policy=[{"check": each.check, "told": each.message} for each in found])

    def verifier(self, bundle_path: Path) -> VerifyBundle:
        """Replays the bundle's golden samples, and notes how many there were."""

        def replay(call: Call) -> Verification:
            from modeldeploy.bundle import golden

            report = golden.verify(call, bundle_path)
            self.telling.note(golden={"total": report.total, "failed": len(report.failures)})
            return Verification(report.total, report.failures)

        return replay

    def about(self, bundle: BundleRef, revision: RevisionId | None, path: Path | None = None) -> None:
        """What the audit entry is about."""
        self.telling.revise(replace(self.telling.record, bundle=bundle, revision=revision))
        if path is not None:
            self.telling.note(build=build_facts(path))

    @contextmanager
    def told(self) -> Iterator[None]:
        """Make one audit entry of what happens within, however it ends, and deliver it if that is quick."""
        try:
            yield
        except BaseException as error:
            self._conclude(error)
            raise
        self._conclude(None)

    def _conclude(self, error: BaseException | None) -> None:
        if self.telling.began and isinstance(error, Exception | None):
            self._name_what_is_live()
        if self.telling.finish(error) and isinstance(error, Exception | None):
            self.recorder.deliver()  # a second Ctrl-C is in a hurry: the next command delivers it

    def _name_what_is_live(self) -> None:
        try:
            observed = self.place.observe()
        except ModelDeployError:
            return  # the entry names revisions all the same
        self.telling.note(bundles={known.id: told_bundle(known.bundle) for known in observed.revisions})
        stable = observed.find(observed.traffic.stable) if observed.traffic.stable else None
        if self.telling.record.bundle is None and stable:
            self.about(stable.bundle, stable.id)


def _described(step: Step) -> PlannedStep:
    return PlannedStep(kind_of(step), step.sentence)
