"""Manifests and indexes: what content belongs together. Written in one canonical form, read with suspicion.

Source: https://github.com/opencontainers/image-spec/blob/v1.1.1/manifest.md and image-index.md beside it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from modeldeploy.oci.descriptor import Descriptor

IMAGE_MANIFEST = "application/vnd.oci.image.manifest.v1+json"
IMAGE_INDEX = "application/vnd.oci.image.index.v1+json"
IMAGE_CONFIG = "application/vnd.oci.image.config.v1+json"
LAYER_TAR = "application/vnd.oci.image.layer.v1.tar"
LAYER_GZIP = "application/vnd.oci.image.layer.v1.tar+gzip"
LAYER_ZSTD = "application/vnd.oci.image.layer.v1.tar+zstd"
EMPTY_CONFIG = "application/vnd.oci.empty.v1+json"
DOCKER_MANIFEST = "application/vnd.docker.distribution.manifest.v2+json"
DOCKER_LIST = "application/vnd.docker.distribution.manifest.list.v2+json"
DOCKER_LAYER = "application/vnd.docker.image.rootfs.diff.tar.gzip"

MANIFESTS = frozenset({IMAGE_MANIFEST, DOCKER_MANIFEST})
INDEXES = frozenset({IMAGE_INDEX, DOCKER_LIST})

EMPTY = b"{}"
"""The config of an artifact that needs none, of type `EMPTY_CONFIG`."""
REF_NAME = "org.opencontainers.image.ref.name"
"""The annotation that holds a tag in an image layout's index."""

LARGEST = 4 << 20
"""Bytes; the size that registries must accept, and above which a manifest is refused."""
MOST = 2000
"""How many layers, or manifests of an index, are believed."""


class Malformed(ValueError):
    """Bytes that are not what they should be. Whoever knows where they came from says so to users."""


@dataclass(frozen=True, slots=True)
class Manifest:
    """A config and layers: an image, a bundle, a signature, an audit log."""

    config: Descriptor
    layers: tuple[Descriptor, ...] = ()
    artifact_type: str = ""
    """What it is, where it is no image."""
    subject: Descriptor | None = None
    """The manifest that this one says something about."""
    annotations: Mapping[str, str] = field(default_factory=dict)
    media_type: str = IMAGE_MANIFEST

    def to_bytes(self) -> bytes:
        """The one form in which this manifest is written."""
        value: dict[str, object] = {
            "schemaVersion": 2,
            "mediaType": self.media_type,
            "config": self.config.to_json(),
            "layers": [layer.to_json() for layer in self.layers],
        }
        return canonical(value | _shared(self.artifact_type, self.subject, self.annotations))

    def descriptor(self) -> Descriptor:
        """What names this manifest."""
        return Descriptor.of(self.to_bytes(), self.media_type)

    def content(self) -> tuple[Descriptor, ...]:
        """The blobs that must be there before the manifest is: config, then layers."""
        return (self.config, *self.layers)

    @classmethod
    def from_bytes(cls, content: bytes, media_type: str = "") -> Manifest:
        """Reads a manifest. Raises ValueError for anything else, an index too."""
        found = parse(content, media_type)
        if not isinstance(found, Manifest):
            raise Malformed("an index of manifests stands where one manifest was expected")
        return found

    @classmethod
    def from_json(cls, value: Mapping[str, Any], media_type: str) -> Manifest:
        """Reads what was found to be a manifest. Raises ValueError."""
        return cls(
            config=Descriptor.from_json(_table(value, "config")),
            layers=_descriptors(value, "layers"),
            media_type=media_type,
            **_read_shared(value),
        )


@dataclass(frozen=True, slots=True)
class Index:
    """Manifests that belong together: one image for several platforms."""

    manifests: tuple[Descriptor, ...]
    artifact_type: str = ""
    subject: Descriptor | None = None
    annotations: Mapping[str, str] = field(default_factory=dict)
    media_type: str = IMAGE_INDEX

    def to_bytes(self) -> bytes:
        """The one form in which this index is written."""
        value: dict[str, object] = {
            "schemaVersion": 2,
            "mediaType": self.media_type,
            "manifests": [each.to_json() for each in self.manifests],
        }
        return canonical(value | _shared(self.artifact_type, self.subject, self.annotations))

    def descriptor(self) -> Descriptor:
        """What names this index."""
        return Descriptor.of(self.to_bytes(), self.media_type)

    @classmethod
    def from_json(cls, value: Mapping[str, Any], media_type: str) -> Index:
        """Reads what was found to be an index. Raises ValueError."""
        return cls(manifests=_descriptors(value, "manifests"), media_type=media_type, **_read_shared(value))


def canonical(value: object) -> bytes:
    """JSON in its one form: keys sorted, UTF-8, no white space."""
    return json.dumps(
        value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False
    ).encode()


def parse(content: bytes, media_type: str = "") -> Manifest | Index:
    """Reads a manifest or an index; ``media_type`` is what its descriptor or its registry called it.

    Raises ValueError for anything else: too large, nested too deeply, a key given twice, another type
    than ``media_type``, a manifest that could be read as both kinds.
    """
    value = read_object(content)
    said = str(value.get("mediaType") or media_type or _guessed(value))
    if media_type and said != media_type:
        raise Malformed(f"the manifest says that it is {said!r:.80}, its registry {media_type!r:.80}")
    if value.get("schemaVersion") != 2:
        raise Malformed(f"schemaVersion is {value.get('schemaVersion')!r:.40}, not 2")
    if said in MANIFESTS and "manifests" not in value:
        return Manifest.from_json(value, said)
    if said in INDEXES and not {"layers", "config"} & value.keys():
        return Index.from_json(value, said)
    raise Malformed(f"{said!r:.80} with {', '.join(sorted(value))!r:.120} is no manifest and no index")


def read_object(content: bytes, *, largest: int = LARGEST) -> dict[str, Any]:
    """A JSON object, of a size and depth that cannot hurt, no key twice. Raises ValueError."""
    if len(content) > largest:
        raise Malformed(f"{len(content)} bytes are more than the {largest} that are read")
    try:
        value = json.loads(content, object_pairs_hook=_once, parse_constant=_no_constant)
    except RecursionError:
        raise Malformed("nested too deeply") from None
    if not isinstance(value, dict):
        raise Malformed("not a JSON object")
    return value


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    value = dict(pairs)
    if len(value) != len(pairs):
        raise Malformed("a key is given twice")
    return value


def _no_constant(text: str) -> None:
    raise Malformed(f"{text} is no JSON")


def _guessed(value: Mapping[str, Any]) -> str:
    """An early manifest of the OCI may lack its media type; what it holds tells."""
    return IMAGE_INDEX if "manifests" in value else IMAGE_MANIFEST


def _shared(
    artifact_type: str, subject: Descriptor | None, annotations: Mapping[str, str]
) -> dict[str, object]:
    value: dict[str, object] = {}
    if artifact_type:
        value["artifactType"] = artifact_type
    if subject:
        value["subject"] = subject.to_json()
    if annotations:
        value["annotations"] = dict(annotations)
    return value


def _read_shared(value: Mapping[str, Any]) -> dict[str, Any]:
    artifact_type, annotations = value.get("artifactType", ""), value.get("annotations")
    annotations = {} if annotations is None else annotations
    if not isinstance(artifact_type, str) or not isinstance(annotations, dict):
        raise Malformed("artifactType or annotations are of another kind than the specification says")
    return {
        "artifact_type": artifact_type,
        "subject": Descriptor.from_json(_table(value, "subject")) if value.get("subject") else None,
        "annotations": {name: str(text) for name, text in annotations.items()},
    }


def _table(value: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    found = value.get(key)
    if not isinstance(found, dict):
        raise Malformed(f"'{key}' is not an object")
    return found


def _descriptors(value: Mapping[str, Any], key: str) -> tuple[Descriptor, ...]:
    found = value.get(key)
    if not isinstance(found, Sequence) or isinstance(found, str) or len(found) > MOST:
        raise Malformed(f"'{key}' is no list of at most {MOST}")
    return tuple(Descriptor.from_json(each) for each in found)
