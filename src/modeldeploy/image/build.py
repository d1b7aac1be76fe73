"""From a bundle to its image, without a daemon: find every layer, make what is missing, put it together.

Nothing is done that was done before: the base and the packages are found by the locks, the bundle's layers
are those of its artifact, and an image of the same parts is the same bytes.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from modeldeploy.bundle.artifact import layers_of
from modeldeploy.bundle.manifest import LOCK, Manifest
from modeldeploy.errors import BundleError
from modeldeploy.events import Emit
from modeldeploy.image import made as records
from modeldeploy.image.assemble import Image, Part, assemble
from modeldeploy.image.base.model import Base
from modeldeploy.image.cache import ImageCache
from modeldeploy.image.foundation import Foundation, Ground
from modeldeploy.image.layers import PackageLayers, Requirement, Wanted, package_layers
from modeldeploy.image.made import Made
from modeldeploy.image.provenance import Means, Statement, platform_statement, provenance
from modeldeploy.image.sbom import PREDICATE, bill_of_materials
from modeldeploy.image.wheels import Installer, by_uv
from modeldeploy.model import BundleRef


@dataclass(frozen=True, slots=True)
class Source:
    """The bundle that an image is made of."""

    ref: BundleRef
    path: Path
    manifest: Manifest

    @classmethod
    def of(cls, ref: BundleRef, path: Path) -> Source:
        """An unpacked bundle. Raises `BundleError`."""
        return cls(ref, path, Manifest.read(path))

    @property
    def lock(self) -> str:
        """The text of its lock. Raises `BundleError` where it is gone."""
        try:
            return (self.path / LOCK).read_text()
        except OSError as error:
            raise BundleError(
                f"{self.path} has lost its lock ({LOCK}): {error.strerror}",
                hint="build it again: mdeploy build",
            ) from error

    def parts(self) -> tuple[Part, ...]:
        """The bundle's own layers, which its artifact has too. Nothing is copied."""
        models = frozenset(self.manifest.model)
        return tuple(
            Part("model" if layer.name in models else "code", layer.name, layer.blob(), layer.digest)
            for layer in layers_of(self.path)
        )


def build(
    source: Source, ground: Ground, *, emit: Emit, upgrade: bool = False, installer: Installer = by_uv
) -> Made:
    """The image of a bundle for all platforms asked for. Raises `BundleError`.

    ``upgrade`` resolves the base anew: the newest packages, the compiler and compressor that are here.
    """
    cache = ImageCache()
    with cache.in_use():
        foundation = ground.lay(source.manifest.python, cache, emit=emit, upgrade=upgrade)
        own = source.parts()
        images, listed = [], []
        for base in foundation.bases:
            packages = packages_for(source, base, foundation, cache, emit=emit, installer=installer)
            parts = (*package_parts(packages, cache), *own)
            images.append(assemble(source.manifest, base, parts, ground.settings.user))
            listed.append([each for layer in packages.layers for each in layer.packages])
        image = Image(source.ref, tuple(images))
        known = _remembered(image, cache)
        if known:
            return known
        means = Means("none", foundation.compiler.version, foundation.compressor, foundation.bases)
        made = Made(image, "none", statements(source, image, listed, means))
        records.keep(made, cache)
    return made


def packages_for(
    source: Source,
    base: Base,
    foundation: Foundation,
    cache: ImageCache,
    *,
    emit: Emit,
    installer: Installer = by_uv,
) -> PackageLayers:
    """The layers of the bundle's packages on one base."""
    wanted = Wanted(
        source.lock, base.platform, base.python_version, foundation.compiler, foundation.compressor
    )
    return package_layers(wanted, cache, emit=emit, installer=installer)


def package_parts(packages: PackageLayers, cache: ImageCache) -> tuple[Part, ...]:
    """The same as parts of an image."""
    return tuple(
        Part(
            layer.kind,
            layer.name,
            cache.blob(layer.descriptor),
            layer.diff_id,
            built=layer.descriptor.digest in packages.built,
        )
        for layer in packages.layers
    )


def statements(
    source: Source, image: Image, listed: list[list[Requirement]], means: Means
) -> tuple[Statement, ...]:
    """What is stated about an image: where it comes from, and for each platform what is in it."""
    found = [provenance(image, source.manifest, source.path, means)]
    for each, base, packages in zip(image.platforms, means.bases, listed, strict=True):
        bill = bill_of_materials(each, source.manifest, base, packages)
        found.append(platform_statement(each, source.ref.name, PREDICATE, bill))
    return tuple(found)


def _remembered(image: Image, cache: ImageCache) -> Made | None:
    """The record of just this image, with the layers as they are now."""
    for made in records.images_of(image.bundle.digest, cache=cache, elsewhere=_of(image)):
        if made.image.digest == image.digest:
            records.used(made, cache)
            return Made(image, made.engine, made.statements)
    return None


def _of(image: Image) -> records.Elsewhere:
    blobs = {part.blob.descriptor.digest: part.blob for each in image.platforms for part in each.parts}
    return lambda descriptor: blobs.get(descriptor.digest)
