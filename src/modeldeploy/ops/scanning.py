"""Looking for known vulnerabilities in a bundle's packages, and for code in its files."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

from modeldeploy.bundle import pickles, progress
from modeldeploy.bundle.build import Built
from modeldeploy.bundle.frameworks import CUSTOM
from modeldeploy.bundle.manifest import LOCK, SOURCE, Manifest
from modeldeploy.bundle.pickles import Candidate, Examined
from modeldeploy.config.load import load
from modeldeploy.config.settings import ScanSettings
from modeldeploy.events import Emit
from modeldeploy.model import Finding, Level
from modeldeploy.ops.auditing import write_down
from modeldeploy.ops.making import find_bundle
from modeldeploy.scan import advisories, matching, online
from modeldeploy.scan.found import Looked, Package, Vulnerability
from modeldeploy.scan.packages import packages

DATABASE = "MDEPLOY_SCAN_DATABASE"
"""Variable of the environment that names the offline database."""
OLD = 30
"""Days after which a database is called old."""
FIX = "mdeploy build --upgrade --bump patch"
_NO_SOURCE = (
    "pip install pip-audit, which asks the package index; "
    "or give an offline database: mdeploy scan --database PATH"
)


@dataclass(frozen=True, slots=True)
class ScanReport:
    """What `scan` found. ``passed``: nothing that should keep the bundle from being deployed."""

    ref: str
    digest: str
    passed: bool
    source: str
    """Who was asked about vulnerabilities; empty where there was nobody to ask."""
    packages: int
    vulnerabilities: tuple[Vulnerability, ...]
    """All that are known; those that the project ignores say why."""
    files: tuple[Examined, ...]
    """Files that could run code when they are loaded."""
    outdated: str
    """A sentence where what is known about vulnerabilities is old; a policy does not count the scan then."""
    findings: tuple[Finding, ...]
    """The same as findings, each with its remedy, the worst first."""
    seconds: float


def scan(root: Path, ref: str | None = None, *, database: Path | None = None, emit: Emit) -> ScanReport:
    """Look through a bundle (default: the project's, built if need be). Loads nothing of it.

    Vulnerabilities come from ``database``, else the project's ``[scan] database``, else that of the
    environment, else from pip-audit where it is installed. Raises `ConfigError` for a database that is none.
    """
    began = time.monotonic()
    project = load(root)
    settings = project.scan()
    bundle = find_bundle(project, ref, emit)
    with progress.step(emit, "scan", f"looking through {bundle.ref}") as told:
        seen = tuple(_files(bundle.path))
        locked = packages((bundle.path / LOCK).read_text())
        looked = _look(bundle.path, locked, database or settings.database or _from_environment())
        found = _judged(looked, settings.ignore) if looked else ()
        findings = tuple(sorted(_findings(seen, settings, locked, looked, found), key=_worst_first))
        told["findings"] = sum(finding.level is not Level.OK for finding in findings)
    passed = all(finding.level is not Level.ERROR for finding in findings)
    source, outdated = (looked.source, looked.outdated) if looked else ("", "")
    seconds = round(time.monotonic() - began, 3)
    report = ScanReport(
        str(bundle.ref),
        bundle.ref.digest,
        passed,
        source,
        len(locked),
        found,
        seen,
        outdated,
        findings,
        seconds,
    )
    _write_down(root, bundle, report, emit)
    return report


def _from_environment() -> Path | None:
    named = os.environ.get(DATABASE)
    return Path(named) if named else None


def _files(bundle: Path) -> Iterator[Examined]:
    manifest = Manifest.read(bundle)
    loaded = manifest.model[:1] if manifest.framework == CUSTOM else ()
    for entry in manifest.files:
        if entry.path.startswith(f"{SOURCE}/"):
            name = entry.path.removeprefix(f"{SOURCE}/")
            candidate = Candidate(name, bundle / entry.path, sure=entry.path in loaded)
            if seen := pickles.examine(candidate.path, candidate.name, sure=candidate.sure):
                yield seen


def _look(bundle: Path, locked: tuple[Package, ...], database: Path | None) -> Looked | None:
    if database is None:
        program = online.program()
        return online.ask(program, (bundle / LOCK).read_text()) if program else None
    known = advisories.read(database, frozenset(package.name for package in locked))
    found = tuple(matching.matches(known, locked))
    day = f"{known.newest:%Y-%m-%d}" if known.newest else "an unknown day"
    source = (
        f"{database.name}, {known.count:,} {'advisory' if known.count == 1 else 'advisories'} up to {day}"
    )
    count = sum(bool(package.version) for package in locked)
    return Looked(source, count, found, tuple(_notes(known, locked)), _outdated(known))


def _outdated(known: advisories.Database) -> str:
    age = (datetime.now(UTC) - known.newest).days if known.newest else 0
    return f"the database is {age} days old: what was found since then is not in it" if age > OLD else ""


def _notes(known: advisories.Database, locked: tuple[Package, ...]) -> Iterator[str]:
    if known.unreadable:
        yield f"{known.unreadable:,} files of the database are no advisories and were left out"
    for package in locked:
        if not package.version:
            yield f"{package.name} is locked to a file whose version is not known, so it was not looked at"


def _judged(looked: Looked, ignore: Mapping[str, str]) -> tuple[Vulnerability, ...]:
    """The same, with the project's reasons for those that it ignores, under whichever of their names."""
    return tuple(
        replace(each, ignored=next((ignore[name] for name in sorted(each.names) if name in ignore), ""))
        for each in looked.vulnerabilities
    )


def _findings(
    seen: tuple[Examined, ...],
    settings: ScanSettings,
    locked: tuple[Package, ...],
    looked: Looked | None,
    found: tuple[Vulnerability, ...],
) -> Iterator[Finding]:
    for examined in seen:
        yield _of_file(examined, settings.trust)
    if looked is None:
        yield Finding("packages", Level.ERROR, "nobody was asked about vulnerabilities", _NO_SOURCE)
        return
    for each in found:
        yield _of_package(each)
    for note in filter(None, (looked.outdated, *looked.notes)):
        yield Finding("database", Level.WARNING, note, "get the newest database, then scan again")
    known = {name for each in found for name in each.names}
    for name in sorted(set(settings.ignore) - known):
        told = f"[scan] ignore names {name}, which concerns no package of the lock"
        yield Finding("ignore", Level.WARNING, told, "take it out of the project file")
    if not any(not each.ignored for each in found):
        of = "" if looked.packages >= len(locked) else f" of {len(locked)}"
        told = f"no known vulnerability in {looked.packages}{of} packages ({looked.source})"
        yield Finding("packages", Level.OK, told)


def _of_file(examined: Examined, trust: Mapping[str, str]) -> Finding:
    if examined.path in trust:
        told = f"{examined.path} is trusted: {trust[examined.path]} ({examined.told})"
        return Finding("files", Level.OK, told)
    level = {"dangerous": Level.ERROR, "suspicious": Level.WARNING}.get(examined.level, Level.OK)
    remedy = f'find out where it comes from; if you trust it: [scan.trust] "{examined.path}" = "REASON"'
    return Finding(
        "files", level, f"{examined.path}: {examined.told}", remedy if level is not Level.OK else ""
    )


def _of_package(each: Vulnerability) -> Finding:
    also = f" ({', '.join(each.aliases[:3])})" if each.aliases else ""
    rank = "severity unknown" if each.severity == "unknown" else each.severity
    told = f"{each.package} {each.version}: {each.id}{also}, {rank}"
    told += f": {each.summary}" if each.summary else ""
    if each.ignored:
        return Finding("packages", Level.OK, f"{told}; ignored: {each.ignored}")
    if each.fixed:
        return Finding("packages", Level.ERROR, f"{told}; fixed in {each.fixed}", FIX)
    remedy = f'replace the package; if it does not matter here: [scan.ignore] {each.id} = "REASON"'
    return Finding("packages", Level.ERROR, f"{told}; there is no fixed version yet", remedy)


def _worst_first(finding: Finding) -> int:
    return (Level.ERROR, Level.WARNING, Level.OK).index(finding.level)


def _write_down(root: Path, bundle: Built, report: ScanReport, emit: Emit) -> None:
    """One entry of the audit log: a policy may ask for a scan that has passed."""
    checks = [
        {"check": finding.check, "passed": False, "message": finding.message}
        for finding in report.findings
        if finding.level is Level.ERROR
    ]
    if report.outdated:
        checks.append({"check": "database", "passed": False, "message": report.outdated})
    data = {
        "passed": report.passed and not report.outdated,
        "source": report.source,
        "packages": report.packages,
        "vulnerabilities": [each.id for each in report.vulnerabilities if not each.ignored][:100],
        "ignored": {each.id: each.ignored for each in report.vulnerabilities if each.ignored},
        "checks": checks[:100],
    }
    write_down(root, "scan", emit, bundle=bundle.ref, data=data)
