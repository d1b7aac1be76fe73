"""From a project to a bundle in the store.

The order makes what is cheap to find wrong be found first, and what is known already not be done again:
model and golden samples are looked at; the lock is used or resolved; if the digest of all inputs is known,
its bundle is the answer. Otherwise the files are put in place once, BentoML is asked for its part (unless
it made the same one before), and the finished folder is added to the store by one rename.
"""

from __future__ import annotations

import errno
import functools
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from modeldeploy import files
from modeldeploy.bundle import (
    archives,
    bento,
    code_check,
    facts,
    frameworks,
    lock,
    npz,
    pickles,
    progress,
    service,
    sources,
    stage,
)
from modeldeploy.bundle.described import Bundled
from modeldeploy.bundle.environment import Environment
from modeldeploy.bundle.inspection import ModelFacts, inspect
from modeldeploy.bundle.manifest import (
    BUILD_FACTS,
    GENERATED,
    MANIFEST,
    SOURCE,
    Golden,
    Manifest,
    NamedModel,
    canonical,
)
from modeldeploy.bundle.recipe import ModelRecipe, Recipe
from modeldeploy.bundle.service import Planned
from modeldeploy.bundle.signature import Signature
from modeldeploy.bundle.stage import Item
from modeldeploy.bundle.store import BundleStore, Stored
from modeldeploy.errors import BundleError
from modeldeploy.events import Emit
from modeldeploy.model import BundleRef
from modeldeploy.oci.descriptor import digest_of

if TYPE_CHECKING:
    from modeldeploy.config.load import Project  # brings pydantic along

INDEX = "builds-2"
"""Digest of a build's inputs -> digest of its bundle. The number grows when builds make something else."""


@dataclass(frozen=True, slots=True)
class Built:
    """A bundle in the store. ``unchanged``: it was there before, nothing was made."""

    ref: BundleRef
    path: Path
    unchanged: bool


@dataclass(frozen=True, slots=True)
class Inputs:
    """All that a bundle is made from, looked at and checked, nothing of it copied yet."""

    recipe: Recipe
    models: tuple[ModelFacts, ...]
    """In the order of the recipe."""
    service: Planned
    lock: lock.Lock
    weights: tuple[Item, ...]
    code: tuple[Item, ...]
    golden: tuple[Item, ...]
    samples: int
    skipped: tuple[str, ...]

    def digest(self) -> str:
        """Changes with everything that could change the bundle."""
        recipe = self.recipe
        settings = [
            *(recipe.name, recipe.version, recipe.entrypoint, recipe.python, recipe.requirements),
            *(recipe.rtol, recipe.atol, recipe.license, recipe.metadata),
        ]
        lock = [self.lock.digest, self.lock.python, self.lock.platforms]
        content = [item.file.to_json() for item in (*self.weights, *self.code, *self.golden)]
        return digest_of(canonical([settings, lock, content]))

    def loadable(self) -> Iterator[pickles.Candidate]:
        """Files of the project that the service could load, the model first."""
        custom = {facts.files[0] for facts in self.models if facts.framework == frameworks.CUSTOM}
        # PyTorch reads these itself, and nothing of Python's can be called from them.
        scripts = {facts.path for facts in self.models if facts.options.get("format") == archives.SCRIPT}
        for item in (*self.weights, *self.code):
            if isinstance(item.source, Path) and item.source not in scripts:
                name = item.file.path.removeprefix(f"{SOURCE}/")
                yield pickles.Candidate(name, item.source, sure=item.source in custom)

    @property
    def signature(self) -> Signature | None:
        """What clients send and get; None for a service of the project's own that says nothing of it."""
        return self.service.signature

    @property
    def framework(self) -> str:
        """The models' frameworks, each once."""
        return "+".join(sorted({facts.framework for facts in self.models}))

    @property
    def bento(self) -> bento.Service:
        """What BentoML's part is made from."""
        recipe = self.recipe
        return bento.Service(recipe.name, recipe.entrypoint or GENERATED, recipe.python, self.lock, self.code)

    def manifest(self, others: tuple[Item, ...]) -> Manifest:
        """The manifest of the bundle with these inputs and the files that BentoML made."""
        recipe = self.recipe
        items = (*self.weights, *self.code, *self.golden, *others)
        golden = self.golden[0].file.path if self.golden else None
        return Manifest(
            name=recipe.name,
            version=recipe.version,
            framework=self.framework,
            entrypoint=recipe.entrypoint or GENERATED,
            model=tuple(item.file.path for item in self.weights),
            python=recipe.python,
            lock=self.lock.digest,
            requirements=tuple(sorted(recipe.requirements)),
            signature=self.signature,
            golden=Golden(golden, self.samples, recipe.rtol, recipe.atol) if golden else None,
            files=tuple(item.file for item in items),
            python_full=self.lock.python,
            platforms=self.lock.platforms,
            license=recipe.license,
            metadata=recipe.metadata,
            models=self._each_model() if len(self.models) > 1 else (),
            protocols=recipe.service.protocols,
        )

    def _each_model(self) -> tuple[NamedModel, ...]:
        named = zip(self.recipe.models, self.models, stage.model_paths(self.recipe), strict=True)
        return tuple(
            NamedModel(model.name, facts.framework, f"{SOURCE}/{path}") for model, facts, path in named
        )


@contextmanager
def disk_watched() -> Iterator[None]:
    """A full disk ends any build with the same sentence, whichever file was being written."""
    try:
        yield
    except OSError as error:
        place = Path(error.filename2 or error.filename or files.home())
        if full := files.disk_full(place, error):
            raise full from error
        if error.errno in {errno.EACCES, errno.EROFS, errno.EPERM}:
            raise BundleError(
                f"cannot write {place}: {error.strerror}",
                hint="make it writable, or set MDEPLOY_HOME",
            ) from error
        raise


def build(project: Project, *, emit: Emit, upgrade: bool = False) -> Built:
    """Build a project's bundle and keep it in the store; at once where nothing changed.

    ``upgrade`` resolves the lock anew, to the newest versions that the requirements allow. Raises
    `BundleError` for what is wrong with the model, its samples, its code or its packages.
    """
    return build_recipe(Recipe.of(project), emit=emit, upgrade=upgrade)


@disk_watched()
def build_recipe(recipe: Recipe, *, emit: Emit, upgrade: bool = False) -> Built:
    """What `build` does, for inputs that come from elsewhere than a project file."""
    store = BundleStore()
    inputs = gather(recipe, emit=emit, upgrade=upgrade)
    index = files.home() / "cache" / INDEX / inputs.digest().removeprefix("sha256:")
    if known := _known(store, index, recipe):
        return Built(known.ref, known.path, unchanged=True)
    if inputs.skipped:
        progress.warn(emit, f"left out: {', '.join(inputs.skipped[:8])}", skipped=list(inputs.skipped))
    pickles.insist(inputs.loadable(), trust=recipe.trust, emit=emit)
    store.refuse_other(inputs.manifest(()), complete=False)
    with store.workspace() as folder:
        manifest = assemble(inputs, folder, emit=emit, take=store.take)
        with progress.step(emit, "store", "adding the bundle to the store") as told:
            stored, new = store.add(folder, manifest)
            told |= {"digest": stored.ref.digest, "message": f"stored {stored.ref}"}
    files.private(index.parent)
    files.write_atomic(index, stored.ref.digest.encode())
    return Built(stored.ref, stored.path, unchanged=not new)


def gather(recipe: Recipe, *, emit: Emit, upgrade: bool = False) -> Inputs:
    """Look at all inputs of a build, and resolve the lock if it does not fit them. Raises `BundleError`."""
    resolved = functools.cache(lambda: _lock(recipe, emit=emit, upgrade=upgrade))
    found = _look(recipe, lock.Lock(""), _bundled(recipe, resolved, emit))
    return replace(found, lock=resolved())


def look(recipe: Recipe, locked: lock.Lock) -> Inputs:
    """The same with a lock that is there already, whether it fits or not. Writes nothing into the project."""
    return _look(recipe, locked, _bundled(recipe, lambda: locked, lambda _: None))


def _bundled(recipe: Recipe, resolved: Callable[[], lock.Lock], emit: Emit) -> Bundled:
    """Lock and environment for the models that only their own framework can read; others need neither yet."""

    def python() -> Path:
        if not resolved().text:
            raise BundleError("the model's packages are not locked yet", hint="mdeploy build")
        made = Environment.for_lock(resolved().text, recipe.python)
        made.create(emit)
        return made.python

    return Bundled(resolved, python)


def inspected(recipe: Recipe, model: ModelRecipe, bundled: Bundled | None = None) -> ModelFacts:
    """One model of a recipe, as `inspect` sees it. Raises `BundleError`."""
    return inspect(
        model.path,
        insisted=model.framework,
        own_service=recipe.entrypoint is not None,
        asked=model,
        trusted=stage.inside(recipe, model.path) in recipe.trust,
        bundled=bundled,
        code=recipe.root,
    )


def _look(recipe: Recipe, locked: lock.Lock, bundled: Bundled) -> Inputs:
    models = tuple(inspected(recipe, model, bundled) for model in recipe.models)
    found = sources.collect(recipe.root, recipe.include, recipe.exclude)
    for key, named in recipe.code_names.items():
        code_check.insist(key, named, found)
    weights = stage.model_items(recipe, models)
    planned = service.plan(recipe, models, stage.model_paths(recipe))
    samples = npz.samples_in(recipe.golden, planned.signature) if recipe.golden else 0
    in_model = {item.file.path for item in weights}
    code = stage.code_items(recipe, found, planned)
    return Inputs(
        recipe=recipe,
        models=models,
        service=planned,
        lock=locked,
        weights=weights,
        code=tuple(item for item in code if item.file.path not in in_model),
        golden=stage.golden_items(recipe),
        samples=samples,
        skipped=tuple(found.skipped),
    )


def assemble(inputs: Inputs, folder: Path, *, emit: Emit, take: stage.Take | None = None) -> Manifest:
    """Make the whole bundle in an empty folder; ``take`` may spare a copy. Raises `BundleError`."""
    recipe = inputs.recipe
    staged = (*inputs.weights, *inputs.code, *inputs.golden)
    stage.write(staged, folder, take)
    made = bento.skeleton(inputs.bento, version=recipe.version, staged=folder / SOURCE, emit=emit)
    stage.drop_strangers(staged, folder)
    manifest = inputs.manifest(made)
    told = facts.to_bytes(facts.gather(recipe.root, inputs.lock))
    stage.write(
        (*made, Item.of_bytes(MANIFEST, manifest.to_bytes()), Item.of_bytes(BUILD_FACTS, told)), folder
    )
    return manifest


def _known(store: BundleStore, index: Path, recipe: Recipe) -> Stored | None:
    """The bundle that these inputs made before, if it is there, intact, and its version's."""
    try:
        digest = index.read_text()
    except OSError:
        return None
    if store.digest_of(recipe.name, recipe.version) != digest:
        return None
    try:
        with store.hold(digest):
            return store.find(recipe.name, recipe.version)
    except BundleError:
        return None  # damaged: it is made again, in place of what is there


def _lock(recipe: Recipe, *, emit: Emit, upgrade: bool) -> lock.Lock:
    known = None if upgrade else lock.present(recipe)
    if known:
        return known
    with progress.step(emit, "lock", f"resolving the packages for {lock.FILENAME}") as told:
        made = lock.resolve(recipe, upgrade=upgrade)
        told |= {"packages": made.count, "message": f"locked {made.count} packages in {lock.FILENAME}"}
    return made
