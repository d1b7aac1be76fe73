"""A bundle as content of a registry: an OCI manifest whose config is the bundle's own manifest.

So the config's digest is the bundle's digest, and the OCI manifest is a function of the bundle's content
alone: whoever pushes a bundle, from whatever machine, pushes the same bytes.

What is known of the build (commit, tools, time) is no part of the content. It is an artifact of its own
beside the bundle, under the tag ``sha256-<bundle>.build``; whoever pushes a bundle first tells it.
"""

from __future__ import annotations

import io
from dataclasses import dataclass
from pathlib import Path

from modeldeploy.bundle.layers import layers_of
from modeldeploy.bundle.manifest import BUILD_FACTS, MANIFEST, Manifest
from modeldeploy.errors import BundleError, RegistryRefused
from modeldeploy.model import BundleRef
from modeldeploy.oci import manifest as oci
from modeldeploy.oci.checked import Checked
from modeldeploy.oci.descriptor import Blob, Descriptor, short
from modeldeploy.oci.tar import Layer
from modeldeploy.registry.base import Repository, TagMoved

__all__ = [
    "Artifact",
    "Packed",
    "bundle_tag",
    "digest_tag",
    "layers_of",
    "package",
    "pull_facts",
    "push_facts",
    "read",
    "version_tag",
]

BUNDLE_TYPE = "application/vnd.mdeploy.bundle.v1+json"
MANIFEST_TYPE = "application/vnd.mdeploy.manifest.v1+json"
FACTS_TYPE = "application/vnd.mdeploy.build-facts.v1+json"
_LARGEST_MANIFEST = 32 << 20
_LARGEST_FACTS = 256 << 10
_TITLE, _VERSION = "org.opencontainers.image.title", "org.opencontainers.image.version"


@dataclass(frozen=True, slots=True)
class Artifact:
    """A bundle of this machine, as it is sent."""

    ref: BundleRef
    config: bytes
    layers: tuple[Layer, ...]
    manifest: oci.Manifest

    def blobs(self, sources: tuple[str, ...] = ()) -> tuple[tuple[str, Blob], ...]:
        """All content with names for people, config last. ``sources``: who may have it already."""
        layers = ((layer.name, layer.blob(sources)) for layer in self.layers)
        return (*layers, (MANIFEST, _blob(self.config, self.manifest.config)))


@dataclass(frozen=True, slots=True)
class Packed:
    """A bundle in a registry: what its manifests say."""

    descriptor: Descriptor
    """Of the OCI manifest."""
    manifest: oci.Manifest
    bundle: Manifest

    @property
    def ref(self) -> BundleRef:
        """Name, version and digest of the bundle."""
        return self.bundle.ref()


def version_tag(version: str) -> str:
    """The tag of a version's image. A tag may hold no plus, and a version no underscore."""
    return version.replace("+", "_")


def bundle_tag(name: str) -> str:
    """The tag of the bundle of a version or an alias."""
    return f"{version_tag(name)}.bundle"


def digest_tag(digest: str, kind: str = "bundle") -> str:
    """The tag under which something about a bundle is found by the bundle's digest."""
    return f"{digest.replace(':', '-')}.{kind}"


def package(bundle: Path) -> Artifact:
    """What is to be sent of an unpacked bundle. Reads each large file once, ever.

    Raises `BundleError` for what is no bundle, and for one that was changed.
    """
    manifest = Manifest.read(bundle)
    config = manifest.to_bytes()
    layers = layers_of(bundle)
    packed = oci.Manifest(
        config=Descriptor.of(config, MANIFEST_TYPE),
        layers=tuple(layer.descriptor() for layer in layers),
        artifact_type=BUNDLE_TYPE,
        annotations={_TITLE: manifest.name, _VERSION: manifest.version},
    )
    return Artifact(manifest.ref(), config, layers, packed)


def read(repository: Repository, descriptor: Descriptor) -> Packed:
    """What the bundle at a descriptor is, without its files. Raises `RegistryRefused` for anything else."""
    content = repository.manifest(descriptor.digest)
    try:
        manifest = oci.Manifest.from_bytes(content, descriptor.media_type)
        if manifest.artifact_type != BUNDLE_TYPE or manifest.config.media_type != MANIFEST_TYPE:
            raise oci.Malformed(f"it is {manifest.artifact_type or 'an image'!r:.80}, not a bundle")
        raw = small(repository, manifest.config, largest=_LARGEST_MANIFEST)
        bundle = Manifest.from_bytes(raw, where=f"{repository.where}@{short(descriptor.digest)}")
    except ValueError as error:
        raise RegistryRefused(
            f"{repository.where}@{short(descriptor.digest)} is no bundle: {error}",
            hint="look what else has this name: mdeploy alias",
        ) from error
    return Packed(descriptor, manifest, bundle)


def small(repository: Repository, descriptor: Descriptor, *, largest: int) -> bytes:
    """Small content of a repository, checked. Raises ValueError if it is large or not what it should be."""
    if descriptor.size > largest:
        raise oci.Malformed(f"{short(descriptor.digest)} has {descriptor.size} bytes; {largest} are read")
    with repository.open_blob(descriptor) as stream:
        checked = Checked(stream, descriptor)
        content = b"".join(iter(lambda: checked.read(1 << 20), b""))
        checked.finish()
    return content


def push_facts(repository: Repository, bundle: Path, to: Descriptor, ref: BundleRef) -> None:
    """Tell the registry what is known of the build, unless somebody did before."""
    tag = digest_tag(ref.digest, "build")
    try:
        content = (bundle / BUILD_FACTS).read_bytes()
    except OSError:
        return
    if len(content) > _LARGEST_FACTS or repository.tag(tag) is not None:
        return
    empty, facts = Descriptor.of(oci.EMPTY, oci.EMPTY_CONFIG), Descriptor.of(content, "application/json")
    manifest = oci.Manifest(empty, (facts,), FACTS_TYPE, subject=to)
    for blob in (_blob(oci.EMPTY, empty), _blob(content, facts)):
        repository.push_blob(blob, moved=lambda _: None)
    put = repository.put_manifest(manifest.to_bytes(), manifest.media_type)
    try:
        repository.set_tag(tag, put, was=None)
    except TagMoved:
        return  # another one who pushed at the same time


def pull_facts(repository: Repository, ref: BundleRef) -> bytes | None:
    """What is told of the build of a bundle; None where nothing sensible is. A claim, not a proof."""
    import json

    tagged = repository.tag(digest_tag(ref.digest, "build"))
    if tagged is None:
        return None
    try:
        manifest = oci.Manifest.from_bytes(repository.manifest(tagged.digest))
        if manifest.artifact_type != FACTS_TYPE or len(manifest.layers) != 1:
            return None
        content = small(repository, manifest.layers[0], largest=_LARGEST_FACTS)
        return content if isinstance(json.loads(content), dict) else None
    except (ValueError, RecursionError, BundleError):
        return None


def _blob(content: bytes, descriptor: Descriptor) -> Blob:
    return Blob(descriptor, lambda start: io.BytesIO(content[start:]))
