"""A base by reference: an image in any registry, or in an OCI layout folder.

Only its manifest and its configuration are read. Its layers stay where they are: they are mounted where the
image goes to the same registry, and otherwise streamed from one place to the other, past this disk.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from modeldeploy.errors import BundleError
from modeldeploy.image.base.lockfile import ReferencedBase
from modeldeploy.image.base.model import Base
from modeldeploy.image.base.reference import Place, Reference, is_digest
from modeldeploy.oci.descriptor import Blob, Descriptor, Platform
from modeldeploy.oci.manifest import (
    DOCKER_LAYER,
    LAYER_GZIP,
    LAYER_TAR,
    LAYER_ZSTD,
    Index,
    Manifest,
    parse,
    read_object,
)

LABEL = "dev.mdeploy.python"
"""Label by which a base tells where its Python is, if it has no ``PYTHON_VERSION`` of the official images."""
_PROGRAM = re.compile(r"/[^\0]*/python(3\.\d+)")
_VERSION = re.compile(r"3\.\d+(\.\d+)?")
_KINDS = {LAYER_TAR: LAYER_TAR, LAYER_GZIP: LAYER_GZIP, LAYER_ZSTD: LAYER_ZSTD, DOCKER_LAYER: LAYER_GZIP}
"""Kinds of layers that are taken, and what the same bytes are called in an OCI manifest."""
_KEPT = ("Env", "User", "WorkingDir", "Labels")
_LARGEST = 8 << 20
"""Bytes of a configuration."""


def resolve(
    reference: Reference, place: Place, platform: Platform, *, python: str, interpreter: str = ""
) -> ReferencedBase:
    """What the reference stands for now, on one platform. ``python`` is what the bundle needs, e.g. ``3.11``.

    Raises `BundleError` for an image that is not there, is for another platform, or has another Python.
    """
    image = _Image.read(reference, place, _of_platform(reference, place, platform), platform)
    path, version = image.python(interpreter)
    if version.split(".")[:2] != python.split(".")[:2]:
        raise BundleError(
            f"{reference.text} has Python {version}, and the bundle is for {python}",
            hint=f"take a base with Python {python}, or set [build] python and build anew: mdeploy build",
        )
    return ReferencedBase(image.digest, path, version)


def base_of(locked: ReferencedBase, reference: Reference, place: Place, platform: Platform) -> Base:
    """The base that a lock names. Raises `BundleError` where it is not there or makes no sense."""
    image = _Image.read(reference, place, locked.manifest, platform)
    diff_ids = image.diff_ids()
    return Base(
        platform=platform,
        layers=tuple(image.layer(place, layer) for layer in image.manifest.layers),
        diff_ids=diff_ids,
        config={name: image.settings[name] for name in _KEPT if image.settings.get(name)},
        python=locked.interpreter,
        python_version=locked.python,
        source=reference.text.partition("@")[0],
        digest=locked.manifest,
        history=image.history(len(diff_ids)),
    )


def _of_platform(reference: Reference, place: Place, platform: Platform) -> str:
    """The digest of the manifest for that platform."""
    digest = reference.digest
    if not digest:
        found = place.tag(reference.tag)
        if not found:
            raise BundleError(
                f"[image] base: there is no {reference.text}",
                hint="correct the name or the tag, or give the digest: NAME@sha256:...",
            )
        digest = found.digest
    top = _parsed(reference, place, digest)
    if isinstance(top, Manifest):
        return digest
    suitable = [each for each in top.manifests if each.platform == platform]
    if not suitable:
        there = ", ".join(sorted({str(each.platform) for each in top.manifests if each.platform}))
        raise BundleError(
            f"{reference.text} is not for {platform}; it is for {there or 'no platform'}",
            hint="take another base, or other [image] platforms",
        )
    return suitable[0].digest


def _parsed(reference: Reference, place: Place, digest: str) -> Manifest | Index:
    try:
        return parse(place.manifest(digest))
    except ValueError as error:
        raise _nonsense(reference, str(error)) from error


@dataclass(frozen=True, slots=True)
class _Image:
    """A manifest and its configuration."""

    reference: Reference
    digest: str
    manifest: Manifest
    config: Mapping[str, Any]

    @classmethod
    def read(cls, reference: Reference, place: Place, digest: str, platform: Platform) -> _Image:
        manifest = _parsed(reference, place, digest)
        if not isinstance(manifest, Manifest):
            raise _nonsense(reference, "an index stands where a manifest should be")
        config = _configuration(reference, place, manifest.config)
        found = Platform(str(config.get("os")), str(config.get("architecture")))
        if found != platform:
            raise BundleError(
                f"{reference.text} is for {found}, not for {platform}",
                hint="take a base that is for several platforms, or other [image] platforms",
            )
        return cls(reference, digest, manifest, config)

    @property
    def settings(self) -> Mapping[str, Any]:
        """What containers of it begin with."""
        settings = self.config.get("config") or {}
        return settings if isinstance(settings, dict) else {}

    def python(self, interpreter: str) -> tuple[str, str]:
        """Path and version of its Python: as told, by its label, or as the official images have it."""
        labels = self.settings.get("Labels") or {}
        pairs = (str(entry).partition("=") for entry in self.settings.get("Env") or ())
        version = {name: value for name, _, value in pairs}.get("PYTHON_VERSION", "")
        path = interpreter or str(labels.get(LABEL, ""))
        if not path and _VERSION.fullmatch(version):
            path = f"/usr/local/bin/python{'.'.join(version.split('.')[:2])}"
        found = _PROGRAM.fullmatch(path)
        if not found:
            raise BundleError(
                f"{self.reference.text} does not say where its Python is"
                + (f": {path!r:.80} is no path such as /usr/bin/python3.11" if path else ""),
                hint=f"have it say so, in its Dockerfile: LABEL {LABEL}=/usr/bin/python3.11",
            )
        exact = version if version.startswith(f"{found[1]}.") and _VERSION.fullmatch(version) else found[1]
        return path, exact

    def diff_ids(self) -> tuple[str, ...]:
        """Digests of the layers, uncompressed."""
        rootfs = self.config.get("rootfs")
        found = rootfs.get("diff_ids") if isinstance(rootfs, dict) else None
        if not isinstance(found, list) or not all(is_digest(str(each)) for each in found):
            raise _nonsense(self.reference, "its configuration does not tell its layers")
        if len(found) != len(self.manifest.layers):
            raise _nonsense(
                self.reference, f"it has {len(self.manifest.layers)} layers and tells {len(found)} of them"
            )
        return tuple(found)

    def layer(self, place: Place, descriptor: Descriptor) -> Blob:
        """One layer, under the name that it has in an OCI manifest."""
        kind = _KINDS.get(descriptor.media_type)
        if not kind:
            raise BundleError(
                f"{self.reference.text} has a layer of the kind {descriptor.media_type!r:.80}, which cannot "
                "be passed on",
                hint="take another base",
            )
        return place.blob(replace(descriptor, media_type=kind))

    def history(self, layers: int) -> tuple[Mapping[str, Any], ...]:
        """How it came to be; nothing where that does not fit to its layers, because engines insist on it."""
        found = self.config.get("history")
        entries: Sequence[Any] = found if isinstance(found, list) else ()
        if not all(isinstance(entry, dict) for entry in entries):
            return ()
        return tuple(entries) if sum(not entry.get("empty_layer") for entry in entries) == layers else ()


def _configuration(reference: Reference, place: Place, descriptor: Descriptor) -> Mapping[str, Any]:
    if descriptor.size > _LARGEST:
        raise _nonsense(reference, f"its configuration has {descriptor.size} bytes")
    with place.content(descriptor) as stream:
        content = b""
        while len(content) <= descriptor.size and (piece := stream.read(descriptor.size + 1 - len(content))):
            content += piece
    if f"sha256:{hashlib.sha256(content).hexdigest()}" != descriptor.digest:
        raise _nonsense(reference, "its configuration is not what its digest says")
    try:
        return read_object(content, largest=_LARGEST)
    except ValueError as error:
        raise _nonsense(reference, str(error)) from error


def _nonsense(reference: Reference, why: str) -> BundleError:
    return BundleError(
        f"[image] base: {reference.text} is no image that can be built on: {why}", hint="take another base"
    )
