"""May this bundle go to this target? Pure: from what the policy asks and what is known, one finding each.

Evidence is gathered elsewhere (`modeldeploy.ops.evidence`): from the audit log, the targets themselves and
the registry. Every requirement that is not met says what is missing, in numbers, and what to type.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from modeldeploy.config.settings import PolicySettings
from modeldeploy.model import BundleRef, Finding, Level


@dataclass(frozen=True, slots=True)
class Standing:
    """What one target of `from` runs now."""

    target: str
    stable: BundleRef | None = None
    """What it runs as stable; None for nothing."""
    since: float | None = None
    """End of the rollout that made it stable, Unix seconds; None where no entry of the log tells it."""
    entry: int | None = None
    """The entry that tells it."""
    doubt: str = ""
    """Why what it runs cannot be told, or does not count: it does not answer, a rollout is unfinished."""
    note: str = ""
    """What is odd about the time: clocks that disagree."""


@dataclass(frozen=True, slots=True)
class Mark:
    """One thing on record about exactly this bundle."""

    entry: int
    at: float
    by: str
    passed: bool
    told: str = ""
    """What failed, or what was found."""


@dataclass(frozen=True, slots=True)
class Signature:
    """What a look at the signatures in the registry found."""

    verified: bool
    told: str
    """Who signed, or why no signature counts."""


@dataclass(frozen=True, slots=True)
class Approval:
    """A person's word that the bundle may go to the target. It was not taken back."""

    by: str
    at: float
    entry: int


@dataclass(frozen=True, slots=True)
class Evidence:
    """All that is known of a bundle that wants to go to a target."""

    bundle: BundleRef
    now: float
    """Unix seconds."""
    standings: tuple[Standing, ...] = ()
    tests: tuple[Mark, ...] = ()
    """Runs of `mdeploy test`, oldest first."""
    samples: int = 0
    """Golden samples in the bundle."""
    replays: tuple[Mark, ...] = ()
    """Where all of these were reproduced, oldest first."""
    signature: Signature | None = None
    """None where nobody looked."""
    approvals: tuple[Approval, ...] = ()
    """One for each person."""
    discounted: tuple[str, ...] = ()
    """Approvals that do not count, and why."""
    scans: tuple[Mark, ...] = ()
    """Runs of `mdeploy scan`, oldest first."""


Rule = Callable[[PolicySettings, Evidence], Finding]


def evaluate(settings: PolicySettings, evidence: Evidence) -> tuple[Finding, ...]:
    """One finding for each thing that the policy asks: ``OK`` or ``ERROR``, in the order of the reference."""
    return tuple(rule(settings, evidence) for rule in _rules(settings))


def unmet(findings: tuple[Finding, ...]) -> tuple[Finding, ...]:
    """The requirements that are not met."""
    return tuple(finding for finding in findings if finding.level is Level.ERROR)


def _rules(settings: PolicySettings) -> Iterator[Rule]:
    if settings.sources:
        yield _source
    if settings.min_age:
        yield _age
    plain = {"test": _test, "golden": _golden, "signed": _signed}
    yield from (rule for name, rule in plain.items() if name in settings.require)
    if settings.approvals:
        yield _approved
    if "scanned" in settings.require:
        yield _scanned


def _source(settings: PolicySettings, evidence: Evidence) -> Finding:
    found = _standing(evidence)
    if found:
        return _met(settings, "from", f"{_named(evidence)} is stable on {found.target}")
    told = "; ".join(_elsewhere(standing, evidence.bundle) for standing in evidence.standings)
    where = " or ".join(settings.sources)
    doubtful = [standing for standing in evidence.standings if standing.doubt]
    remedy = (
        f"mdeploy status {doubtful[0].target}"
        if doubtful and doubtful[0].stable in (None, evidence.bundle)
        else f"mdeploy deploy {settings.sources[0]} {evidence.bundle}"
    )
    return _missing(settings, "from", f"{_named(evidence)} is not stable on {where}: {told}", remedy)


def _elsewhere(standing: Standing, wanted: BundleRef) -> str:
    if standing.doubt:
        return f"{standing.target}: {standing.doubt}"
    if standing.stable is None:
        return f"{standing.target} runs nothing"
    other = f"{standing.stable} ({short(standing.stable.digest)})"
    same = " of the same version" if standing.stable.version == wanted.version else ""
    return f"{standing.target} runs {other}{', another bundle' + same if same else ''}"


def _age(settings: PolicySettings, evidence: Evidence) -> Finding:
    asked = duration(settings.min_age)
    found = _standing(evidence)
    retry = f"mdeploy promote {found.target if found else settings.sources[0]} {settings.target}"
    if found is None:
        where = " or ".join(settings.sources)
        told = f"it is not stable on {where} now, and {asked} are asked for"
        return _missing(settings, "min_age", told, retry)
    if found.since is None:
        told = f"no entry of the audit log tells since when it is stable on {found.target}"
        remedy = f"mdeploy rollback {found.target}, then mdeploy deploy {found.target} {evidence.bundle}"
        return _missing(settings, "min_age", f"{told}; {asked} are asked for", remedy)
    age = max(0.0, evidence.now - found.since) // 1
    entry = f" (entry {found.entry})" if found.entry else ""
    told = f"stable on {found.target} for {duration(age)}, since {moment(found.since)}{entry}"
    note = f"; {found.note}" if found.note else ""
    if age >= settings.min_age:
        return _met(settings, "min_age", f"{told}; {asked} are asked for{note}")
    left = duration(settings.min_age - age)
    ready = moment(found.since + settings.min_age)
    return _missing(
        settings, "min_age", f"{told}; {asked} are asked for: {left} to go, until {ready}{note}", retry
    )


def _test(settings: PolicySettings, evidence: Evidence) -> Finding:
    remedy = f"mdeploy test {evidence.bundle}"
    if not evidence.tests:
        told = f"no mdeploy test of {_named(evidence)} is on record"
        return _missing(settings, "test", told, remedy)
    last = evidence.tests[-1]
    if not last.passed:
        return _missing(settings, "test", f"the newest test, {_mark(last)}, failed: {last.told}", remedy)
    return _met(settings, "test", f"passed, {_mark(last)}")


def _golden(settings: PolicySettings, evidence: Evidence) -> Finding:
    if not evidence.samples:
        told = f"{evidence.bundle} holds no golden samples"
        return _missing(settings, "golden", told, "mdeploy golden, then mdeploy build --bump patch")
    samples = f"{evidence.samples} golden sample{'' if evidence.samples == 1 else 's'}"
    if not evidence.replays:
        where = f"on {' or '.join(settings.sources)} or " if settings.sources else ""
        told = f"that its {samples} were reproduced {where}in a test is not on record"
        return _missing(settings, "golden", told, f"mdeploy test {evidence.bundle}")
    last = evidence.replays[-1]
    return _met(settings, "golden", f"{samples} reproduced {last.told}, {_mark(last)}")


def _signed(settings: PolicySettings, evidence: Evidence) -> Finding:
    found = evidence.signature or Signature(verified=False, told="nobody looked for a signature")
    if found.verified:
        return _met(settings, "signed", found.told)
    told = f"no signature of {_named(evidence)} counts: {found.told}"
    return _missing(settings, "signed", told, f"mdeploy sign {evidence.bundle}")


def _approved(settings: PolicySettings, evidence: Evidence) -> Finding:
    who = ", ".join(sorted(approval.by for approval in evidence.approvals))
    there, wanted = len(evidence.approvals), settings.approvals
    told = f"{there} of {wanted} approvals of {_named(evidence)} for {settings.target}"
    told += f": {who}" if who else ""
    told += f"; not counted: {'; '.join(evidence.discounted)}" if evidence.discounted else ""
    if there >= wanted:
        return _met(settings, f"approved:{wanted}", told)
    others = "another person has" if wanted - there == 1 else f"{wanted - there} other people have"
    told += f"; {others} to approve" if there else ""
    remedy = f"mdeploy approve {evidence.bundle} --for {settings.target}"
    return _missing(settings, f"approved:{wanted}", told, remedy)


def _scanned(settings: PolicySettings, evidence: Evidence) -> Finding:
    remedy = f"mdeploy scan {evidence.bundle}"
    if not evidence.scans:
        return _missing(settings, "scanned", f"no mdeploy scan of {_named(evidence)} is on record", remedy)
    last = evidence.scans[-1]
    if not last.passed:
        return _missing(settings, "scanned", f"the newest scan, {_mark(last)}: {last.told}", remedy)
    return _met(settings, "scanned", f"nothing that blocks, {_mark(last)}")


def _standing(evidence: Evidence) -> Standing | None:
    """The target of `from` where the bundle has been stable for longest."""
    good = [
        standing
        for standing in evidence.standings
        if not standing.doubt and standing.stable and standing.stable.digest == evidence.bundle.digest
    ]
    return min(good, key=lambda one: evidence.now if one.since is None else one.since, default=None)


def _met(settings: PolicySettings, requirement: str, told: str) -> Finding:
    return Finding(f"{settings.target}: {requirement}", Level.OK, told)


def _missing(settings: PolicySettings, requirement: str, told: str, remedy: str) -> Finding:
    return Finding(f"{settings.target}: {requirement}", Level.ERROR, told, remedy)


def _named(evidence: Evidence) -> str:
    return f"{evidence.bundle} ({short(evidence.bundle.digest)})"


def _mark(mark: Mark) -> str:
    return f"by {mark.by} at {moment(mark.at)} (entry {mark.entry})"


def short(digest: str) -> str:
    """Enough of a digest to tell it from others, and to name it in a command."""
    return digest[: len("sha256:") + 12]


def moment(at: float) -> str:
    """A time for people, in UTC and saying so."""
    return time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime(at))


def duration(seconds: float) -> str:
    """A length of time in its two largest units, e.g. ``1 h 4 min``. A second that has begun counts."""
    whole = math.ceil(seconds)
    parts = []
    for unit, size in (("d", 86_400), ("h", 3600), ("min", 60), ("s", 1)):
        count, whole = divmod(whole, size)
        if count:
            parts.append(f"{count} {unit}")
    return " ".join(parts[:2]) or "0 s"
