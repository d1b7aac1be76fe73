"""Into a file or a folder: an archive for any engine, or a whole OCI image layout."""

from __future__ import annotations

import os
import secrets
from functools import partial
from pathlib import Path

from modeldeploy import files
from modeldeploy.bundle.artifact import version_tag
from modeldeploy.bundle.progress import image_step
from modeldeploy.errors import ConfigError
from modeldeploy.events import Emit
from modeldeploy.image import archive
from modeldeploy.image.assemble import Image
from modeldeploy.oci.descriptor import Blob
from modeldeploy.oci.layout import Layout
from modeldeploy.registry.base import Moved
from modeldeploy.registry.transfer import Job, Stop, transfer

_PACKED = (".gz", ".tgz", ".zip", ".zst", ".xz")


def insist_on_place(to: Path) -> None:
    """Refuse, before anything is made, a place that is taken by something else. Raises `ConfigError`."""
    if to.suffix == ".tar":
        if to.is_dir():
            raise ConfigError(f"{to} is a folder, and an archive is a file", hint="name a FILE.tar")
        return
    if to.suffix in _PACKED:
        raise ConfigError(
            f"{to.name}: an image is written as FILE.tar (its layers are compressed already) or a folder",
            hint=f"--output {to.name.partition('.')[0]}.tar",
        )
    if to.exists() and not to.is_dir():
        raise ConfigError(
            f"{to} is a file, and an OCI layout is a folder", hint="name a FILE.tar or a folder"
        )
    if to.is_dir() and not (to / "oci-layout").exists() and any(to.iterdir()):
        raise ConfigError(
            f"{to} holds other files, and an OCI layout has a folder of its own",
            hint=f"--output {to / 'image'}",
        )


def write(image: Image, to: Path, *, emit: Emit) -> None:
    """Write the image: an archive if the name ends with ``.tar``, else a layout with a tag per version.

    Raises `ConfigError` for what cannot be written.
    """
    try:
        with image_step(emit, "output", f"writing {to}", path=str(to)) as told:
            if to.suffix == ".tar":
                _archive(image, to, emit)
            else:
                _layout(image, to, emit)
            told["message"] = f"wrote {to}"
    except OSError as error:
        raise files.disk_full(to, error) or ConfigError(
            f"cannot write {to}: {error.strerror}", hint="choose a place that you may write to"
        ) from error


def _archive(image: Image, to: Path, emit: Emit) -> None:
    if len(image.platforms) > 1:
        raise ConfigError(
            f"an archive holds one platform, and the image has {len(image.platforms)}",
            hint=f"--platform {image.platforms[0].platform}, or write a layout: --output FOLDER",
        )
    temporary = to.with_name(f".{to.name}.{secrets.token_hex(4)}")
    try:
        job = Job(to.name, image.platforms[0].size, partial(_write, image, temporary), lambda _: "written")
        transfer([job], emit=emit, direction="down")
        temporary.replace(to)
    finally:
        temporary.unlink(missing_ok=True)


def _write(image: Image, to: Path, moved: Moved, stop: Stop) -> None:
    def told(count: int) -> None:
        stop.check()
        moved(count)

    with to.open("xb") as stream:
        archive.write(image, image.platforms[0], stream, moved=told)
        stream.flush()
        os.fsync(stream.fileno())


def _layout(image: Image, to: Path, emit: Emit) -> None:
    layout = Layout(to)
    parts = {part.blob.descriptor.digest: part for each in image.platforms for part in each.parts}
    jobs = [
        Job(part.name, part.blob.descriptor.size, partial(_keep, layout, part.blob), lambda _: "written")
        for part in parts.values()
    ]
    transfer(jobs, emit=emit, direction="down")
    for each in image.platforms:
        layout.blobs.write(each.config, each.config_descriptor.digest)
        layout.put_manifest(each.manifest, each.descriptor.media_type)
    top = image.descriptor
    layout.put_manifest(image.content, top.media_type)
    tag = version_tag(image.bundle.version)
    before = layout.tag(tag)
    layout.set_tag(tag, top, was=before.digest if before else None)


def _keep(layout: Layout, blob: Blob, moved: Moved, stop: Stop) -> None:
    layout.blobs.add(stop.guarding(blob), moved=moved)
