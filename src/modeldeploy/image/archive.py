"""One file with an image, as engines load it and as other tools read it: Docker's form and OCI's at once.

The layers are named the same in both, so the archive holds each once. It is written as a stream: a model
goes from its bundle into the archive, or into the engine, without another copy on disk.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import BinaryIO, Protocol

from modeldeploy.bundle.artifact import version_tag
from modeldeploy.image.assemble import Image, PlatformImage
from modeldeploy.oci import tar
from modeldeploy.oci.descriptor import Blob, Descriptor
from modeldeploy.oci.manifest import REF_NAME, Index, canonical

_CHUNK = 1 << 20
_CONTAINERD = "io.containerd.image.name"
"""Where containerd looks for a name, and so Docker where it keeps its images there."""
_LAYOUT = canonical({"imageLayoutVersion": "1.0.0"})


class Sink(Protocol):
    """Takes bytes."""

    def write(self, piece: bytes, /) -> object: ...


def reference(image: Image) -> str:
    """What engines call the image: ``digits:1.0.0``."""
    return f"{image.bundle.name.lower()}:{version_tag(image.bundle.version)}"


def write(
    image: Image,
    chosen: PlatformImage,
    to: Sink,
    *,
    moved: Callable[[int], None],
    host: str = "",
    without: Collection[str] = (),
) -> None:
    """Write an archive of one platform's image.

    ``host`` goes before its name: podman's own is ``localhost/``, Docker's is none. ``without`` are
    digests of layers that are left out, because whoever loads the archive has them.
    """
    name = host + reference(image)
    tagged = Descriptor(
        chosen.descriptor.media_type,
        chosen.descriptor.digest,
        chosen.descriptor.size,
        {REF_NAME: name, _CONTAINERD: name if host else f"docker.io/library/{name}"},
        chosen.platform,
    )
    docker = {
        "Config": _place(chosen.config_descriptor),
        "RepoTags": [name],
        "Layers": [_place(part.blob.descriptor) for part in chosen.parts],
    }
    for path, content in (
        ("manifest.json", canonical([docker])),
        ("oci-layout", _LAYOUT),
        ("index.json", Index((tagged,)).to_bytes()),
        (_place(chosen.config_descriptor), chosen.config),
        (_place(chosen.descriptor), chosen.manifest),
    ):
        _put(to, path, content)
    blobs = {part.blob.descriptor.digest: part.blob for part in chosen.parts}
    for digest, blob in blobs.items():
        if digest not in without:
            _pour(to, blob, moved)
    to.write(bytes(2 * tar.BLOCK))


def copy(blob: Blob, to: Sink, moved: Callable[[int], None]) -> None:
    """Send a blob on in pieces. Whoever loads it compares it with the configuration's digests."""
    stream: BinaryIO
    with blob.open(0) as stream:
        while piece := stream.read(_CHUNK):
            to.write(piece)
            moved(len(piece))


def _put(to: Sink, path: str, content: bytes) -> None:
    to.write(tar.header(path, tar.Kind.FILE, mode=0o644, size=len(content)))
    to.write(content + tar.padding(len(content)))


def _pour(to: Sink, blob: Blob, moved: Callable[[int], None]) -> None:
    size = blob.descriptor.size
    to.write(tar.header(_place(blob.descriptor), tar.Kind.FILE, mode=0o644, size=size))
    copy(blob, to, moved)
    to.write(tar.padding(size))


def _place(descriptor: Descriptor) -> str:
    return f"blobs/sha256/{descriptor.digest.removeprefix('sha256:')}"
