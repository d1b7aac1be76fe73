"""Is every package of a lock there as a wheel for a platform? Nothing is downloaded, nothing is built.

An image for a platform is put together from wheels, on whatever machine: what would have to be compiled for
it stops the lock, where it is cheap to mend, and not the image.
"""

from __future__ import annotations

import re
import tempfile
from collections.abc import Sequence
from pathlib import Path

from modeldeploy.bundle import uvtool
from modeldeploy.errors import BundleError

TAGS = {"linux/amd64": "x86_64-manylinux_2_28", "linux/arm64": "aarch64-manylinux_2_28"}
"""What uv calls each platform that images can be made for: its processor, and the oldest C library."""
_MOST = 8
"""Packages that one error names."""
_MISSING = re.compile(
    r"Because (\S+?)==\S+ has no "
    r"(?:usable wheels|wheels with a matching (?:platform|Python ABI|Python implementation) tag)"
)
_LINE = re.compile(r"([A-Za-z0-9][A-Za-z0-9._-]*)")


def insist(lock: str, python: str, platforms: Sequence[str]) -> None:
    """Raises `BundleError` that names each package without a wheel, its platform, and what to do."""
    lacking = {platform: missing(lock, python, platform) for platform in platforms}
    told = [f"{', '.join(names)} for {platform}" for platform, names in lacking.items() if names]
    if not told:
        return
    good = [f'"{platform}"' for platform, names in lacking.items() if not names]
    raise BundleError(
        f"there is no wheel of {'; '.join(told)}",
        hint="take another version or package in [build] requirements, or do without images for it: "
        f"[build] platforms = [{', '.join(good)}]",
        details={"missing": {platform: list(names) for platform, names in lacking.items() if names}},
    )


def missing(lock: str, python: str, platform: str) -> tuple[str, ...]:
    """Names of the locked packages that this platform has no wheel of, the first eight at most."""
    found: list[str] = []
    while len(found) < _MOST and (name := _first_missing(_without(lock, found), python, TAGS[platform])):
        found.append(name)
    return tuple(found)


def _first_missing(lock: str, python: str, tag: str) -> str | None:
    with tempfile.TemporaryDirectory(prefix="mdeploy-lock-") as folder:
        arguments = [
            *("pip", "compile", "-", "--quiet", "--no-deps", "--only-binary", ":all:"),
            *("--python-platform", tag, "--python-version", python),
            *("--output-file", str(Path(folder) / "lock.txt")),
        ]
        try:
            uvtool.run(arguments, doing="looking for wheels", cwd=Path(folder), stdin=lock.encode())
        except BundleError as error:
            if named := _MISSING.search(error.message):
                return named[1]
            raise
    return None


def _without(lock: str, names: Sequence[str]) -> str:
    """The lock without some of its packages, and without hashes, which do not matter here."""
    lines = [line.rstrip(" \\") for line in lock.splitlines() if not line.startswith(" ")]
    dropped = {name.lower() for name in names}
    kept = [line for line in lines if (named := _LINE.match(line)) and named[1].lower() not in dropped]
    return "".join(f"{line}\n" for line in kept)
