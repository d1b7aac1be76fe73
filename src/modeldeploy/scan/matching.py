"""Which advisories concern which version of a package.

Source: https://ossf.github.io/osv-schema/#evaluation
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from packaging.utils import canonicalize_name
from packaging.version import InvalidVersion, Version

from modeldeploy.scan import severity
from modeldeploy.scan.advisories import Database, is_python
from modeldeploy.scan.found import Package, Vulnerability

_BEST_NAMES = ("GHSA-", "PYSEC-", "CVE-")


def matches(database: Database, packages: Iterable[Package]) -> Iterator[Vulnerability]:
    """The vulnerabilities of these packages, each once, whatever the number of its names."""
    for package in packages:
        found = [
            vulnerability
            for advisory in database.by_package.get(canonicalize_name(package.name), ())
            if not advisory.get("withdrawn") and (vulnerability := _match(advisory, package))
        ]
        yield from merged(found)


def _match(advisory: Mapping[str, Any], package: Package) -> Vulnerability | None:
    try:
        version = Version(Version(package.version).public)
    except InvalidVersion:
        return None
    fixes: list[Version] = []
    hit = False
    for affected in _list(advisory.get("affected")):
        if is_python(affected) and _is_of(affected, package) and is_affected(affected, version):
            hit = True
            fixes += [fix for fix in _fixes(affected) if fix > version]
    if not hit:
        return None
    return Vulnerability(
        package.name,
        package.version,
        str(advisory["id"])[:100],
        tuple(str(alias)[:100] for alias in _list(advisory.get("aliases"))[:50]),
        severity.of(advisory),
        str(min(fixes)) if fixes else "",
        _one_line(advisory.get("summary") or advisory.get("details") or ""),
    )


def is_affected(affected: Mapping[str, Any], version: Version) -> bool:
    """True if the version is listed, or lies in one of the ranges."""
    if any(_version(text) == version for text in _list(affected.get("versions"))):
        return True
    return any(_in_range(events, version) for events in _ranges(affected))


def _ranges(affected: Mapping[str, Any]) -> Iterator[list[Mapping[str, Any]]]:
    """The events of each range of versions; ranges of commits say nothing here."""
    for each in _list(affected.get("ranges")):
        if isinstance(each, dict) and each.get("type") in ("ECOSYSTEM", "SEMVER"):
            yield [event for event in _list(each.get("events")) if isinstance(event, dict)]


def _list(value: object) -> list[Any]:
    return value if isinstance(value, list) else []


def _in_range(events: list[Mapping[str, Any]], version: Version) -> bool:
    limits = [event["limit"] for event in events if "limit" in event]
    if limits and not any(limit == "*" or version < _at(limit) for limit in limits):
        return False
    inside = False
    for event in sorted(filter(_says_where, events), key=_place):
        if "introduced" in event:
            inside = inside or version >= _at(event["introduced"])
        elif "fixed" in event:
            inside = inside and version < _at(event["fixed"])
        elif "last_affected" in event:
            inside = inside and version <= _at(event["last_affected"])
    return inside


def _says_where(event: Mapping[str, Any]) -> bool:
    """False for an end that is no version: it must not hide what it ends."""
    return "introduced" in event or _version(event.get("fixed", event.get("last_affected"))) is not None


def _place(event: Mapping[str, Any]) -> Version:
    told = event.get("introduced") or event.get("fixed") or event.get("last_affected") or "0"
    return _at(told)


def _at(text: object) -> Version:
    """A version of an event; "0" is before all others. What is no version counts as before all, too."""
    return _version(text) or _FIRST


_FIRST = Version("0.dev0")


def _version(text: object) -> Version | None:
    try:
        return _FIRST if text == "0" else Version(str(text))
    except InvalidVersion:
        return None


def _fixes(affected: Mapping[str, Any]) -> Iterator[Version]:
    for events in _ranges(affected):
        for event in events:
            if found := _version(event.get("fixed", "")):
                yield found


def _is_of(affected: Mapping[str, Any], package: Package) -> bool:
    return canonicalize_name(str(affected["package"]["name"])) == canonicalize_name(package.name)


def merged(found: Iterable[Vulnerability]) -> list[Vulnerability]:
    """The same, those that share a name made one: databases hold most things under several names."""
    groups: list[list[Vulnerability]] = []
    for each in found:
        same = [group for group in groups if any(each.names & other.names for other in group)]
        groups = [group for group in groups if group not in same]
        groups.append([each, *(other for group in same for other in group)])
    return sorted((_one_of(group) for group in groups), key=lambda each: (each.package, each.id))


def _one_of(group: list[Vulnerability]) -> Vulnerability:
    best = min(group, key=lambda each: (_rank(each.id), each.id))
    names = {name for each in group for name in each.names} - {best.id}
    worst = max((each.severity for each in group), key=("unknown", *severity.LEVELS).index)
    fixes = sorted((each.fixed for each in group if each.fixed), key=Version)
    summary = best.summary or next((each.summary for each in group if each.summary), "")
    return Vulnerability(
        best.package,
        best.version,
        best.id,
        tuple(sorted(names)),
        worst,
        fixes[-1] if fixes else "",
        summary,
    )


def _rank(name: str) -> int:
    return next((number for number, start in enumerate(_BEST_NAMES) if name.startswith(start)), 9)


def _one_line(text: object) -> str:
    words = " ".join(str(text).split())
    clean = "".join(letter for letter in words if letter.isprintable())
    return clean if len(clean) <= 160 else f"{clean[:159]}…"
