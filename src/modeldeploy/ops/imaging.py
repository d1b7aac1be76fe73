"""Making a bundle's image, and giving it to an engine, a file or a folder."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from modeldeploy import files
from modeldeploy.bundle.store import BundleStore
from modeldeploy.config.load import Project
from modeldeploy.config.load import load as load_project
from modeldeploy.errors import ConfigError, ModelDeployError
from modeldeploy.events import Emit
from modeldeploy.image import build as building
from modeldeploy.image import engine as engines
from modeldeploy.image import load as loading
from modeldeploy.image import made as records
from modeldeploy.image import output as writing
from modeldeploy.image.archive import reference
from modeldeploy.image.assemble import PlatformImage
from modeldeploy.image.base.connecting import anywhere, held_in
from modeldeploy.image.foundation import Ground
from modeldeploy.image.load import Loaded
from modeldeploy.image.made import Made
from modeldeploy.oci.descriptor import Blob, Descriptor
from modeldeploy.ops.making import find_bundle

ENGINES = ("none", "docker", "podman", "buildah")


@dataclass(frozen=True, slots=True)
class LayerBuilt:
    """One layer of an image."""

    kind: str
    """base, wheel, binary, pure, model or code."""
    name: str
    digest: str
    size: int
    """Bytes, as they are sent and kept."""
    built: bool
    """True if it was made just now; False if it was there, or is a stream of the bundle's files."""


@dataclass(frozen=True, slots=True)
class PlatformBuilt:
    """An image for one platform."""

    platform: str
    digest: str
    """Of its manifest."""
    size: int
    layers: tuple[LayerBuilt, ...]


@dataclass(frozen=True, slots=True)
class ImageBuilt:
    """An image, and where it went."""

    ref: str
    bundle: str
    """Digest of the bundle."""
    digest: str
    """Of the image: the manifest's, or the index's where there are several platforms."""
    reference: str
    """What engines call it."""
    engine: str
    platforms: tuple[PlatformBuilt, ...]
    seconds: float
    loaded: Loaded | None = None
    output: str | None = None


def image(  # noqa: PLR0913  # what a command line asks for
    root: Path,
    ref: str | None = None,
    *,
    platforms: Sequence[str] = (),
    engine: str | None = None,
    load: str | None = None,
    output: Path | None = None,
    upgrade: bool = False,
    emit: Emit,
) -> ImageBuilt:
    """Make the image of a bundle (default: the project's, which is built if need be).

    ``load`` gives it to an engine on this machine, ``output`` writes it to a ``.tar`` or a layout's folder,
    ``upgrade`` takes the newest base. Raises `BundleError`, `ConfigError`, `PreflightError`.
    """
    began = time.monotonic()
    if load is not None and load not in loading.ENGINES:
        raise ConfigError(f"'{load}' is no engine to load into; there are {', '.join(loading.ENGINES)}")
    if output is not None:
        writing.insist_on_place(output)
    made = make(root, ref, platforms=platforms, engine=engine, upgrade=upgrade, emit=emit)
    with BundleStore().hold(made.image.bundle.digest):
        loaded = loading.load(made.image, load, emit=emit) if load else None
        if output is not None:
            writing.write(made.image, output, emit=emit)
    return ImageBuilt(
        ref=str(made.image.bundle),
        bundle=made.image.bundle.digest,
        digest=made.image.digest,
        reference=reference(made.image),
        engine=made.engine,
        platforms=tuple(_told(each) for each in made.image.platforms),
        seconds=round(time.monotonic() - began, 3),
        loaded=loaded,
        output=str(output) if output else None,
    )


def make(
    root: Path,
    ref: str | None = None,
    *,
    platforms: Sequence[str] = (),
    engine: str | None = None,
    upgrade: bool = False,
    emit: Emit,
) -> Made:
    """The image itself, with all its content at hand: what `push` sends. Raises as `image` does."""
    project = load_project(root)
    settings = project.image()
    settings = replace(
        settings,
        platforms=tuple(platforms) or settings.platforms,
        engine=_known_engine(engine) if engine else settings.engine,
    )
    bundle = find_bundle(project, ref, emit)
    ground = Ground(
        project.root, settings, anywhere(project.registry()), partial(_held, project, bundle.ref.name)
    )
    with BundleStore().hold(bundle.ref.digest), _disk_watched():
        source = building.Source.of(bundle.ref, bundle.path)
        maker = building.build if settings.engine == "none" else engines.build
        return maker(source, ground, emit=emit, upgrade=upgrade)


def last(root: Path, digest: str, *, emit: Emit) -> Made | None:
    """The image that was made last of the bundle with that digest, with its content; None if none was.

    What is gone of it is made again. Raises as `image` does.
    """
    recorded = records.last_of(digest)
    if recorded is None:
        return None
    found = next(iter(records.images_of(digest)), None)
    if found and found.engine == recorded.engine:
        return found
    return make(root, digest, platforms=recorded.platforms, engine=recorded.engine, emit=emit)


@contextmanager
def _disk_watched() -> Iterator[None]:
    """A full disk ends it with the same sentence, whichever file was being written."""
    try:
        yield
    except OSError as error:
        raise files.disk_full(Path(error.filename or files.home()), error) or error from error


def _held(project: Project, name: str, descriptor: Descriptor) -> Blob | None:
    """A base's layer, if the project's registry has it. Only asked for one that is not on this machine."""
    from modeldeploy.registry.opening import open_registry

    try:
        repository = open_registry(project.registry()).repository(name)
    except ModelDeployError:
        return None  # an image can do without it
    return held_in(repository)(descriptor)


def _known_engine(name: str) -> str:
    if name not in ENGINES:
        raise ConfigError(f"'{name}' is no engine that makes images; there are {', '.join(ENGINES)}")
    return name


def _told(image: PlatformImage) -> PlatformBuilt:
    layers = tuple(
        LayerBuilt(part.kind, part.name, part.blob.descriptor.digest, part.blob.descriptor.size, part.built)
        for part in image.parts
    )
    return PlatformBuilt(str(image.platform), image.descriptor.digest, image.size, layers)
