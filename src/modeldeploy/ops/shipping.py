"""Sending bundles and their images to the registry, and fetching them."""

from __future__ import annotations

import io
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from modeldeploy.bundle import artifact, sending
from modeldeploy.bundle.artifact import Artifact
from modeldeploy.bundle.build import Built
from modeldeploy.bundle.store import BundleStore, differences
from modeldeploy.config.load import load
from modeldeploy.config.peek import project_name
from modeldeploy.errors import BundleError
from modeldeploy.events import Emit
from modeldeploy.oci import manifest as oci
from modeldeploy.oci.descriptor import Blob, Descriptor, short
from modeldeploy.ops import auditing, references
from modeldeploy.ops.making import find_bundle
from modeldeploy.ops.references import Reference
from modeldeploy.registry.base import Repository, Sent, TagMoved

if TYPE_CHECKING:
    from modeldeploy.image.made import Made

STATEMENTS_TYPE = "application/vnd.mdeploy.statements.v1+json"
"""What the manifest under ``sha256-<image>.statements`` is: SBOM and provenance of an image, not signed."""


@dataclass(frozen=True, slots=True)
class Layer:
    """One piece of content, and what became of it."""

    name: str
    digest: str
    size: int
    """Bytes."""
    how: str
    """``sent``, ``present`` or ``mounted``."""
    sent: int
    """Bytes that went over the wire."""


@dataclass(frozen=True, slots=True)
class Pushed:
    """What `push` has done."""

    ref: str
    digest: str
    """Of the bundle."""
    registry: str
    """Where it is: the repository."""
    manifest: str
    """Digest of the bundle's manifest in the registry: what is signed."""
    image: str | None
    """Digest of its image, if that was pushed too."""
    tags: tuple[str, ...]
    unchanged: bool
    """True if all of it was there before."""
    layers: tuple[Layer, ...]
    seconds: float

    @property
    def sent(self) -> int:
        """Bytes that went over the wire."""
        return sum(layer.sent for layer in self.layers)

    @property
    def size(self) -> int:
        """Bytes of everything, whoever had it."""
        return sum(layer.size for layer in self.layers)


def push(
    root: Path, ref: str | None = None, *, to: str | None = None, image: bool | None = None, emit: Emit
) -> Pushed:
    """Send a bundle (default: the project's, built if need be) to the project's registry, or ``to`` another.

    ``image``: True sends its image too, which is made if need be; False sends none; None sends the image
    that was made of it last, if there is one. Raises `BundleError` for a version that has other content in
    the registry, `RegistryError`, and as `build` does.
    """
    began = time.monotonic()
    project = load(root)
    bundle = find_bundle(project, ref, emit)
    with BundleStore().hold(bundle.ref.digest):
        repository = references.repository_at(root, bundle.ref.name, to)
        sending.read_large(bundle.path, emit=emit)
        packed = artifact.package(bundle.path)
        _refuse_other_version(repository, packed)
        made = _image(root, bundle, wanted=image, emit=emit)
        if made:
            _refuse_other_image(repository, bundle, made)
        delivery = _Delivery(repository, emit)
        descriptor = delivery.bundle(packed, bundle)
        if made:
            delivery.image(made, bundle)
    pushed = delivery.pushed(bundle, descriptor, made, time.monotonic() - began)
    if not pushed.unchanged and to is None:
        _write_down(root, pushed, bundle, emit)
    return pushed


def pull(root: Path, ref: str, *, source: str | None = None, emit: Emit) -> Built:
    """Fetch a bundle from the project's registry, or from another one, into this machine's store.

    Raises `BundleError` where it is not there, or where its version has other content here.
    """
    name = project_name(root)
    wanted = Reference.of(ref, name)
    return references.pull_into_store(references.repository_at(root, wanted.name, source), wanted, emit=emit)


class _Delivery:
    """What is sent in one push, and which tags were set."""

    def __init__(self, repository: Repository, emit: Emit) -> None:
        self._repository, self._emit = repository, emit
        self._layers: list[Layer] = []
        self._tags: list[str] = []
        self._new = False

    def bundle(self, packed: Artifact, bundle: Built) -> Descriptor:
        """Send a bundle, and point its tags to it."""
        self._send(packed.blobs())
        content = packed.manifest.to_bytes()
        put = self._repository.put_manifest(content, packed.manifest.media_type)
        put = self._claim_bundle(artifact.digest_tag(bundle.ref.digest), put, packed)
        artifact.push_facts(self._repository, bundle.path, put, bundle.ref)
        return self._claim_bundle(artifact.bundle_tag(bundle.ref.version), put, packed)

    def image(self, made: Made, bundle: Built) -> None:
        """Send an image, what is stated about it, and point its version's tag to it."""
        self._send(_content_of(made))
        for each in made.image.platforms:
            self._repository.put_manifest(each.manifest, each.descriptor.media_type)
        top = made.image.descriptor
        if made.image.index:
            self._repository.put_manifest(made.image.content, top.media_type)
        self._state(made)
        tag = artifact.version_tag(bundle.ref.version)
        found = self._claim(tag, top)
        if found.digest != top.digest:
            raise _other_image(self._repository, bundle, found, top)

    def pushed(self, bundle: Built, descriptor: Descriptor, made: Made | None, seconds: float) -> Pushed:
        """What came of it."""
        return Pushed(
            ref=str(bundle.ref),
            digest=bundle.ref.digest,
            registry=self._repository.where,
            manifest=descriptor.digest,
            image=made.image.digest if made else None,
            tags=tuple(self._tags),
            unchanged=not self._new,
            layers=tuple(self._layers),
            seconds=round(seconds, 3),
        )

    def _send(self, content: Sequence[tuple[str, Blob]] | Iterator[tuple[str, Blob]]) -> None:
        known = {layer.digest for layer in self._layers}
        wanted = {blob.descriptor.digest: (name, blob) for name, blob in content}
        wanted = {digest: each for digest, each in wanted.items() if digest not in known}
        sent = sending.send(wanted.values(), self._repository, emit=self._emit)
        self._layers += [_layer(*wanted[digest], each) for digest, each in sent.items()]

    def _claim(self, tag: str, to: Descriptor) -> Descriptor:
        """Give a tag to a manifest unless it has one; where it points then."""
        found = self._repository.tag(tag)
        if found is None:
            try:
                self._repository.set_tag(tag, to, was=None)
                self._new = True
            except TagMoved as moved:
                found = moved.found
        if tag not in self._tags:
            self._tags.append(tag)
        return found or to

    def _claim_bundle(self, tag: str, to: Descriptor, packed: Artifact) -> Descriptor:
        """The same for a bundle: one in other layers is the same bundle, and stays."""
        found = self._claim(tag, to)
        if found.digest != to.digest:
            _insist_on_same(self._repository, found, packed)
        return found

    def _state(self, made: Made) -> None:
        """Keep what is stated about the image beside it, as mdeploy states it: `sign` is who signs it."""
        from modeldeploy.image.provenance import MEDIA_TYPE

        kind = f"{MEDIA_TYPE}+gzip"  # a bill of materials is the largest part of a push of new code
        empty = Descriptor.of(oci.EMPTY, oci.EMPTY_CONFIG)
        for subject in dict.fromkeys(each.subject for each in made.statements):
            contents = [_compressed(each.content) for each in made.statements if each.subject == subject]
            layers = [Descriptor.of(content, kind) for content in contents]
            self._send([("statement", _blob(*each)) for each in zip(contents, layers, strict=True)])
            self._send([("statement", _blob(oci.EMPTY, empty))])
            about = next(each for each in _manifests_of(made) if each.digest == subject)
            manifest = oci.Manifest(empty, tuple(layers), STATEMENTS_TYPE, subject=about)
            put = self._repository.put_manifest(manifest.to_bytes(), manifest.media_type)
            self._claim(artifact.digest_tag(subject, "statements"), put)


def _image(root: Path, bundle: Built, *, wanted: bool | None, emit: Emit) -> Made | None:
    if wanted is False:
        return None
    from modeldeploy.ops import imaging  # loads what makes images

    if wanted:
        return imaging.make(root, bundle.ref.digest, emit=emit)
    return imaging.last(root, bundle.ref.digest, emit=emit)


def _manifests_of(made: Made) -> list[Descriptor]:
    plain = [Descriptor.of(each.manifest, each.descriptor.media_type) for each in made.image.platforms]
    return [*plain, made.image.descriptor]


def _content_of(made: Made) -> Iterator[tuple[str, Blob]]:
    for each in made.image.platforms:
        yield from ((part.name, part.blob) for part in each.parts)
        yield f"config {each.platform}", _blob(each.config, each.config_descriptor)


def _refuse_other_version(repository: Repository, packed: Artifact) -> None:
    """Before anything is sent: raises `BundleError` if the version has other content in the registry."""
    found = repository.tag(artifact.bundle_tag(packed.ref.version))
    if found is not None and found.digest != packed.manifest.descriptor().digest:
        _insist_on_same(repository, found, packed)


def _insist_on_same(repository: Repository, found: Descriptor, packed: Artifact) -> None:
    """Raises `BundleError`, naming what differs, unless a tag points to the same bundle."""
    from modeldeploy.bundle.manifest import Manifest

    there = artifact.read(repository, found)
    if there.ref.digest == packed.ref.digest:
        return
    changed = differences(there.bundle, Manifest.from_bytes(packed.config))
    shown = ", ".join(changed[:5]) + (f" and {len(changed) - 5} more" if len(changed) > 5 else "")
    raise BundleError(
        f"{packed.ref} exists in {repository.where} with other content ({short(there.ref.digest)}): "
        f"{shown or 'what BentoML made of the same files differs'}",
        hint="a version never changes; make a new one: mdeploy build --bump patch, then: mdeploy push",
        details={"existing": there.ref.digest, "new": packed.ref.digest, "changed": changed},
    )


def _refuse_other_image(repository: Repository, bundle: Built, made: Made) -> None:
    found = repository.tag(artifact.version_tag(bundle.ref.version))
    if found is not None and found.digest != made.image.digest:
        raise _other_image(repository, bundle, found, made.image.descriptor)


def _other_image(repository: Repository, bundle: Built, found: Descriptor, new: Descriptor) -> BundleError:
    return BundleError(
        f"{repository.where} has another image of {bundle.ref} ({short(found.digest)}) than was made here "
        f"({short(new.digest)}): its base, packages, platforms or user differ",
        hint=f"a version's image never changes either; leave it: mdeploy push {bundle.ref} --no-image; "
        "or make a new version: mdeploy build --bump patch",
        details={"existing": found.digest, "new": new.digest},
    )


def _layer(name: str, blob: Blob, sent: Sent) -> Layer:
    return Layer(name, blob.descriptor.digest, blob.descriptor.size, sent.how, sent.sent)


def _blob(content: bytes, descriptor: Descriptor) -> Blob:
    return Blob(descriptor, lambda start: io.BytesIO(content[start:]))


def _compressed(content: bytes) -> bytes:
    from modeldeploy.image import gz

    target = io.BytesIO()
    gz.compress(io.BytesIO(content), target)
    return target.getvalue()


def _write_down(root: Path, pushed: Pushed, bundle: Built, emit: Emit) -> None:
    data = {
        "manifest": pushed.manifest,
        "tags": list(pushed.tags),
        "sent": pushed.sent,
        "build": auditing.build_facts(bundle.path),
        **({"image": pushed.image} if pushed.image else {}),
    }
    auditing.write_down(root, "push", emit, bundle=bundle.ref, data=data)
