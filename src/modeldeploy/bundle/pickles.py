"""Files that run code when they are loaded: pickles, and what has pickles or code inside.

They are looked at, never loaded, in a child process (`modeldeploy.bundle.pickle_probe`) with limits: such a
file may be made to break whoever looks at it. What was found is kept by the file's digest.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from modeldeploy import files, shell
from modeldeploy.bundle import progress
from modeldeploy.bundle.digests import content_of
from modeldeploy.bundle.formats import PICKLES
from modeldeploy.errors import BundleError
from modeldeploy.events import Emit

SECONDS = 120
_CACHE = "pickles-1"
"""The number grows when something is judged in another way."""
_SUFFIXES = frozenset(
    {
        *PICKLES,
        *(".npy", ".npz", ".keras", ".h5", ".hdf5", ".zip", ".7z", ".gz", ".bz2", ".xz", ".lzma", ".z"),
    }
)
_STARTS = re.compile(
    rb"\x80[\x00-\x05]|PK\x03\x04|PK\x05\x06|\x93NUMPY|\x89HDF|\x1f\x8b|BZh|\xfd7zXZ|7z\xbc\xaf"
)


@dataclass(frozen=True, slots=True)
class Import:
    """Something that loading a file would import, and could call."""

    name: str
    safety: str
    """``innocuous``, ``suspicious`` (nothing is known about it) or ``dangerous``."""


@dataclass(frozen=True, slots=True)
class Examined:
    """One file that could run code when it is loaded."""

    path: str
    """In the project, or in the bundle."""
    kinds: tuple[str, ...]
    """``pickle``, ``archive``, ``HDF5``, ``Keras``."""
    level: str
    """``innocuous``, ``suspicious`` or ``dangerous``: that of the worst that was found."""
    imports: tuple[Import, ...] = ()
    """The worst first."""
    reasons: tuple[str, ...] = ()
    """What else is wrong, in words."""

    @property
    def told(self) -> str:
        """What loading it would do, for people."""
        worst = [each.name for each in self.imports if each.safety == self.level]
        parts = list(self.reasons)
        if worst and self.level != "innocuous":
            more = f" and {len(worst) - 5} more" if len(worst) > 5 else ""
            parts.append(f"loading it would use {', '.join(worst[:5])}{more}")
        return "; ".join(parts) or "nothing in it runs code"


@dataclass(frozen=True, slots=True)
class Candidate:
    """A file to look at."""

    name: str
    """In the project, or in the bundle."""
    path: Path
    sure: bool = False
    """It is loaded as a model, whatever it looks like."""


def examine(path: Path, name: str, *, sure: bool = False) -> Examined | None:
    """What a file would do when it is loaded; None for one that holds no code in any form known here.

    Files whose name and first bytes say that they are something else are not looked at, unless ``sure`` to
    be loaded as a model. Raises OSError where it cannot be read.
    """
    if not (sure or _may_hold_code(path)):
        return None
    place = files.home() / "cache" / _CACHE / f"{content_of(path).sha256}{path.suffix.lower()[:10]}.json"
    told = _kept(place)
    if told is None:
        told = _probed(path)
        files.private(place.parent)
        files.write_json(place, told)
    if not told["kinds"] and not told["reasons"]:
        return None
    return Examined(
        name,
        tuple(told["kinds"]),
        told["level"],
        tuple(Import(each["name"], each["safety"]) for each in told["calls"]),
        tuple(told["reasons"]),
    )


def insist(candidates: Iterable[Candidate], *, trust: Mapping[str, str], emit: Emit) -> tuple[Examined, ...]:
    """Refuse dangerous files that the project does not trust; warn of those that nothing is known about.

    Raises `BundleError`.
    """
    found = [
        seen
        for each in candidates
        if each.name not in trust and (seen := examine(each.path, each.name, sure=each.sure))
    ]
    for seen in found:
        if seen.level == "dangerous":
            raise BundleError(
                f"{seen.path} is dangerous to load: {seen.told}",
                hint=f"find out where it comes from; if you trust it, say why in modeldeploy.toml: "
                f'[scan.trust] "{seen.path}" = "made by our own training job"',
                details={"imports": [each.name for each in seen.imports[:20]]},
            )
        if seen.level == "suspicious":
            progress.warn(
                emit,
                f"{seen.path} can run code when it is loaded: {seen.told}",
                path=seen.path,
                imports=[each.name for each in seen.imports[:20]],
            )
    return tuple(found)


def _may_hold_code(path: Path) -> bool:
    if path.suffix.lower() in _SUFFIXES:
        return True
    with path.open("rb") as stream:
        return _STARTS.match(stream.read(8)) is not None


def _kept(place: Path) -> dict[str, Any] | None:
    try:
        known: dict[str, Any] | None = files.read_json(place)
        return known if known and {"kinds", "level", "calls", "reasons"} <= set(known) else None
    except (ValueError, OSError, TypeError):
        return None  # a damaged entry is made anew


def _probed(path: Path) -> dict[str, Any]:
    command = [sys.executable, "-P", "-m", "modeldeploy.bundle.pickle_probe", str(path), str(SECONDS)]
    try:
        done = shell.run(command, env={"OPENBLAS_NUM_THREADS": "1"}, timeout=SECONDS)
        told: dict[str, Any] = json.loads(done.output.splitlines()[-1])
    except (shell.ToolFailed, ValueError, IndexError):
        reason = "it makes whoever looks through it crash, hang or run out of memory"
        return {"kinds": ["unreadable"], "level": "dangerous", "calls": [], "reasons": [reason]}
    return told
