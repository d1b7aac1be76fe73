"""A vulnerability database on this disk: a folder or a zip file of advisories in OSV's JSON form.

Files in it that are no advisories are counted and left out. A database without a single advisory for Python
packages is refused, since it would find nothing.

Source: https://ossf.github.io/osv-schema/
"""

from __future__ import annotations

import json
import zipfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from modeldeploy.errors import ConfigError

LARGEST = 8 << 20
"""Bytes of one advisory; the largest that there are have about one million."""
MOST = 500_000
"""Advisories; there are some twenty thousand for Python."""
ROOM = 4 << 30
"""Bytes of all of them; they have some hundred million."""
_HINT = "get one for PyPI in OSV's form (all.zip, as its files come), and give the zip or its folder"


@dataclass
class Database:
    """The advisories that concern some packages. ``newest`` is when the last of all was changed."""

    path: Path
    by_package: dict[str, list[dict[str, Any]]] = field(default_factory=dict)
    count: int = 0
    unreadable: int = 0
    newest: datetime | None = None
    bytes: int = 0


def read(path: Path, packages: frozenset[str]) -> Database:
    """Read a database, keeping what concerns these packages (canonical names).

    Raises `ConfigError` for a path that is no such database.
    """
    found = Database(path)
    try:
        for number, content in enumerate(_contents(path)):
            _take(found, content, packages)
            found.bytes += len(content or b"")
            if number >= MOST or found.bytes > ROOM:
                raise ConfigError(f"{path} holds more than any such database", hint=_HINT)
    except (OSError, zipfile.BadZipFile, zlib.error, NotImplementedError, RuntimeError) as error:
        reason = getattr(error, "strerror", None) or error
        raise ConfigError(f"cannot read the vulnerability database {path}: {reason}", hint=_HINT) from error
    if not found.count:
        raise ConfigError(f"{path} holds no advisory for Python packages", hint=_HINT)
    return found


def _contents(path: Path) -> Iterator[bytes | None]:
    """Each file that could be an advisory; None for one that is too large to be one."""
    if path.is_dir():
        for file in sorted(path.rglob("*.json")):
            if file.is_file():
                yield file.read_bytes() if file.stat().st_size <= LARGEST else None
        return
    with zipfile.ZipFile(path) as archive:
        for member in archive.infolist():
            if member.filename.endswith(".json"):
                with archive.open(member) as stream:
                    content = stream.read(LARGEST + 1)  # what it says of its size may be a lie
                yield content if len(content) <= LARGEST else None


def _take(found: Database, content: bytes | None, packages: frozenset[str]) -> None:
    try:
        advisory = json.loads(content or b"")
        names = python_packages(advisory)
        changed = datetime.fromisoformat(str(advisory["modified"]))
        str(advisory["id"])
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        found.unreadable += 1
        return
    if not names:
        return
    found.count += 1
    changed = changed if changed.tzinfo else changed.replace(tzinfo=UTC)
    found.newest = max(changed, found.newest or changed)
    for name in names & packages:
        found.by_package.setdefault(name, []).append(advisory)


def python_packages(advisory: Any) -> frozenset[str]:
    """Canonical names of the Python packages that an advisory concerns. Raises for nonsense."""
    from packaging.utils import canonicalize_name

    return frozenset(
        canonicalize_name(affected["package"]["name"])
        for affected in advisory.get("affected") or ()
        if is_python(affected)
    )


def is_python(affected: Any) -> bool:
    """True for an entry about a package of PyPI."""
    package = affected.get("package") or {}
    return str(package.get("ecosystem", "")).partition(":")[0] == "PyPI"
