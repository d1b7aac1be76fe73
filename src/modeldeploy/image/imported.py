"""An image that an engine saved to a file, taken into the cache in the form of the OCI.

Its layers are compressed as mdeploy compresses, models stay as they are; nothing is believed that does not
have the digest that the configuration tells.
"""

from __future__ import annotations

import hashlib
import json
import tarfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, BinaryIO, cast

from modeldeploy import files
from modeldeploy.errors import BundleError
from modeldeploy.image import gz
from modeldeploy.image.assemble import Part, PlatformImage
from modeldeploy.image.base.lockfile import Compressor
from modeldeploy.image.base.model import Base
from modeldeploy.image.cache import ImageCache
from modeldeploy.oci.descriptor import Descriptor
from modeldeploy.oci.manifest import IMAGE_CONFIG, LAYER_GZIP, LAYER_TAR, Manifest, canonical

_CHUNK = 1 << 20
_KEPT = ("architecture", "config", "created", "history", "os", "rootfs", "variant")


def take_over(
    saved: Path, base: Base, ours: Sequence[Part], labels: Mapping[str, str], cache: ImageCache
) -> PlatformImage:
    """The image in a file of Docker's form. ``ours`` are the parts that its last layers were made of.

    Raises `BundleError` for a file that holds no image.
    """
    try:
        with tarfile.open(saved) as archive:
            entry = json.loads(_read(archive, "manifest.json"))[0]
            config = json.loads(_read(archive, entry["Config"]))
            diff_ids: list[str] = config["rootfs"]["diff_ids"]
            names = list(zip(entry["Layers"], diff_ids, strict=True))
            first = len(names) - len(ours)
            parts = [
                _part(archive, name, diff_id, ours[number - first] if number >= first else None, cache)
                for number, (name, diff_id) in enumerate(names)
            ]
    except (OSError, ValueError, KeyError, IndexError, TypeError, tarfile.TarError) as error:
        raise BundleError(f"the engine saved something that is no image: {error}") from error
    return _image(base, tuple(parts), config, labels)


def _image(
    base: Base, parts: tuple[Part, ...], config: Mapping[str, Any], labels: Mapping[str, str]
) -> PlatformImage:
    content = canonical({key: config[key] for key in _KEPT if key in config})
    layers = tuple(part.blob.descriptor for part in parts)
    manifest = Manifest(Descriptor.of(content, IMAGE_CONFIG), layers, annotations=labels)
    return PlatformImage(base.platform, parts, content, manifest.to_bytes())


def _part(archive: tarfile.TarFile, name: str, diff_id: str, ours: Part | None, cache: ImageCache) -> Part:
    kind = ours.kind if ours else "engine"
    stored = ours is not None and ours.kind == "model"
    note = files.home() / "cache" / "image-imported" / f"{diff_id[7:]}-{Compressor.here().label}.json"
    known = None if stored else _known(note, cache)
    if known is None:
        with cache.scratch() as folder:
            known = _kept(archive, name, diff_id, folder / "layer", cache, stored=stored)
        if not stored:
            files.private(note.parent)
            files.write_json(note, known.to_json())
    return Part(kind, ours.name if ours else "of the engine", cache.blob(known), diff_id, built=True)


def _known(note: Path, cache: ImageCache) -> Descriptor | None:
    try:
        found = Descriptor.from_json(files.read_json(note) or {})
    except (OSError, ValueError):
        return None
    return found if cache.has(found) else None


def _kept(
    archive: tarfile.TarFile, name: str, diff_id: str, place: Path, cache: ImageCache, *, stored: bool
) -> Descriptor:
    """Copy a layer into the cache: compressed, or as it is."""
    checked = _Checked(_open(archive, name))
    with place.open("wb") as made:
        if stored:
            while piece := checked.read(_CHUNK):
                made.write(piece)
            descriptor = Descriptor(LAYER_TAR, diff_id, made.tell())
        else:
            digest, size = gz.compress(cast("BinaryIO", checked), made)
            descriptor = Descriptor(LAYER_GZIP, digest, size)
    if checked.digest != diff_id:
        raise ValueError(f"layer {name[:80]} has another digest than the configuration says")
    cache.add_file(place, descriptor)
    return descriptor


class _Checked:
    """A stream that knows the digest of what was read."""

    def __init__(self, stream: BinaryIO) -> None:
        self._stream, self._state = stream, hashlib.sha256()

    def read(self, size: int = -1) -> bytes:
        piece = self._stream.read(size)
        self._state.update(piece)
        return piece

    @property
    def digest(self) -> str:
        return f"sha256:{self._state.hexdigest()}"


def _open(archive: tarfile.TarFile, name: str) -> BinaryIO:
    """A file in the archive; engines that save a layer once link to it."""
    member = archive.getmember(name)
    if member.issym():
        target = Path(name).parent.joinpath(member.linkname)
        member = archive.getmember(_normal(target))
    stream = archive.extractfile(member)
    if stream is None:
        raise ValueError(f"{name[:80]} is no file")
    return cast("BinaryIO", stream)


def _normal(path: Path) -> str:
    parts: list[str] = []
    for part in path.parts:
        if part == ".." and parts:
            parts.pop()
        else:
            parts.append(part)
    return "/".join(parts)


def _read(archive: tarfile.TarFile, name: str) -> bytes:
    return _open(archive, name).read()
