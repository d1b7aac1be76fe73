"""From layers to an image: configuration, manifest and, for several platforms, an index. Pure.

All three are functions of the layers and the bundle: no clock, no user, no commit. Only ``created`` can be
set from outside, by ``SOURCE_DATE_EPOCH``, and it is in the configuration and nowhere else.
"""

from __future__ import annotations

import os
import time
from dataclasses import dataclass
from functools import cached_property

from modeldeploy.bundle.manifest import Manifest as BundleManifest
from modeldeploy.errors import ConfigError
from modeldeploy.image.base.model import Base
from modeldeploy.image.layers import SITE
from modeldeploy.model import BundleRef
from modeldeploy.oci.descriptor import Blob, Descriptor, Platform
from modeldeploy.oci.manifest import IMAGE_CONFIG, IMAGE_MANIFEST, Index, Manifest, canonical

CREATED = "2026-01-01T00:00:00Z"
"""When every image says that it was made: a constant, and a recent one, because engines show its age."""
PORT = 3000
"""Where the container serves."""
GRPC_PORT = 3001
"""Where it speaks gRPC, if its bundle does."""
BUNDLE_DIGEST = "dev.mdeploy.bundle.digest"
"""Label and annotation with the digest of the bundle in the image."""
_OCI = "org.opencontainers.image"
_SETTINGS = {
    "BENTOML_DO_NOT_TRACK": "True",
    "DO_NOT_TRACK": "1",
    "HOME": "/tmp",  # noqa: S108  # the one folder that is writable in a container with a read-only root
    "ORT_DISABLE_TELEMETRY": "1",
    "PYTHONDONTWRITEBYTECODE": "1",
    "PYTHONPATH": f"/bundle/src:/{SITE}",
    "PYTHONSAFEPATH": "1",
    "PYTHONUNBUFFERED": "1",
    "PYTHONUTF8": "1",
}


@dataclass(frozen=True, slots=True)
class Part:
    """One layer of an image. ``kind`` is base, wheel, binary, pure, model or code."""

    kind: str
    name: str
    blob: Blob
    diff_id: str
    built: bool = False
    """True if it was made just now."""


@dataclass(frozen=True)
class PlatformImage:
    """An image for one platform."""

    platform: Platform
    parts: tuple[Part, ...]
    """Bottom first."""
    config: bytes
    manifest: bytes

    @cached_property
    def config_descriptor(self) -> Descriptor:
        """Names the configuration; its digest is what engines call the image's ID."""
        return Descriptor.of(self.config, IMAGE_CONFIG)

    @cached_property
    def descriptor(self) -> Descriptor:
        """Names the manifest, with the platform that it is for."""
        plain = Descriptor.of(self.manifest, IMAGE_MANIFEST)
        return Descriptor(plain.media_type, plain.digest, plain.size, platform=self.platform)

    @property
    def size(self) -> int:
        """Bytes of all layers, as they are sent."""
        return sum(part.blob.descriptor.size for part in self.parts)


@dataclass(frozen=True)
class Image:
    """A bundle's image: one manifest, or an index of one for each platform."""

    bundle: BundleRef
    platforms: tuple[PlatformImage, ...]

    @cached_property
    def index(self) -> Index | None:
        """None for an image of one platform."""
        if len(self.platforms) == 1:
            return None
        manifests = tuple(each.descriptor for each in self.platforms)
        return Index(manifests, annotations={BUNDLE_DIGEST: self.bundle.digest})

    @property
    def content(self) -> bytes:
        """The bytes of the manifest or index that a tag points to."""
        return self.index.to_bytes() if self.index else self.platforms[0].manifest

    @property
    def descriptor(self) -> Descriptor:
        """What a tag points to."""
        if self.index:
            return self.index.descriptor()
        return Descriptor.of(self.content, IMAGE_MANIFEST)

    @property
    def digest(self) -> str:
        """Names the image."""
        return self.descriptor.digest


def assemble(bundle: BundleManifest, base: Base, parts: tuple[Part, ...], user: int) -> PlatformImage:
    """The image of a bundle on a base. ``parts`` are the layers above the base's, bottom first."""
    below = tuple(
        Part("base", base.source, blob, diff_id)
        for blob, diff_id in zip(base.layers, base.diff_ids, strict=True)
    )
    layers = (*below, *parts)
    labels = labels_of(bundle, base)
    config = canonical(_config(bundle, base, parts, layers, user))
    manifest = Manifest(
        Descriptor.of(config, IMAGE_CONFIG),
        tuple(part.blob.descriptor for part in layers),
        annotations=labels,
    )
    return PlatformImage(base.platform, layers, config, manifest.to_bytes())


def created() -> str:
    """What the configuration says of its time: ``SOURCE_DATE_EPOCH``, else a constant."""
    text = os.environ.get("SOURCE_DATE_EPOCH", "")
    if not text:
        return CREATED
    if not text.isdecimal() or int(text) > 253402300799:
        raise ConfigError(f"SOURCE_DATE_EPOCH is {text[:40]!r}; expected seconds since 1970")
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(int(text)))


def _config(
    bundle: BundleManifest, base: Base, parts: tuple[Part, ...], layers: tuple[Part, ...], user: int
) -> dict[str, object]:
    when = created()
    former = base.history or tuple({"created_by": f"mdeploy: base {base.source}"} for _ in base.layers)
    added = [{"created": when, "created_by": f"mdeploy: {part.kind} {part.name}"} for part in parts]
    return {
        "created": when,
        "architecture": base.platform.architecture,
        "os": base.platform.os,
        "config": {
            "User": f"{user}:{user}",
            "ExposedPorts": {port: {} for port in ports(bundle)},
            "Env": [f"{name}={value}" for name, value in environment(base).items()],
            "Entrypoint": entrypoint(bundle, base),
            "WorkingDir": "/bundle",
            "StopSignal": "SIGTERM",
            "Labels": {**dict(base.config.get("Labels") or {}), **labels_of(bundle, base)},
        },
        "rootfs": {"type": "layers", "diff_ids": [part.diff_id for part in layers]},
        "history": [*({"created": when, **entry} for entry in former), *added],
    }


def environment(base: Base) -> dict[str, str]:
    """The variables of the container: the base's, and what Python and the service need."""
    return dict(sorted({**base.environment, **_SETTINGS}.items()))


def entrypoint(bundle: BundleManifest, base: Base) -> list[str]:
    """The one process of the container, without a shell; a command's words are added to it."""
    worker = [base.python, "-m", "mdeploy_serving.worker", "--bundle", "/bundle"]
    grpc = ["--grpc-port", str(GRPC_PORT)] if _speaks_grpc(bundle) else []
    host = "0.0.0.0"  # noqa: S104  # the container's own network
    return [*worker, "--host", host, "--port", str(PORT), *grpc]


def ports(bundle: BundleManifest) -> list[str]:
    """What the container listens on, as engines write it: ``3000/tcp``."""
    return [f"{port}/tcp" for port in (PORT, *([GRPC_PORT] if _speaks_grpc(bundle) else ()))]


def _speaks_grpc(bundle: BundleManifest) -> bool:
    return "grpc" in bundle.protocols


def labels_of(bundle: BundleManifest, base: Base) -> dict[str, str]:
    """The labels of an image, which are its manifest's annotations too."""
    labels = {
        BUNDLE_DIGEST: bundle.digest(),
        f"{_OCI}.title": bundle.name,
        f"{_OCI}.version": bundle.version,
        f"{_OCI}.base.name": base.source,
        f"{_OCI}.base.digest": base.digest,
        f"{_OCI}.licenses": bundle.license,
    }
    return {name: value for name, value in sorted(labels.items()) if value}
