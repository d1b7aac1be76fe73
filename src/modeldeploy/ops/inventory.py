"""Looking at bundles: what there is, what is in one, why two differ; and removing what nothing needs."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from modeldeploy.bundle import bento, compare, facts, usage
from modeldeploy.bundle import build as builds
from modeldeploy.bundle import lock as locks
from modeldeploy.bundle import service as services
from modeldeploy.bundle.compare import Differences
from modeldeploy.bundle.manifest import File
from modeldeploy.bundle.recipe import Recipe
from modeldeploy.bundle.store import BundleStore, Stored
from modeldeploy.bundle.usage import Kept, Rules, Waste
from modeldeploy.config.load import Project, load
from modeldeploy.config.peek import project_name
from modeldeploy.errors import ModelDeployError
from modeldeploy.events import Emit
from modeldeploy.ops import deployed, image_records
from modeldeploy.ops.deployed import Place
from modeldeploy.ops.image_records import ImageLine
from modeldeploy.ops.making import find_bundle

_STALE = "modeldeploy.lock does not fit the requirements; the next build resolves it, and it may change"
_UNMADE = "what BentoML makes of the project is not known before the next build, and is left out here"


@dataclass(frozen=True, slots=True)
class LockSummary:
    """The lock of a bundle in short."""

    digest: str
    packages: int
    python: str
    """The exact Python that it was resolved on; that of the bundle, where it is not known."""
    platforms: tuple[str, ...]
    bentoml: str


@dataclass(frozen=True, slots=True)
class BundleDetails:
    """All that is known of a bundle. Sizes in bytes."""

    ref: str
    digest: str
    path: Path
    framework: str
    entrypoint: str
    generated: bool
    """The service is mdeploy's own."""
    service: Mapping[str, Any]
    """What ``mdeploy_service.json`` tells it: models, graph, hooks, limits. Empty if it cannot be read."""
    graph: str
    """How hooks and models are one service, in a line; "" for a model alone."""
    protocols: tuple[str, ...]
    """What it speaks besides HTTP, and reads besides what every service does."""
    license: str
    metadata: Mapping[str, Any]
    signature: Mapping[str, Any] | None
    golden: Mapping[str, Any] | None
    models: tuple[File, ...]
    files: int
    size: int
    """Of all its files, as a copy elsewhere would take."""
    disk: int
    """What would be free here without it."""
    requirements: tuple[str, ...]
    python: str
    lock: LockSummary
    built: Mapping[str, Any]
    """Where and with what it was built: commit, tools, time, the run of the CI."""
    live: tuple[Place, ...]
    """Where it is on targets of this machine."""
    images: tuple[ImageLine, ...]
    """Those that this machine has made."""
    aliases: tuple[str, ...]
    """Names that stand for it in the project's registry."""


@dataclass(frozen=True, slots=True)
class BundleLine:
    """A bundle in a list. Sizes in bytes."""

    ref: str
    name: str
    version: str
    digest: str
    size: int
    disk: int
    """What would be free without it: files that other bundles have too are not counted."""
    built: str
    """When, such as ``2026-03-01T12:00:00Z``; "" where it is not known."""
    commit: str
    """The git commit; "" outside of a repository."""
    dirty: bool
    """Tracked files differed from the commit."""
    live: tuple[Place, ...]


@dataclass(frozen=True, slots=True)
class BundleList:
    """The bundles on this machine, by name and age, the newest last."""

    bundles: tuple[BundleLine, ...]
    disk: int
    """Bytes that all take together, shared files counted once."""


@dataclass(frozen=True, slots=True)
class Collected:
    """What `gc` removed, or would remove."""

    dry_run: bool
    waste: tuple[Waste, ...]
    kept: tuple[Kept, ...]
    bytes: int
    """What is free now, or would be."""
    unasked: tuple[str, ...]
    """Who could not be asked, targets above all: what they may need was kept. A sentence each."""


def why(root: Path, a: str | None = None, b: str | None = None, *, emit: Emit) -> Differences:
    """What makes bundle ``b`` differ from bundle ``a``.

    Without ``b``: the project as it is now, of which nothing is built. Without both: the project against
    the bundle of its version. Raises `BundleError` where a bundle is not to be found.
    """
    project = load(root)
    first = find_bundle(project, a or project.file.project.version, emit)
    before = compare.bundle(str(first.ref), first.path)
    if b is None:
        return compare.differences(before, _now(project))
    second = find_bundle(project, b, emit)
    found = compare.differences(before, compare.bundle(str(second.ref), second.path))
    return replace(found, images=image_records.changes(first.ref.digest, second.ref.digest))


def _now(project: Project) -> compare.Content:
    """The project as it is, without making or resolving anything."""
    recipe = Recipe.of(project)
    present = locks.present(recipe)
    inputs = builds.look(recipe, present or locks.latest(recipe) or locks.Lock(""))
    made = bento.remembered(inputs.bento, version=recipe.version) if present else None
    notes = (*(() if present else (_STALE,)), *(() if made else (_UNMADE,)))
    return compare.project(inputs, made, notes=notes)


def inspect(root: Path, ref: str | None = None, *, emit: Emit) -> BundleDetails:
    """All that is known of a bundle; of the project's version, where none is named."""
    project = load(root)
    found = find_bundle(project, ref or project.file.project.version, emit)
    content = compare.bundle(str(found.ref), found.path)
    manifest, pins = content.manifest, locks.Lock(content.lock)
    told = services.told_in(found.path)
    size, _ = usage.sizes(BundleStore(), [Stored(found.ref, found.path)])
    return BundleDetails(
        ref=str(found.ref),
        digest=found.ref.digest,
        path=found.path,
        framework=manifest.framework,
        entrypoint=manifest.entrypoint,
        generated=manifest.generated,
        service=told,
        graph=services.shown(told) if told.get("graph") or told.get("hooks") else "",
        protocols=manifest.protocols,
        license=manifest.license,
        metadata=manifest.metadata,
        signature=manifest.signature.to_json() if manifest.signature else None,
        golden=manifest.golden.to_json() if manifest.golden else None,
        models=tuple(entry for entry in manifest.files if entry.path in manifest.model),
        files=len(manifest.files),
        size=sum(entry.size for entry in manifest.files),
        disk=size[found.ref.digest].alone,
        requirements=manifest.requirements,
        python=manifest.python,
        lock=LockSummary(
            manifest.lock,
            pins.count,
            manifest.python_full or manifest.python,
            manifest.platforms,
            pins.version("bentoml"),
        ),
        built=content.facts,
        live=tuple(place for place in deployed.places() if place.digest == found.ref.digest),
        images=image_records.images(found.ref.digest),
        aliases=_aliases(root, found.ref.digest, emit),
    )


def _aliases(root: Path, digest: str, emit: Emit) -> tuple[str, ...]:
    """Aliases of a bundle; none where the registry cannot be asked: what is here is told all the same."""
    from modeldeploy.ops.naming import aliases  # loads what asks registries

    with contextlib.suppress(ModelDeployError):
        return tuple(alias.name for alias in aliases(root, emit=emit) if alias.bundle.digest == digest)
    return ()


def bundles(root: Path | None = None) -> BundleList:
    """The bundles on this machine; with a project's folder, those of this project."""
    store = BundleStore()
    found = store.all()
    if root is not None:
        name = project_name(root)
        found = [stored for stored in found if stored.ref.name == name]
    size, disk = usage.sizes(store, found)
    places = deployed.places()
    return BundleList(tuple(_line(stored, size, places) for stored in found), disk)


def _line(stored: Stored, sizes: Mapping[str, usage.Size], places: tuple[Place, ...]) -> BundleLine:
    told = facts.read(stored.path)
    git = told.get("git") or {}
    ref = stored.ref
    return BundleLine(
        ref=str(ref),
        name=ref.name,
        version=ref.version,
        digest=ref.digest,
        size=sizes[ref.digest].all,
        disk=sizes[ref.digest].alone,
        built=str(told.get("built", "")),
        commit=str(git.get("commit", "")),
        dirty=bool(git.get("dirty", False)),
        live=tuple(place for place in places if place.digest == ref.digest),
    )


@builds.disk_watched()
def gc(
    root: Path | None = None,
    *,
    dry_run: bool = False,
    keep_days: float = Rules().days,
    keep_versions: int = Rules().versions,
    emit: Emit,
) -> Collected:
    """Remove from this machine what nothing needs any more.

    That is never a bundle that a target runs, parks or keeps for rollback, nor one of an unfinished rollout,
    nor one that was used within ``keep_days`` or is among the newest ``keep_versions`` of its name. A target
    that cannot be asked keeps all that it may have. ``root`` is a project whose targets are asked too.
    """
    del emit  # nothing of it takes long enough to be told
    asked = deployed.ask(root)
    rules = Rules(keep_days, keep_versions)
    found = usage.collect(BundleStore(), rules, lambda: deployed.needed(asked), dry_run=dry_run)
    images, why_not = _images(found.staying, dry_run=dry_run)
    waste = (*found.waste, *images)
    freed = sum(one.bytes for one in waste)
    if not dry_run:
        deployed.forget_old(asked)
    return Collected(dry_run, waste, found.kept, freed, (*asked.unasked, *why_not))


def _images(bundles: frozenset[str], *, dry_run: bool) -> tuple[list[Waste], list[str]]:
    """Images of bundles that are gone, and layers that no image needs; or why they could not be looked at."""
    from modeldeploy.image.cache import reclaim

    try:
        freed = reclaim(bundles, dry_run=dry_run)
    except BlockingIOError:
        return [], ["an image is being made: images were left alone"]
    return [Waste("image", "images", freed)] if freed else [], []
