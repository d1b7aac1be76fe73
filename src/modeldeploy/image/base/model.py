"""A base: the layers at the bottom of an image, and what is known of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from modeldeploy.oci.descriptor import Blob, Platform


@dataclass(frozen=True, slots=True)
class Package:
    """One piece of software in a base, for the bill of materials."""

    name: str
    version: str
    purl: str
    """The package URL, e.g. ``pkg:deb/debian/python3.11@3.11.2-6?arch=amd64``."""
    licence: str = ""
    """SPDX expression, where it is known."""


@dataclass(frozen=True, slots=True)
class Base:
    """The layers that an image for one platform begins with. The same lock gives the same base."""

    platform: Platform
    layers: tuple[Blob, ...]
    """As they are sent: bottom first, each with its media type; compressed ones are compressed already."""
    diff_ids: tuple[str, ...]
    """``sha256:`` of each layer's tar, uncompressed, in the order of ``layers``."""
    config: Mapping[str, Any]
    """The ``config`` table of the base's image's configuration: ``Env``, ``User``, ``WorkingDir``."""
    python: str
    """The interpreter's path in the image, e.g. ``/usr/bin/python3.11``."""
    python_version: str
    """As exact as it is known: ``3.11.2`` for Debian packages, ``3.11`` for a base that says no more."""
    source: str
    """For people and for annotations: ``debian:bookworm``, ``host:5000/python:3.11``, ``oci:base``."""
    digest: str
    """Names the content: the manifest's digest by reference, the layer's diff ID for Debian packages."""
    packages: tuple[Package, ...] = ()
    """Empty for a base by reference: its packages are its maker's to tell."""
    history: tuple[Mapping[str, Any], ...] = field(default=())
    """The ``history`` of the base's image configuration, as it is there."""

    @property
    def environment(self) -> dict[str, str]:
        """The variables that the base sets."""
        pairs = (str(entry).partition("=") for entry in self.config.get("Env") or ())
        return {name: value for name, _, value in pairs}
