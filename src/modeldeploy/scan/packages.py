"""The packages of a lock, by name and version."""

from __future__ import annotations

from urllib.parse import unquote, urlsplit

from packaging.utils import (
    InvalidSdistFilename,
    InvalidWheelFilename,
    canonicalize_name,
    parse_sdist_filename,
    parse_wheel_filename,
)

from modeldeploy.bundle.lock import pins
from modeldeploy.scan.found import Package


def packages(text: str) -> tuple[Package, ...]:
    """Every package of a lock's text, over all platforms, each version once."""
    found = {
        Package(canonicalize_name(pin.name.partition("[")[0]), _version(pin.version)): None
        for pin in pins(text)
    }
    return tuple(found)


def _version(pinned: str) -> str:
    """The version of a pin; of a file at an address, what its name says."""
    if "://" not in pinned:
        return pinned
    name = unquote(urlsplit(pinned).path).rpartition("/")[2]
    try:
        parse = parse_wheel_filename if name.endswith(".whl") else parse_sdist_filename
        return str(parse(name)[1])
    except (InvalidWheelFilename, InvalidSdistFilename):
        return ""
