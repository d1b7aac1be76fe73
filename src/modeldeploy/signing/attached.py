"""Where signatures are kept: as layers of a manifest that a tag made of the signed digest points to.

``sha256-<hex>.sig`` for signatures, ``sha256-<hex>.att`` for attestations, as cosign does it. Anybody who may
write to the repository may add to them or replace them: nothing in here is believed for being here.
"""

from __future__ import annotations

import io
import json
import random
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field

from modeldeploy.errors import RegistryRefused, RegistryUnavailable
from modeldeploy.oci.descriptor import Blob, Descriptor, digest_of
from modeldeploy.oci.manifest import IMAGE_CONFIG, IMAGE_MANIFEST, LARGEST, MANIFESTS, Manifest
from modeldeploy.registry.base import Repository, TagMoved

SIGNATURES = ".sig"
ATTESTATIONS = ".att"
MOST = 200
"""Layers that are looked at, newest first; somebody who adds thousands cannot make us work for hours."""
_TRIES = 40
_NO_TIME = "0001-01-01T00:00:00Z"


@dataclass(frozen=True, slots=True)
class Piece:
    """One signature or attestation as it was found."""

    media_type: str
    content: bytes = field(repr=False)
    annotations: Mapping[str, str] = field(default_factory=dict)


class Unreadable(Exception):
    """What stands where signatures should is something else. The message says what, for people."""


def tag_of(digest: str, suffix: str) -> str:
    """The tag of what is attached to a manifest."""
    return digest.replace(":", "-") + suffix


def pieces(
    repository: Repository, digest: str, suffix: str, media_type: str, largest: int
) -> Iterator[Piece]:
    """All that is attached to a manifest, newest first; layers of other types and of other sizes left out.

    Raises `Unreadable` where the tag points to something else, `RegistryUnavailable` where the registry
    does not answer.
    """
    found = repository.tag(tag_of(digest, suffix))
    if found is None:
        return
    layers = _manifest(repository, found).layers
    for layer in list(reversed(layers))[:MOST]:
        if layer.media_type == media_type and layer.size <= largest:
            content = _content(repository, layer)
            if content is not None:
                yield Piece(layer.media_type, content, layer.annotations)


def attach(
    repository: Repository,
    digest: str,
    suffix: str,
    piece: Piece,
    *,
    replaces: Callable[[Descriptor], bool] = lambda _: False,
) -> Descriptor:
    """Add a piece to what is attached to a manifest; others who add at the same time lose nothing.

    ``replaces`` tells of layers that it takes the place of. Raises `RegistryError`.
    """
    tag = tag_of(digest, suffix)
    layer = Descriptor.of(piece.content, piece.media_type, annotations=piece.annotations)
    _push(repository, piece.content, layer)
    for attempt in range(_TRIES):
        was = repository.tag(tag)
        kept = _manifest(repository, was).layers if was else ()
        manifest = _with(repository, [old for old in kept if not replaces(old)], layer)
        written = repository.put_manifest(manifest.to_bytes(), IMAGE_MANIFEST)
        try:
            repository.set_tag(tag, written, was=was.digest if was else None)
        except TagMoved:
            # Random pauses, so that those who collided once do not do so again.
            time.sleep(random.uniform(0, 0.02 * (attempt + 1)))  # noqa: S311 - no secret
            continue
        return written
    raise RegistryUnavailable(
        f"{repository.where}:{tag} is written to by others all the time", hint="run the same command again"
    )


def _with(repository: Repository, kept: list[Descriptor], layer: Descriptor) -> Manifest:
    layers = (*kept, layer)
    config = _config(layers)
    described = Descriptor.of(config, IMAGE_CONFIG)
    _push(repository, config, described)
    return Manifest(described, layers)


def _config(layers: tuple[Descriptor, ...]) -> bytes:
    """The config that cosign writes: it says nothing, but tools that read images insist on one."""
    value = {
        "architecture": "",
        "created": _NO_TIME,
        "history": [{"created": _NO_TIME} for _ in layers],
        "os": "",
        "rootfs": {"type": "layers", "diff_ids": [layer.digest for layer in layers]},
        "config": {},
    }
    return json.dumps(value, separators=(",", ":")).encode()


def _manifest(repository: Repository, found: Descriptor) -> Manifest:
    if found.media_type not in MANIFESTS or found.size > LARGEST:
        raise Unreadable(f"the tag points to {found.media_type[:80] or 'something'} of {found.size} bytes")
    try:
        return Manifest.from_bytes(repository.manifest(found.digest), found.media_type)
    except (ValueError, RegistryRefused) as error:
        raise Unreadable(f"the tag points to what is no manifest: {error}") from None


def _content(repository: Repository, layer: Descriptor) -> bytes | None:
    """A layer's content; None where it is gone or not what its digest says."""
    try:
        with repository.open_blob(layer) as stream:
            content = _whole(stream.read, layer.size)
    except RegistryRefused:
        return None
    return content if digest_of(content) == layer.digest else None


def _whole(read: Callable[[int], bytes], size: int) -> bytes:
    content = b""
    while len(content) <= size and (piece := read(size + 1 - len(content))):
        content += piece
    return content


def _push(repository: Repository, content: bytes, descriptor: Descriptor) -> None:
    blob = Blob(descriptor, lambda start: io.BytesIO(content[start:]))
    repository.push_blob(blob, moved=lambda _: None)
