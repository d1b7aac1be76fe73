"""Why two bundles differ: which file, which package, which setting; and what follows from that.

All that a bundle is made of is in its manifest and its lock, so two of these tell it all. Files of text are
shown line by line, a few of them: enough to recognise the change. What looks like a secret is not shown.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from difflib import unified_diff
from pathlib import Path
from typing import Any

from modeldeploy.bundle import facts
from modeldeploy.bundle.build import Inputs
from modeldeploy.bundle.lock import Pin, pins
from modeldeploy.bundle.manifest import LOCK, SOURCE, Manifest
from modeldeploy.bundle.stage import SERVICE, SERVING, Item
from modeldeploy.bundle.store import DERIVED
from modeldeploy.errors import BundleError

MODEL, CODE, GOLDEN = "model", "code", "golden"
GENERATED, SERVED, BENTOML = "generated", "serving", "bentoml"
LARGEST_SHOWN = 100_000
"""Bytes of the largest file whose lines are shown."""
MOST_LINES, MOST_LINES_EACH, _LONGEST_LINE = 200, 40, 200
_NOT_TOLD = frozenset({"files", "format", "lock"})
_SECRET = re.compile(
    r"(?i)(pass(word|wd|phrase)?|secret|token|credential|api[_-]?key|private[_-]?key)\w*[\"']?\s*[:=]"
    r"|://[^/\s:@]+:[^/\s@]+@|-----BEGIN|\b(AKIA|ghp_|github_pat_|glpat-|sk-|xox[abp]-)[A-Za-z0-9_-]{8,}"
)


@dataclass(frozen=True, slots=True)
class Content:
    """One side of a comparison: a bundle, or a project as it is now."""

    title: str
    """For people: ``digits:1.0.0``, or ``the project``."""
    manifest: Manifest
    lock: str
    """The lock's text."""
    read: Callable[[str], bytes | None]
    """The content of a small file by its path; None for one that is large or not there."""
    complete: bool = True
    """False where BentoML's part was not made yet: then there is no digest either."""
    facts: Mapping[str, Any] = field(default_factory=dict)
    notes: tuple[str, ...] = ()

    @property
    def digest(self) -> str | None:
        """``sha256:`` of the manifest."""
        return self.manifest.digest() if self.complete else None


@dataclass(frozen=True, slots=True)
class FileChange:
    """A file that one side has and the other has not, or has with other content. Sizes in bytes."""

    path: str
    kind: str
    """``model``, ``code``, ``golden``, ``generated`` (from the signature), ``serving`` (mdeploy's own code),
    ``bentoml`` (made by BentoML of all the others)."""
    change: str
    """``added``, ``removed``, ``changed``, or ``mode`` where only the executable bit differs."""
    before: int | None
    after: int | None
    diff: tuple[str, ...] = ()
    """Lines of a unified diff, for small files of text; without what looks like a secret."""


@dataclass(frozen=True, slots=True)
class PackageChange:
    """A locked package that differs. Two versions with their platforms are one text."""

    name: str
    before: str | None
    after: str | None
    hashes_only: bool = False
    """The same version, of which other files are known or wanted."""


@dataclass(frozen=True, slots=True)
class SettingChange:
    """A setting, or a part of the signature, by its key: ``signature.inputs.pixels.dtype``."""

    key: str
    before: Any
    after: Any


@dataclass(frozen=True, slots=True)
class LayerChange:
    """A layer of an image that differs: the base, a wheel, a group of them, a model, the code."""

    platform: str
    kind: str
    name: str
    before: str | None
    """Its name and digest."""
    after: str | None
    compression_only: bool = False
    """The same content, compressed by another version of the compressor."""


@dataclass(frozen=True, slots=True)
class Side:
    """Which bundle it was."""

    title: str
    digest: str | None
    """None for a project of which BentoML's part was not made yet."""


@dataclass(frozen=True, slots=True)
class Differences:
    """All that makes two bundles differ; JSON values throughout."""

    before: Side
    after: Side
    same: bool
    """The content is the same. ``facts`` may differ all the same: they are not content."""
    summary: str
    files: tuple[FileChange, ...]
    packages: tuple[PackageChange, ...]
    settings: tuple[SettingChange, ...]
    facts: tuple[SettingChange, ...]
    """What differs in where and with what they were built, but for the time."""
    images: tuple[LayerChange, ...] = ()
    """What differs in their images, where this machine has made one of each."""
    notes: tuple[str, ...] = ()


def bundle(title: str, path: Path) -> Content:
    """An unpacked bundle as a side. Raises `BundleError`."""
    manifest = Manifest.read(path)
    known = {entry.path: entry.size for entry in manifest.files}

    def read(name: str) -> bytes | None:
        return (path / name).read_bytes() if known.get(name, LARGEST_SHOWN + 1) <= LARGEST_SHOWN else None

    try:
        lock = (path / LOCK).read_text()
    except OSError as error:
        raise BundleError(f"{path} has lost its lock ({LOCK}): {error.strerror}") from error
    return Content(title, manifest, lock, read, facts=facts.read(path))


def project(inputs: Inputs, made: tuple[Item, ...] | None, *, notes: tuple[str, ...] = ()) -> Content:
    """A project as a side: its inputs, and what BentoML made of them, if that is known."""
    items = (*inputs.weights, *inputs.code, *inputs.golden, *(made or ()))
    by_path = {item.file.path: item for item in items}

    def read(name: str) -> bytes | None:
        item = by_path.get(name)
        if item is None or item.file.size > LARGEST_SHOWN:
            return None
        return item.source if isinstance(item.source, bytes) else item.source.read_bytes()

    told = facts.gather(inputs.recipe.root, inputs.lock)
    return Content(
        "the project",
        inputs.manifest(made or ()),
        inputs.lock.text,
        read,
        complete=made is not None,
        facts=told,
        notes=notes,
    )


def differences(before: Content, after: Content) -> Differences:
    """What makes ``after`` another bundle than ``before``."""
    files = tuple(_shown(before, after, _files(before, after)))
    packages = tuple(_packages(before.lock, after.lock))
    settings = tuple(_settings(_flat(_said(before.manifest)), _flat(_said(after.manifest))))
    told = tuple(_settings(_timeless(before.facts), _timeless(after.facts)))
    same = not files and not packages and not settings and before.manifest.lock == after.manifest.lock
    found = Differences(
        Side(before.title, before.digest),
        Side(after.title, after.digest),
        same,
        "",
        files,
        packages,
        settings,
        told,
        notes=(*before.notes, *after.notes),
    )
    return replace(found, summary=_summary(found))


def _files(before: Content, after: Content) -> Iterator[FileChange]:
    old = {entry.path: entry for entry in before.manifest.files}
    new = {entry.path: entry for entry in after.manifest.files}
    for path in sorted(old.keys() | new.keys()):
        left, right = old.get(path), new.get(path)
        kind = kind_of(path, after.manifest if right else before.manifest)
        if left == right or path == LOCK or (kind == BENTOML and not (before.complete and after.complete)):
            continue
        if left and right:
            change = "mode" if left.sha256 == right.sha256 else "changed"
        else:
            change = "removed" if left else "added"
        sizes = left.size if left else None, right.size if right else None
        yield FileChange(path, kind, change, *sizes)


def kind_of(path: str, manifest: Manifest) -> str:
    """What a file of a bundle is for."""
    if path in manifest.model:
        return MODEL
    if manifest.golden and path == manifest.golden.path:
        return GOLDEN
    if path.startswith(f"{SOURCE}/{SERVING}/"):
        return SERVED
    if path in {f"{SOURCE}/{SERVICE}.py", f"{SOURCE}/{SERVICE}.json"}:
        return GENERATED
    return BENTOML if path.startswith(DERIVED) else CODE


def _shown(before: Content, after: Content, changes: Iterator[FileChange]) -> Iterator[FileChange]:
    """The same with lines: first of what people wrote, and of BentoML's part only if nothing else differs."""
    found = list(changes)
    written = [change for change in found if change.kind in {CODE, GENERATED, GOLDEN, SERVED}]
    left = MOST_LINES
    for change in found:
        if change.change == "changed" and left > 0 and (change in written or not written):
            lines = _diff(before.read(change.path), after.read(change.path))[: min(left, MOST_LINES_EACH)]
            left -= len(lines)
            yield replace(change, diff=tuple(lines))
        else:
            yield change


def _diff(before: bytes | None, after: bytes | None) -> list[str]:
    try:
        old, new = (before or b"").decode().splitlines(), (after or b"").decode().splitlines()
    except UnicodeDecodeError:
        return []
    if before is None or after is None or "\0" in "".join(old[:1] + new[:1]):
        return []
    return [_safe(line) for line in list(unified_diff(old, new, n=1, lineterm=""))[2:]]


def _safe(line: str) -> str:
    """A line that can be shown: no secret, nothing that a terminal would obey, not too long."""
    if _SECRET.search(line):
        return f"{line[:1]} (not shown: it looks like a secret)"
    clean = "".join(letter if letter.isprintable() or letter == "\t" else "?" for letter in line)
    return clean if len(clean) <= _LONGEST_LINE else f"{clean[:_LONGEST_LINE]}..."


def _packages(before: str, after: str) -> Iterator[PackageChange]:
    old, new = _by_name(before), _by_name(after)
    for name in sorted(old.keys() | new.keys()):
        left, right = old.get(name, ()), new.get(name, ())
        if left == right:
            continue
        texts = _versions(left), _versions(right)
        yield PackageChange(name, *texts, hashes_only=texts[0] == texts[1])


def _by_name(lock: str) -> dict[str, tuple[Pin, ...]]:
    found: dict[str, tuple[Pin, ...]] = {}
    for pin in pins(lock):
        found[pin.name] = (*found.get(pin.name, ()), pin)
    return found


def _versions(found: tuple[Pin, ...]) -> str | None:
    """``1.2.3``, or ``1.2.3 (sys_platform == 'linux'), 1.2.4 (...)``."""
    told = [f"{pin.version} ({pin.marker})" if pin.marker else pin.version for pin in found]
    return ", ".join(told) or None


def _said(manifest: Manifest) -> dict[str, Any]:
    said: dict[str, Any] = json.loads(manifest.to_bytes())
    return {key: value for key, value in said.items() if key not in _NOT_TOLD}


def _flat(value: object, key: str = "") -> dict[str, Any]:
    """Every single value by its key, joined with dots; of a list of named things, the name is a key."""
    if isinstance(value, list) and value and all(isinstance(one, dict) and "name" in one for one in value):
        value = {str(one["name"]): {k: v for k, v in one.items() if k != "name"} for one in value}
    if not isinstance(value, Mapping):
        return {key: value}
    found: dict[str, Any] = {}
    for name, inner in value.items():
        found |= _flat(inner, f"{key}.{name}" if key else str(name))
    return found


def _timeless(facts: Mapping[str, Any]) -> dict[str, Any]:
    return _flat({key: value for key, value in facts.items() if key != "built"})


def _settings(before: Mapping[str, Any], after: Mapping[str, Any]) -> Iterator[SettingChange]:
    for key in sorted(before.keys() | after.keys()):
        if before.get(key) != after.get(key):
            yield SettingChange(key, before.get(key), after.get(key))


def _summary(found: Differences) -> str:
    if found.same:
        what = "the same content" + (f", {found.before.digest}" if found.before.digest else "")
        return f"{what}; they differ only in where they were built" if found.facts else what
    own = [change for change in found.files if change.kind != BENTOML]
    counts = [
        (len(own), "file"),
        (len(found.packages), "package"),
        (len(found.settings), "setting"),
    ]
    told = [f"{count} {word}{'' if count == 1 else 's'}" for count, word in counts if count]
    if not told:
        return "BentoML made something else of the same files, packages and settings"
    verb = "differs" if [count for count, _ in counts if count] == [1] else "differ"
    return f"{' and '.join([', '.join(told[:-1]), told[-1]] if told[:-1] else told)} {verb}"
