"""What a scan finds."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Package:
    """One package of a lock. ``version`` is empty where the lock names a file whose version is not known."""

    name: str
    version: str


@dataclass(frozen=True, slots=True)
class Vulnerability:
    """A known vulnerability of a package, under one of its names."""

    package: str
    version: str
    id: str
    """Such as ``GHSA-…``."""
    aliases: tuple[str, ...] = ()
    """Its other names, such as ``CVE-…``."""
    severity: str = "unknown"
    """``low``, ``medium``, ``high``, ``critical`` or ``unknown``."""
    fixed: str = ""
    """The lowest version without it; empty where there is none."""
    summary: str = ""
    ignored: str = ""
    """Why the project says that it does not matter; empty where it does."""

    @property
    def names(self) -> frozenset[str]:
        """All its names."""
        return frozenset({self.id, *self.aliases})


@dataclass(frozen=True, slots=True)
class Looked:
    """What was found in one place where vulnerabilities are known."""

    source: str
    """The database or the program, with its age or version."""
    packages: int
    """How many packages were looked at."""
    vulnerabilities: tuple[Vulnerability, ...]
    notes: tuple[str, ...] = ()
    """What could not be looked at, a sentence each."""
    outdated: str = ""
    """A sentence where what is known there is old: then a policy does not take the scan for one."""
