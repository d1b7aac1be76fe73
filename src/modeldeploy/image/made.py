"""The images that were made of a bundle, remembered: what each consists of, and where that is.

A layer's content is in the image cache, or it is a stream of the bundle's files, or it is in the registry of
the base. A record names it by digest; where it is, is found out when the record is read.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from modeldeploy import files
from modeldeploy.bundle.artifact import layers_of
from modeldeploy.bundle.manifest import canonical
from modeldeploy.bundle.store import BundleStore
from modeldeploy.errors import BundleError
from modeldeploy.image.assemble import Image, Part, PlatformImage
from modeldeploy.image.cache import ImageCache
from modeldeploy.image.provenance import MEDIA_TYPE, Statement
from modeldeploy.model import BundleRef
from modeldeploy.oci.descriptor import Blob, Descriptor, Platform

FORMAT = 1


@dataclass(frozen=True, slots=True)
class Made:
    """An image, who made it (``none`` is mdeploy itself), and what is stated about it."""

    image: Image
    engine: str
    statements: tuple[Statement, ...]


Elsewhere = Callable[[Descriptor], Blob | None]
"""Finds the content of a base's layer that is not in the cache."""


def keep(made: Made, cache: ImageCache) -> None:
    """Remember an image; its configuration, manifests and statements go into the cache."""
    image = made.image
    for each in image.platforms:
        cache.put(each.config, each.config_descriptor)
        cache.put(each.manifest, each.descriptor)
    cache.put(image.content, image.descriptor)
    for statement in made.statements:
        cache.put(statement.content, Descriptor.of(statement.content, MEDIA_TYPE))
    path = _path(made, cache)
    files.private(path.parent)
    files.write_json(path, _to_json(made))


def used(made: Made, cache: ImageCache) -> None:
    """Count an image as the one that was made last."""
    with suppress(OSError):
        os.utime(_path(made, cache))


@dataclass(frozen=True, slots=True)
class Recorded:
    """How an image was made: enough to make it again."""

    engine: str
    platforms: tuple[str, ...]


def last_of(digest: str, *, cache: ImageCache | None = None) -> Recorded | None:
    """How the last image of the bundle with that digest was made; None if none was."""
    for path in _newest_first(digest, cache or ImageCache()):
        with suppress(OSError, ValueError, KeyError, TypeError):
            value = files.read_json(path)
            found = [Descriptor.from_json(each["manifest"]).platform for each in value["platforms"]]
            return Recorded(str(value["engine"]), tuple(str(platform) for platform in found))
    return None


def images_of(
    digest: str, *, cache: ImageCache | None = None, elsewhere: Elsewhere | None = None
) -> tuple[Made, ...]:
    """The images that were made of the bundle with that digest, newest first; none that lacks content."""
    cache = cache or ImageCache()
    found = []
    for path in _newest_first(digest, cache):
        made = _read(path, cache, elsewhere or (lambda _: None))
        if made:
            found.append(made)
    return tuple(found)


def _newest_first(digest: str, cache: ImageCache) -> list[Path]:
    folder = cache.made / digest.removeprefix("sha256:")
    return sorted(folder.glob("*.json"), key=lambda path: -path.stat().st_mtime_ns)


def _path(made: Made, cache: ImageCache) -> Path:
    """One record for each engine and set of platforms: a later image takes the place of an earlier one."""
    key = [made.engine, [str(each.platform) for each in made.image.platforms]]
    name = hashlib.sha256(canonical(key)).hexdigest()[:24]
    return cache.made / made.image.bundle.digest.removeprefix("sha256:") / f"{name}.json"


def _to_json(made: Made) -> dict[str, object]:
    bundle = made.image.bundle
    return {
        "format": FORMAT,
        "bundle": [bundle.name, bundle.version, bundle.digest],
        "engine": made.engine,
        "top": made.image.digest,
        "platforms": [_platform_to_json(each) for each in made.image.platforms],
        "statements": [
            [each.subject, each.predicate_type, Descriptor.of(each.content, MEDIA_TYPE).to_json()]
            for each in made.statements
        ],
    }


def _platform_to_json(image: PlatformImage) -> dict[str, object]:
    return {
        "manifest": image.descriptor.to_json(),
        "config": image.config_descriptor.to_json(),
        "layers": [
            [part.kind, part.name, part.diff_id, part.blob.descriptor.to_json()] for part in image.parts
        ],
    }


def _read(path: Path, cache: ImageCache, elsewhere: Elsewhere) -> Made | None:
    try:
        value = files.read_json(path)
        bundle = BundleRef(*value["bundle"])
        ours = {layer.digest: layer.blob() for layer in layers_of(BundleStore().path_of(bundle.digest))}

        def blob_of(descriptor: Descriptor) -> Blob:
            found = cache.blob(descriptor) if cache.has(descriptor) else ours.get(descriptor.digest)
            return _there(found or elsewhere(descriptor))

        platforms = tuple(_read_platform(each, cache, blob_of) for each in value["platforms"])
        statements = tuple(
            Statement(subject, kind, _bytes(cache, Descriptor.from_json(where)))
            for subject, kind, where in value["statements"]
        )
        made = Made(Image(bundle, platforms), str(value["engine"]), statements)
    except (OSError, ValueError, KeyError, TypeError, BundleError):
        return None  # something of it is gone: it is made again
    return made if made.image.digest == value["top"] else None


def _there(blob: Blob | None) -> Blob:
    if blob is None:
        raise ValueError("a layer is not on this machine")
    return blob


def _read_platform(
    value: Mapping[str, Any], cache: ImageCache, blob_of: Callable[[Descriptor], Blob]
) -> PlatformImage:
    manifest, config = Descriptor.from_json(value["manifest"]), Descriptor.from_json(value["config"])
    parts = tuple(
        Part(kind, name, blob_of(Descriptor.from_json(where)), diff_id)
        for kind, name, diff_id, where in value["layers"]
    )
    if manifest.platform is None:
        raise ValueError("a manifest of an image without a platform")
    return PlatformImage(
        Platform(manifest.platform.os, manifest.platform.architecture),
        parts,
        _bytes(cache, config),
        _bytes(cache, manifest),
    )


def _bytes(cache: ImageCache, descriptor: Descriptor) -> bytes:
    stream: BinaryIO
    with cache.blob(descriptor).open(0) as stream:
        return stream.read()
