"""What the store takes on disk, and removing from it what nothing needs.

A bundle that is removed goes in one rename, under the store's lock and its own: whoever works with it holds
that one (`BundleStore.hold`), and is not robbed. What is renamed away is deleted afterwards; a kill in
between leaves it in ``work/``, where the next build or removal deletes it.
"""

from __future__ import annotations

import contextlib
import os
import time
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from modeldeploy import files
from modeldeploy.bundle import bento, build
from modeldeploy.bundle.environment import MARKER, Environment
from modeldeploy.bundle.store import BundleStore, Stored, remove
from modeldeploy.errors import ModelDeployError
from modeldeploy.oci.descriptor import short

DAY = 86_400.0
_HOUR = 1 / 24
"""Days for which an environment stays, whatever the rules: a build may be at work in it."""
_BLOCK = 512
_CACHES = ("builds-", "debs", "digests", "image-", "models-", "skeletons-")
"""Folders of ``cache/`` whose entries save time and nothing else."""


@dataclass(frozen=True, slots=True)
class Size:
    """Bytes of a bundle on disk: ``all`` of it, and ``alone`` what would be free without it."""

    all: int
    alone: int


@dataclass(frozen=True, slots=True)
class Waste:
    """Something that nothing needs."""

    kind: str
    """``bundle``, ``environment``, ``cache``, ``download``, ``unfinished`` or ``image``."""
    name: str
    bytes: int
    """What is free without it; what it shares with others that go is counted once."""


@dataclass(frozen=True, slots=True)
class Kept:
    """A bundle that stays, and why."""

    name: str
    digest: str
    why: str


@dataclass(frozen=True, slots=True)
class Rules:
    """What is kept beside what targets need."""

    days: float = 30.0
    """Whatever was built or used within so many days."""
    versions: int = 5
    """So many of the newest versions of each name."""


Needed = Callable[[], Mapping[str, str]]
"""Tells for each digest that must stay, why. Asked under the locks that keep the answer true."""


class Inodes:
    """Files counted once, however many names they have."""

    def __init__(self, *folders: Path) -> None:
        self.names: Counter[tuple[int, int]] = Counter()
        self._found: dict[tuple[int, int], os.stat_result] = {}
        for folder in folders:
            self.add(folder)

    def add(self, folder: Path) -> None:
        """Count the files below a folder too."""
        for status in _statuses(folder):
            key = (status.st_dev, status.st_ino)
            self.names[key] += 1
            self._found[key] = status

    @property
    def bytes(self) -> int:
        """What they take."""
        return sum(status.st_blocks * _BLOCK for status in self._found.values())

    def freed(self, shared: Collection[tuple[int, int]] = ()) -> int:
        """What would be free if these names went; the ``shared`` ones have one more name, which goes too."""
        return sum(
            status.st_blocks * _BLOCK
            for key, status in self._found.items()
            if status.st_nlink <= self.names[key] + (key in shared)
        )


def sizes(store: BundleStore, bundles: Sequence[Stored]) -> tuple[dict[str, Size], int]:
    """The size of each bundle by its digest, and what all take together."""
    shared = Inodes(store.folder / "large").names
    found = {}
    for stored in bundles:
        inodes = Inodes(stored.path)
        found[stored.ref.digest] = Size(inodes.bytes, inodes.freed(shared))
    return found, Inodes(*(one.path for one in bundles)).bytes


@dataclass(frozen=True, slots=True)
class Collected:
    """What goes (or went) and what stays."""

    waste: tuple[Waste, ...]
    kept: tuple[Kept, ...]
    staying: frozenset[str]
    """Digests of all bundles that are left."""


def collect(store: BundleStore, rules: Rules, needed: Needed, *, dry_run: bool) -> Collected:
    """Remove the bundles that nobody needs, and the environments and caches that only they needed.

    With ``dry_run`` nothing is removed, and the same is told. Raises OSError.
    """
    files.private(store.folder / "work")
    with contextlib.ExitStack() as afterwards:
        with store.locked():
            unfinished = _unfinished(store)
            if not dry_run:
                store.sweep()
            trash = afterwards.enter_context(store.scratch())
            going, kept = _choose(store, rules, needed, _into(trash) if not dry_run else lambda path: path)
            waste = [*unfinished, *_bundles_of(store, going)]
            staying = [path for path in store.folder.glob("sha256-*") if path not in going]
        left = frozenset(path.name.replace("-", ":") for path in staying)
        waste += _environments(rules, staying, dry_run=dry_run)
        waste += _caches(rules, left, dry_run=dry_run)
        waste += _downloads(dry_run=dry_run)
    if not dry_run:
        with store.locked():
            store.sweep()  # big files that have no bundle any more
    return Collected(tuple(waste), kept, left)


def _into(trash: Path) -> Callable[[Path], Path]:
    def move(path: Path) -> Path:
        trash.mkdir(mode=0o700, exist_ok=True)
        path.chmod(0o700)  # or its own user could not move it
        return path.rename(trash / path.name)

    return move


def _choose(
    store: BundleStore, rules: Rules, needed: Needed, move: Callable[[Path], Path]
) -> tuple[list[Path], tuple[Kept, ...]]:
    """Moves away what can go. Returns where that is now, and the bundles that stay."""
    names = {stored.ref.digest: str(stored.ref) for stored in store.all()}
    reasons = {**_newest(store, rules), **needed()}
    going, kept = [], []
    for path in sorted(store.folder.glob("sha256-*")):
        digest = path.name.replace("-", ":")
        why = reasons.get(digest) or _fresh(path, rules)
        if not why:
            with store.claim(digest) as alone:
                # Asked again with the lock held: nobody can begin to use it from here on.
                why = (needed().get(digest) or _fresh(path, rules)) if alone else "somebody works with it now"
                if not why:
                    going.append(move(path))
        if why:
            kept.append(Kept(names.get(digest, short(digest)), digest, why))
    return going, tuple(sorted(kept, key=lambda one: one.name))


def _newest(store: BundleStore, rules: Rules) -> dict[str, str]:
    """Digests that their place among the versions of their name keeps."""
    by_name: dict[str, list[str]] = {}
    for stored in store.all():
        by_name.setdefault(stored.ref.name, []).append(stored.ref.digest)
    newest = {digest for found in by_name.values() for digest in found[max(0, len(found) - rules.versions) :]}
    return dict.fromkeys(newest, f"one of the {rules.versions} newest versions")


def _fresh(path: Path, rules: Rules) -> str:
    days = _age(path)
    return f"used {days:.0f} days ago" if days < rules.days else ""


def _bundles_of(store: BundleStore, going: Sequence[Path]) -> Iterator[Waste]:
    """What goes, with its bytes: of files that several of them share, the last one has them."""
    names = {ref.digest: str(ref) for ref in store.refs()}
    shared = Inodes(store.folder / "large").names
    inodes, before = Inodes(), 0
    for path in going:
        inodes.add(path)
        together = inodes.freed(shared)
        digest = path.name.replace("-", ":")
        yield Waste("bundle", names.get(digest, short(digest)), together - before)
        before = together


def _unfinished(store: BundleStore) -> list[Waste]:
    """What builds that died have left."""
    return [
        Waste("unfinished", lock.stem, Inodes(lock.with_suffix("")).bytes)
        for lock in sorted(store.folder.glob("work/*.lock"))
        if not files.is_locked(lock)
    ]


def _environments(rules: Rules, bundles: Sequence[Path], *, dry_run: bool) -> Iterator[Waste]:
    """Environments that no bundle runs in and nobody used lately."""
    folder = files.home() / "envs"
    needed = set()
    for bundle in bundles:
        with contextlib.suppress(ModelDeployError, ValueError):
            needed.add(Environment.of(bundle).path.name)
    for path in sorted(folder.iterdir() if folder.is_dir() else ()):
        if path.name in needed or not path.is_dir() or path.suffix == ".lock":
            continue
        lock = folder / f"{path.name}.lock"
        with contextlib.suppress(BlockingIOError), files.locked(lock, wait=False):
            if _age(path / MARKER) < max(rules.days, _HOUR):
                continue
            yield Waste("environment", path.name, Inodes(path).freed())
            if not dry_run:
                (path / MARKER).unlink(missing_ok=True)  # not whole from now on, should the rest fail
                remove(path)


def _downloads(*, dry_run: bool) -> Iterator[Waste]:
    """Pieces of bundles whose transfer was cut off, and that nobody has gone on with for a day."""
    folder = files.home() / "cache" / "pulls"
    found = [path for part in ("blobs/sha256/*", "uploads/*") for path in folder.glob(part)]
    stale = [path for path in found if path.exists() and _age(path) >= 1.0]
    if stale:
        yield Waste("download", folder.name, sum(_blocks(path) for path in stale))
    for path in () if dry_run else stale:
        path.unlink(missing_ok=True)


def _age(path: Path) -> float:
    """Days since a file was changed; for ever, where there is none."""
    try:
        return (time.time() - path.stat().st_mtime) / DAY
    except FileNotFoundError:
        return float("inf")


def _caches(rules: Rules, digests: Collection[str], *, dry_run: bool) -> Iterator[Waste]:
    """Notes that nobody looked up for long, of files and bundles that are gone, or of older versions."""
    folder = files.home() / "cache"
    for kind in sorted(folder.iterdir() if folder.is_dir() else ()):
        if not kind.name.startswith(_CACHES):
            continue
        stale = [path for path in kind.iterdir() if _stale(kind.name, path, rules, digests)]
        if stale:
            yield Waste("cache", kind.name, sum(_blocks(path) for path in stale))
        for path in () if dry_run else stale:
            path.unlink(missing_ok=True)


def _blocks(path: Path) -> int:
    try:
        return path.stat().st_blocks * _BLOCK
    except FileNotFoundError:
        return 0  # gone this instant: a note's half-written form is


def _stale(kind: str, path: Path, rules: Rules, digests: Collection[str]) -> bool:
    if kind == build.INDEX:
        with contextlib.suppress(OSError):
            return path.read_text() not in digests
    if kind.startswith(("builds-", "skeletons-")) and kind not in {build.INDEX, bento.CACHE}:
        return True
    return path.is_file() and _age(path) >= max(rules.days, 1.0)


def _statuses(folder: Path) -> Iterator[os.stat_result]:
    for inner, _folders, names in os.walk(folder):
        for name in names:
            with contextlib.suppress(OSError):  # gone this instant
                yield (Path(inner) / name).lstat()
