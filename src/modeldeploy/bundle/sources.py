"""Which files of a project go into its bundle: those of ``build.include``, without accidents.

Walks only where an include pattern can match, and never into version control, virtual environments, caches
and their like. What was left out for that reason is told, so that nobody has to guess.
"""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from modeldeploy.errors import BundleError

MOST_FILES = 20_000
_FOLDERS = frozenset(
    {
        *(".git", ".hg", ".svn", ".venv", "venv", "node_modules", "__pycache__", ".ipynb_checkpoints"),
        *(".mypy_cache", ".pytest_cache", ".ruff_cache", ".tox", ".nox", ".eggs", ".idea", ".vscode"),
    }
)
_FILES = re.compile(r".*\.py[co]|\.DS_Store|\.env(\..*)?|modeldeploy\..*(toml|lock)|.*\.egg-info")
"""Compiled code, secrets for local use, and mdeploy's own files."""


@dataclass(slots=True)
class Found:
    """The files that a project's patterns chose. ``files`` maps the path in the project to the real file."""

    files: dict[str, Path] = field(default_factory=dict)
    skipped: list[str] = field(default_factory=list)
    """Folders and files that a pattern could have meant and that were left out all the same."""


def collect(root: Path, include: Sequence[str], exclude: Sequence[str]) -> Found:
    """The files below ``root`` that a pattern of ``include`` matches and none of ``exclude``.

    A pattern is relative to ``root``; ``*`` stays within a folder, ``**`` crosses folders, and the name of
    a folder means all that is in it. Raises `BundleError` for a link that leads out of the project, for
    names that are not UTF-8, and for more than `MOST_FILES` files.
    """
    found = Found()
    if include:
        walk = _Walk(root.resolve(), _any_of(include), _any_of(exclude), _reach(include))
        for path, real in walk.files(root, "", found.skipped, frozenset()):
            found.files[path] = real
            if len(found.files) > MOST_FILES:
                raise _too_many(found)
    return found


@dataclass(frozen=True, slots=True)
class _Walk:
    home: Path
    include: re.Pattern[str]
    exclude: re.Pattern[str]
    reach: int | None
    """How many folders deep a pattern can match; None: any number."""

    def files(
        self, folder: Path, prefix: str, skipped: list[str], above: frozenset[Path]
    ) -> Iterator[tuple[str, Path]]:
        for entry in sorted(os.scandir(folder), key=lambda entry: entry.name):
            path = prefix + _utf8(entry.name, folder)
            if self.exclude.fullmatch(path):
                continue
            if entry.is_dir():
                yield from self._inside(Path(entry.path), path, skipped, above)
            elif self.include.fullmatch(path) and self._wanted(entry, path, skipped):
                yield path, Path(entry.path)

    def _inside(
        self, folder: Path, path: str, skipped: list[str], above: frozenset[Path]
    ) -> Iterator[tuple[str, Path]]:
        named = self.include.fullmatch(path)
        if not named and self.reach is not None and path.count("/") + 1 > self.reach:
            return
        if folder.name in _FOLDERS or (folder / "pyvenv.cfg").exists():
            skipped.append(f"{path}/")
            return
        real = folder.resolve()
        self._check_link(folder, path)
        if real not in above:  # a link to a folder that it is in would never end
            yield from self.files(folder, f"{path}/", skipped, above | {real})

    def _wanted(self, entry: os.DirEntry[str], path: str, skipped: list[str]) -> bool:
        if _FILES.fullmatch(entry.name):
            skipped.append(path)
            return False
        self._check_link(Path(entry.path), path)
        if not entry.is_symlink() or Path(entry.path).exists():
            regular = stat.S_ISREG(entry.stat().st_mode)
            if not regular:
                skipped.append(path)
            return regular
        raise BundleError(
            f"{path} is a link to nothing", hint="remove the link, or leave it out by [build] exclude"
        )

    def _check_link(self, file: Path, path: str) -> None:
        if file.is_symlink() and not file.resolve().is_relative_to(self.home):
            raise BundleError(
                f"{path} is a link that leads out of the project, to {file.resolve()}",
                hint=f'copy it into the project, or leave it out: [build] exclude = ["{path}"]',
            )


def _any_of(patterns: Sequence[str]) -> re.Pattern[str]:
    return re.compile("|".join(f"(?:{_regex(pattern)})" for pattern in patterns) or r"(?!)")


def _regex(pattern: str) -> str:
    """``*`` within a folder, ``**`` for any number of folders; a folder stands for all that is in it."""
    parts = [part for part in pattern.replace("\\", "/").split("/") if part not in {"", "."}]
    text = ""
    for number, part in enumerate(parts):
        last = number == len(parts) - 1
        if part == "**":
            text += ".*" if last else "(?:[^/]+/)*"
        else:
            text += _segment(part) + ("" if last else "/")
    return f"{text}(?:/.*)?"


def _segment(part: str) -> str:
    """``*``, ``?`` and ``[...]`` as in a shell, none of which leaves its folder."""
    pieces = re.findall(r"\[!?\]?[^]]*\]|.", part)
    return "".join(_piece(piece) for piece in pieces)


def _piece(piece: str) -> str:
    if len(piece) > 1:
        inner = piece[1:-1].replace("\\", "\\\\").replace("[", "\\[")
        return f"[^/{inner[1:]}]" if inner.startswith("!") else f"[{inner}]"
    return {"*": "[^/]*", "?": "[^/]"}.get(piece, re.escape(piece))


def _reach(patterns: Sequence[str]) -> int | None:
    """How deep the folders lie that have to be looked into. A plain name may be a folder: see `_inside`."""
    if any("**" in pattern for pattern in patterns):
        return None
    return max(pattern.strip("/").count("/") for pattern in patterns)


def _utf8(name: str, folder: Path) -> str:
    try:
        name.encode()
    except UnicodeEncodeError:
        raise BundleError(
            f"a file name in {folder} is not UTF-8: {os.fsencode(name)!r}", hint="rename the file"
        ) from None
    return name


def _too_many(found: Found) -> BundleError:
    heads = [path.split("/", 1)[0] for path in found.files]
    fullest = max(set(heads), key=heads.count)
    return BundleError(
        f"[build] include matches more than {MOST_FILES:,} files, most of them in {fullest}/",
        hint=f'leave that folder out: [build] exclude = ["{fullest}"]',
    )
