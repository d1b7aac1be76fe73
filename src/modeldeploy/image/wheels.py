"""The packages of a bundle's lock, as wheels for a platform, without what depends on who installed them.

uv (or pip) puts the wheels' files into a folder; no program of them is run, and a lock for another platform
than this machine's is installed as well. What installers add of their own is left out: scripts with the path
of an interpreter, INSTALLER, REQUESTED, direct_url.json. RECORD is written anew. Files are only read: uv
links them from its cache.
"""

from __future__ import annotations

import csv
import hashlib
import io
import re
import sys
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from email.message import Message
from email.parser import HeaderParser
from functools import cached_property
from pathlib import Path

from modeldeploy import shell
from modeldeploy.bundle import uvtool
from modeldeploy.errors import BundleError
from modeldeploy.oci.descriptor import Platform

_MACHINES = {"amd64": "x86_64", "arm64": "aarch64"}
_GLIBC = 28
"""Wheels for glibc 2.28 and older are taken: what uv takes without being told, and every base here has it."""
_OLDER = (27, 26, 24, 17, 12, 5)
_INSTALLERS_OWN = frozenset({"INSTALLER", "REQUESTED", "direct_url.json", "RECORD"})
_CHUNK = 1 << 20

Installer = Callable[[Path, Platform, str, Path], None]
"""Takes a lock file, the platform, the exact Python version, and the folder to install into."""


@dataclass(frozen=True, slots=True)
class Entry:
    """One file of a package. ``path`` is relative to the folder of packages, with forward slashes."""

    path: str
    source: Path | bytes
    sha256: str
    size: int
    executable: bool = False


@dataclass(frozen=True)
class Distribution:
    """One installed package: its files, sorted by path, and what it says of itself."""

    name: str
    version: str
    licence: str
    pure: bool
    """True if its wheel is for any platform."""
    entries: tuple[Entry, ...]

    @property
    def size(self) -> int:
        """Bytes of its files."""
        return sum(entry.size for entry in self.entries)

    @cached_property
    def key(self) -> str:
        """64 hexadecimal digits that tell its content."""
        digest = hashlib.sha256(f"{self.name} {self.version}\n".encode())
        for entry in self.entries:
            digest.update(f"{entry.path}\0{entry.sha256}\0{entry.executable:d}\n".encode())
        return digest.hexdigest()


def by_uv(lock: Path, platform: Platform, python: str, folder: Path) -> None:
    """Install with the uv that belongs to mdeploy. Raises `BundleError`."""
    uvtool.run(
        [
            *("pip", "install", "--quiet", "--no-deps", "--require-hashes", "--only-binary", ":all:"),
            *("--python", sys.executable, "--python-version", python),
            *("--python-platform", f"{_machine(platform)}-manylinux_2_{_GLIBC}"),
            *("--target", str(folder), "--requirement", str(lock)),
        ],
        doing=f"fetching the packages for {platform}",
        cwd=folder,
    )


def by_pip(python: Path) -> Installer:
    """An installer that runs the pip of an interpreter, which must be of the version that is asked for.

    pip judges the lock's markers by the interpreter and machine that it runs on, so this one is for
    machines of the image's own kind.
    """

    def install(lock: Path, platform: Platform, version: str, folder: Path) -> None:
        tags = [f"manylinux_2_{minor}_{_machine(platform)}" for minor in (_GLIBC, *_OLDER)]
        legacy = [f"manylinux{name}_{_machine(platform)}" for name in ("2014", "2010", "1")]
        names = [word for tag in (*tags, *legacy) for word in ("--platform", tag)]
        command: list[str | Path] = [
            python,
            *("-m", "pip", "install", "--quiet", "--no-deps", "--require-hashes", "--no-compile"),
            *("--only-binary", ":all:", "--implementation", "cp", "--python-version", version),
            *(*names, "--disable-pip-version-check", "--target", str(folder), "--requirement", str(lock)),
        ]
        try:
            shell.run(command, timeout=uvtool.SECONDS, cwd=folder)
        except shell.ToolFailed as error:
            raise BundleError(
                f"fetching the packages for {platform} failed", details=error.details
            ) from error

    return install


def distributions(folder: Path) -> tuple[Distribution, ...]:
    """All packages in a folder, by name; each file belongs to one. Raises `BundleError`."""
    taken: set[str] = set()
    found = []
    for info in sorted(folder.glob("*.dist-info")):
        try:
            found.append(_distribution(folder, info, taken))
        except (OSError, ValueError, csv.Error, IndexError) as error:
            raise BundleError(
                f"the package in {info.name} is not as a wheel must be: {error}",
                hint="clear the packager's cache and try again: uv cache clean",
            ) from error
    return tuple(found)


def _distribution(folder: Path, info: Path, taken: set[str]) -> Distribution:
    about = HeaderParser().parsestr((info / "METADATA").read_text(encoding="utf-8", errors="replace"))
    wheel = HeaderParser().parsestr((info / "WHEEL").read_text(encoding="utf-8"))
    rows = csv.reader(io.StringIO((info / "RECORD").read_text(encoding="utf-8")))
    paths = sorted({row[0] for row in rows if row and _wanted(row[0], info.name)} - taken)
    taken.update(paths)
    entries = [_entry(folder, path, info.name) for path in paths]
    record = f"{info.name}/RECORD"
    content = _record([*entries, Entry(record, b"", "", 0)])
    entries.append(Entry(record, content, hashlib.sha256(content).hexdigest(), len(content)))
    return Distribution(
        name=re.sub(r"[-_.]+", "-", about["Name"]).lower(),
        version=str(about["Version"]),
        licence=_licence(about),
        pure=all(tag.endswith("-any") for tag in wheel.get_all("Tag") or ("",)),
        entries=tuple(sorted(entries, key=lambda entry: entry.path)),
    )


def _wanted(path: str, info: str) -> bool:
    """False for scripts, for byte code, and for what the installer tells of itself."""
    parts = path.split("/")
    if parts[0] == info and parts[-1] in _INSTALLERS_OWN:
        return False
    outside = parts[0] in ("..", "bin", "") or ".." in parts
    return not outside and not path.endswith(".pyc")


def _entry(folder: Path, path: str, info: str) -> Entry:
    file = folder / path
    if file.is_symlink() or not file.is_file():
        raise ValueError(f"{path[:100]} is not a file")
    digest, size = hashlib.sha256(), 0
    with file.open("rb", buffering=0) as stream:
        while block := stream.read(_CHUNK):
            digest.update(block)
            size += len(block)
    executable = bool(file.stat().st_mode & 0o100) and not path.startswith(f"{info}/")
    return Entry(path, file, digest.hexdigest(), size, executable)


def _record(entries: Iterable[Entry]) -> bytes:
    import base64

    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    for entry in sorted(entries, key=lambda entry: entry.path):
        short = base64.urlsafe_b64encode(bytes.fromhex(entry.sha256)).rstrip(b"=").decode()
        writer.writerow([entry.path, f"sha256={short}" if short else "", entry.size if short else ""])
    return text.getvalue().encode()


def _licence(about: Message) -> str:
    """The SPDX expression of a package's metadata; empty where it has only free text."""
    return str(about.get("License-Expression") or "")


def _machine(platform: Platform) -> str:
    return _MACHINES[platform.architecture]
