"""What is known of a bundle that wants to go to a target: from the audit log, the targets and the registry.

`modeldeploy.policy` decides by it. Only what the policy asks for is looked at.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from modeldeploy.audit import Entry, Recorder
from modeldeploy.audit.timeline import steady_since
from modeldeploy.bundle.manifest import Manifest
from modeldeploy.clock import SystemClock
from modeldeploy.config.settings import PolicySettings
from modeldeploy.errors import ConfigError, ModelDeployError, PreflightError
from modeldeploy.model import BundleRef, Finding, Level
from modeldeploy.ops.auditing import repository_of
from modeldeploy.policy import Approval, Evidence, Mark, Signature, Standing, evaluate, unmet
from modeldeploy.rollout import journal
from modeldeploy.targets import open_target

TYPE_CHECKING = False
if TYPE_CHECKING:
    from modeldeploy.config.load import Project

ON_RECORD = frozenset({"test", "golden", "scanned"})
"""Requirements that the audit log answers."""


def insist(root: Path, target: str, bundle: BundleRef, path: Path, log: Recorder) -> tuple[Finding, ...]:
    """What the target's policy found in favour of a bundle; nothing, where it asks nothing.

    ``path`` is where the bundle is unpacked. Raises `PreflightError` with everything that is missing, and
    `RegistryError` where the audit log, which has to tell, cannot be read.
    """
    found = judge(root, target, bundle, path, log)
    missing = unmet(found)
    if missing:
        raise PreflightError(
            f"the policy of {target} does not let {bundle} in: {len(missing)} of {len(found)} requirements "
            f"{'is' if len(missing) == 1 else 'are'} not met",
            findings=missing,
            hint=missing[0].remedy if len(missing) == 1 else "meet them one by one: each says how",
        )
    return found


def judge(root: Path, target: str, bundle: BundleRef, path: Path, log: Recorder) -> tuple[Finding, ...]:
    """One finding for each thing that the target's policy asks of a bundle; none where it asks nothing.

    Raises `RegistryError` where the audit log, which has to tell, cannot be read.
    """
    project = _project(root, target)
    settings = project.promotion(target) if project else PolicySettings(target)
    if project is None or settings.asks_nothing:
        return ()
    where = project.locate(("policy", target))
    found = evaluate(settings, gather(project, settings, bundle, path, log))
    return tuple(replace(each, where=where) if each.level is Level.ERROR else each for each in found)


def gather(
    project: Project, settings: PolicySettings, bundle: BundleRef, path: Path, log: Recorder
) -> Evidence:
    """All that the policy needs to know. Raises `RegistryError` where the audit log cannot be read."""
    asks_log = settings.approvals or settings.min_age or settings.require & ON_RECORD
    entries = log.entries() if asks_log else []
    own = [entry for entry in entries if entry.record.bundle and entry.record.bundle.digest == bundle.digest]
    now = SystemClock().now()
    standings = tuple(_standing(project, name, entries, bundle, now) for name in settings.sources)
    approvals, discounted = approvals_in(own, settings.target)
    golden = Manifest.read(path).golden if "golden" in settings.require else None
    signature = _signature(project, bundle) if "signed" in settings.require else None
    return Evidence(
        bundle=bundle,
        now=now,
        standings=standings,
        tests=tuple(_mark(entry) for entry in own if entry.record.kind == "test"),
        samples=golden.samples if golden else 0,
        replays=tuple(_replays(own, settings.sources)),
        signature=signature,
        approvals=approvals,
        discounted=discounted,
        scans=tuple(_mark(entry) for entry in own if entry.record.kind == "scan"),
    )


def approvals_in(own: Sequence[Entry], target: str) -> tuple[tuple[Approval, ...], tuple[str, ...]]:
    """Who approves a bundle for a target, each person once; and whose approvals do not count, and why.

    A person is the name before the ``@``: the same one on two machines, or in two containers, counts once.
    """
    last = {
        entry.record.by: entry
        for entry in own
        if entry.record.kind == "approve" and entry.record.data.get("for") == target
    }
    people: dict[str, Entry] = {}
    discounted = []
    for entry in last.values():
        by = entry.record.by
        other = people.get(_person(by))
        if entry.record.data.get("revoked"):
            discounted.append(f"{by} took it back (entry {entry.n})")
        elif other:
            discounted.append(f"{by} is the name of {other.record.by} (entry {entry.n})")
        else:
            people[_person(by)] = entry
    approvals = tuple(Approval(entry.record.by, entry.record.at, entry.n) for entry in people.values())
    return approvals, tuple(discounted)


def _person(by: str) -> str:
    return by.partition("@")[0].casefold()


def unfinished_on(project: Project, target: str) -> str:
    """What is going on on a target, in words; empty where nothing is. Raises `TargetError`."""
    address = project.address(target)
    store = open_target(address.driver, address.project, address.target, address.options).store
    holder = store.holder()
    if holder:
        return f"{holder.owner} is changing it: {holder.command}"
    entry = journal.unfinished(store)
    if entry and entry.begun:
        reason = f" ({entry.reason})" if entry.reason else ""
        return f"a {entry.action} of {entry.candidate or entry.stable} by {entry.by} is unfinished{reason}"
    return ""


def stable_on(project: Project, target: str) -> BundleRef | None:
    """The bundle that a target runs as stable. Raises `TargetError`."""
    address = project.address(target)
    place = open_target(address.driver, address.project, address.target, address.options)
    observed = place.observe()
    stable = observed.find(observed.traffic.stable) if observed.traffic.stable else None
    return stable.bundle if stable else None


def _standing(
    project: Project, target: str, entries: Sequence[Entry], wanted: BundleRef, now: float
) -> Standing:
    try:
        bundle = stable_on(project, target)
        doubt = unfinished_on(project, target)
    except ModelDeployError as error:
        return Standing(target, doubt=f"what it runs cannot be told: {error.message}")
    steady = steady_since(entries, target, wanted.digest, now) if bundle else None
    if bundle is None or bundle.digest != wanted.digest or steady is None:
        return Standing(target, bundle, doubt=doubt)
    return Standing(target, bundle, steady.since, steady.entry, doubt, steady.note)


def _mark(entry: Entry) -> Mark:
    data = entry.record.data
    failed = [
        f"{check.get('check')}: {check.get('message')}"
        for check in data.get("checks") or ()
        if isinstance(check, dict) and not check.get("passed")
    ]
    told = "; ".join(failed) or str(data.get("told") or "")
    return Mark(entry.n, entry.record.at, entry.record.by, bool(data.get("passed")), told)


def _replays(own: Sequence[Entry], sources: Sequence[str]) -> list[Mark]:
    """Where all golden samples were reproduced: in a test, or when it was rolled out on a source."""
    found = []
    for entry in own:
        record = entry.record
        golden = record.data.get("golden") or {}
        in_test = record.kind == "test"
        on_source = record.kind in ("deploy", "promote") and (not sources or record.target in sources)
        if (in_test or on_source) and golden.get("total") and not golden.get("failed"):
            where = "in a test" if in_test else f"on {record.target}"
            found.append(Mark(entry.n, record.at, record.by, passed=True, told=where))
    return found


def _signature(project: Project, bundle: BundleRef) -> Signature:
    """Whether somebody whose signatures count has signed the bundle's artifact in the registry."""
    from modeldeploy.bundle import artifact
    from modeldeploy.signing import keys, verifying

    repository = repository_of(project.root, project.file.project.name)
    tag = artifact.digest_tag(bundle.digest)
    pushed = repository.tag(tag)
    if pushed is None:
        return Signature(verified=False, told=f"it is not in {repository.where}: mdeploy push {bundle}")
    if artifact.read(repository, pushed).ref.digest != bundle.digest:
        return Signature(verified=False, told=f"{repository.where}:{tag} is another bundle")
    claims = {"version": bundle.version, "bundle": bundle.digest}
    trusted = project.signing()
    known = keys.public_keys(trusted.public_keys)
    judged = verifying.judge(repository, pushed, known, claims=claims, identities=trusted.identities)
    if judged.verified:
        who = ", ".join(one.key for one in judged.verified)
        return Signature(verified=True, told=f"signed by {who}")
    return Signature(verified=False, told="; ".join(judged.rejected) or "it is not signed")


def _project(root: Path, target: str) -> Project | None:
    """The project; None where its file is bad, but has certainly no policy for this target."""
    from modeldeploy.config.load import load

    try:
        return load(root)
    except ConfigError:
        if _may_have_policy(root, target):
            raise
        return None


def _may_have_policy(root: Path, target: str) -> bool:
    """Whether a file that cannot be read seems to have a policy for a target. In doubt it has."""
    text = "\n".join(path.read_text("utf-8", "replace") for path in root.glob("modeldeploy*.toml"))
    lines = [line.strip() for line in text.splitlines() if "policy" in line]
    return any(target in line or line.endswith("policy]") for line in lines)
