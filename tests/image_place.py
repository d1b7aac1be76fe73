"""A small image without any package index: packages made on the spot, a base of one file."""

from __future__ import annotations

import base64
import hashlib
import io
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from modeldeploy.bundle.layers import layers_of
from modeldeploy.bundle.manifest import Manifest
from modeldeploy.bundle.store import Stored
from modeldeploy.events import Event
from modeldeploy.image.assemble import Image, Part, assemble
from modeldeploy.image.base.model import Base, Package
from modeldeploy.image.cache import ImageCache
from modeldeploy.image.made import Made, keep
from modeldeploy.image.provenance import Statement
from modeldeploy.oci import tar
from modeldeploy.oci.descriptor import Blob, Descriptor, Platform

AMD64 = Platform("linux", "amd64")


def write_wheel(
    site: Path, name: str, version: str = "1.0", *, files: Mapping[str, bytes], tag: str = "py3-none-any"
) -> None:
    """What an installer leaves of a wheel: its files, and a dist-info with things of the installer's own."""
    info = f"{name}-{version}.dist-info"
    about = f"Metadata-Version: 2.4\nName: {name}\nVersion: {version}\nLicense-Expression: MIT\n"
    content = {
        **files,
        f"{info}/METADATA": about.encode(),
        f"{info}/WHEEL": f"Wheel-Version: 1.0\nTag: {tag}\n".encode(),
        f"{info}/INSTALLER": b"uv",
        f"{info}/REQUESTED": b"",
        f"bin/{name}": f"#!{sys.executable}\n".encode(),
    }
    lines = []
    for path, data in content.items():
        place = site / path
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(data)
        digest = base64.urlsafe_b64encode(hashlib.sha256(data).digest()).rstrip(b"=").decode()
        lines.append(f"{path},sha256={digest},{len(data)}\n")
    (site / info / "RECORD").write_text("".join([*lines, f"{info}/RECORD,,\n"]))


@dataclass
class Shop:
    """An installer that makes wheels itself, and counts how often it was asked."""

    wheels: dict[str, dict[str, bytes]] = field(default_factory=dict)
    tags: dict[str, str] = field(default_factory=dict)
    installed: int = 0

    def __call__(self, lock: Path, platform: Platform, python: str, folder: Path) -> None:
        self.installed += 1
        for name, files in self.wheels.items():
            write_wheel(folder, name, files=files, tag=self.tags.get(name, "py3-none-any"))


def blob_of(content: bytes, media_type: str) -> Blob:
    return Blob(Descriptor.of(content, media_type), lambda start: io.BytesIO(content[start:]))


def layer_with(path: str, content: bytes) -> tar.Layer:
    return tar.layer_of([tar.Entry.file(path, content)], name=path)


def base_for(platform: Platform = AMD64) -> Base:
    layer = layer_with("usr/bin/python3.11", b"not really")
    return Base(
        platform=platform,
        layers=(layer.blob(),),
        diff_ids=(layer.digest,),
        config={"Env": ["PATH=/usr/bin", "LANG=C.UTF-8"], "Labels": {"maker": "somebody"}},
        python="/usr/bin/python3.11",
        python_version="3.11.2",
        source="debian:bookworm",
        digest=layer.digest,
        packages=(Package("libc6", "2.36-9", "pkg:deb/debian/libc6@2.36-9?arch=amd64"),),
    )


def manifest(**changes: object) -> Manifest:
    values: dict[str, object] = {
        "name": "digits",
        "version": "1.0.0",
        "framework": "onnx",
        "entrypoint": "service:Digits",
        "model": (),
        "python": "3.11",
        "lock": f"sha256:{'0' * 64}",
        "requirements": (),
    }
    return Manifest(**(values | changes))  # type: ignore[arg-type]  # as a test may want it


def image_of(
    *parts: Part, bundle: Manifest | None = None, platforms: tuple[Platform, ...] = (AMD64,)
) -> Image:
    bundle = bundle or manifest()
    found = tuple(assemble(bundle, base_for(each), parts, 65532) for each in platforms)
    return Image(bundle.ref(), found)


def part(kind: str, name: str, content: bytes = b"content") -> Part:
    layer = layer_with(name, content)
    return Part(kind, name, layer.blob(), layer.digest)


def kept_image(stored: Stored, packages: bytes = b"packages") -> Made:
    """An image of a bundle that could not run, in the cache as `mdeploy image` leaves one."""
    cache, bundle = ImageCache(), Manifest.read(stored.path)
    for layer in (layer_with("usr/bin/python3.11", b"not really"), layer_with("opt/x", packages)):
        with layer.open() as stream:
            cache.put(stream.read(), layer.descriptor())
    own = tuple(Part("code", layer.name, layer.blob(), layer.digest) for layer in layers_of(stored.path))
    parts = (part("pure", "opt/x", packages), *own)
    image = Image(bundle.ref(), (assemble(bundle, base_for(), parts, 65532),))
    made = Made(image, "none", (Statement(image.digest, "https://example.com/v1", b'{"said":1}'),))
    keep(made, cache)
    return made


@dataclass
class Told:
    """Collects events."""

    events: list[Event] = field(default_factory=list)

    def __call__(self, event: Event) -> None:
        self.events.append(event)
