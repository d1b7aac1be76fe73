"""Looking before acting: `check` whether the project is sound, `doctor` whether this machine is.

Neither changes anything but caches.
"""

from __future__ import annotations

import platform
import shutil
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from modeldeploy import files
from modeldeploy.errors import ModelDeployError
from modeldeploy.model import Finding, Level
from modeldeploy.targets import drivers, open_target

TYPE_CHECKING = False
if TYPE_CHECKING:
    from modeldeploy.bundle.inspection import ModelFacts
    from modeldeploy.bundle.recipe import Recipe
    from modeldeploy.bundle.signature import Signature
    from modeldeploy.config.load import Project

_GOLDEN = ("golden.npz", "golden.json")
"""What `mdeploy golden` writes where the project file names nothing."""
LOW_DISK = 2 * 1024**3
"""Bytes of free space below which `doctor` warns: an environment takes about half a gigabyte."""


def check(root: Path) -> list[Finding]:
    """Every problem of the project, its model and its targets, each with its remedy.

    Raises `ConfigError`, with all its problems at once, for a project file that cannot be used.
    """
    from modeldeploy.config.load import load

    project = load(root)
    findings = [Finding("project file", Level.OK, f"{project.path.name} is valid"), *project.findings()]
    findings += _check_model(project)
    findings += _check_python(project)
    findings += _check_lock(project)
    findings += _check_registry(project)
    for name in project.file.targets:
        findings += _check_target(project, name)
    return findings


def doctor(root: Path | None) -> list[Finding]:
    """What this machine has and lacks, and (in a project) what stands at its targets."""
    findings = [_python(), *_guarded("home", _home), *_guarded("uv", _uv), *_guarded("envoy", _envoy)]
    findings.append(Finding("drivers", Level.OK, ", ".join(drivers())))
    findings.append(_images())
    if root is not None:
        findings += _guarded("project", lambda: check(root))
    return findings


def _check_model(project: Project) -> Iterator[Finding]:
    from modeldeploy.bundle import service
    from modeldeploy.bundle.build import inspected
    from modeldeploy.bundle.recipe import Recipe

    recipe = Recipe.of(project)
    known: list[ModelFacts] = []
    for model in recipe.models:
        table = ("models", model.name) if project.file.models else ("model",)
        several = f"{model.name} ({model.path.name})" if project.file.models else model.path.name
        key = "path"
        try:
            facts = inspected(recipe, model)
            key = "inputs"
            signature = facts.signature
            if signature is not None and not recipe.entrypoint:
                signature = service.signature_of(model, facts)
        except ModelDeployError as error:
            yield _failed("model", error, project.locate((*table, key)))
            continue
        known.append(facts)
        yield Finding("model", Level.OK, f"{several}: {facts.framework}{_told(signature)}")
    yield from _check_code(project, recipe)
    if len(known) == len(recipe.models):
        yield from _check_service(project, recipe, known)


def _check_code(project: Project, recipe: Recipe) -> Iterator[Finding]:
    """Whether the project's own code that keys name is there by that name, and goes into the bundle."""
    from modeldeploy.bundle import code_check, sources

    if not recipe.code_names:
        return
    try:
        found = sources.collect(recipe.root, recipe.include, recipe.exclude)
    except ModelDeployError as error:
        yield _failed("code", error, project.locate("build.include"))
        return
    for key, named in recipe.code_names.items():
        table, _, name = key.strip("[").partition("] ")
        try:
            code_check.insist(key, named, found)
        except ModelDeployError as error:
            yield _failed("code", error, project.locate((*table.split("."), name)))


def _check_service(project: Project, recipe: Recipe, models: Sequence[ModelFacts]) -> Iterator[Finding]:
    """Whether the models fit each other and the hooks, and the golden samples fit the service."""
    from modeldeploy.bundle import service, stage

    if not recipe.entrypoint and any(facts.signature is None for facts in models):
        yield Finding("service", Level.OK, "the build asks the model's own framework what it takes and gives")
        yield from _check_golden(project, recipe, None)
        return
    graph = recipe.service.graph
    try:
        planned = service.plan(recipe, models, stage.model_paths(recipe))
    except ModelDeployError as error:
        yield _failed("service", error, project.locate(("service", graph["kind"]) if graph else "service"))
        return
    if graph or recipe.service.before or recipe.service.after:
        yield Finding("service", Level.OK, f"{service.shown(planned.told)}{_told(planned.signature)}")
    yield from _check_golden(project, recipe, planned.signature)


def _check_golden(project: Project, recipe: Recipe, signature: Signature | None) -> Iterator[Finding]:
    from modeldeploy.bundle import npz

    if recipe.golden is None:
        there = next((name for name in _GOLDEN if (recipe.root / name).is_file()), "")
        remedy = (
            f'{there} is there: name it, [model] golden = "{there}"'
            if there
            else "mdeploy golden records some"
        )
        where = project.locate("model.path")
        yield Finding("golden", Level.WARNING, "no golden samples: wrong answers go unseen", remedy, where)
        return
    try:
        count = npz.samples_in(recipe.golden, signature)
        yield Finding("golden", Level.OK, f"{recipe.golden.name} holds {count} samples that fit the model")
    except ModelDeployError as error:
        yield _failed("golden", error, project.locate("model.golden"))


def _told(signature: Signature | None) -> str:
    if signature is None:
        return ""
    given, made = (", ".join(map(str, side)) for side in (signature.inputs, signature.outputs))
    return f", {given} -> {made}"


def _check_python(project: Project) -> Iterator[Finding]:
    from modeldeploy.bundle import environment

    version = project.file.build.python
    try:
        yield Finding(
            "python", Level.OK, f"bundles run on Python {version}: {environment.interpreter(version)}"
        )
    except ModelDeployError as error:
        yield _failed("python", error, project.locate("build.python"))


def _check_lock(project: Project) -> Iterator[Finding]:
    from modeldeploy.bundle import lock
    from modeldeploy.bundle.recipe import Recipe

    try:
        known = lock.present(Recipe.of(project))
    except ModelDeployError as error:
        yield _failed("lock", error, project.locate("build.requirements"))
        return
    if known is None:
        yield Finding("lock", Level.OK, f"the next build will resolve {lock.FILENAME}")
    else:
        yield Finding("lock", Level.OK, f"{lock.FILENAME} pins {known.count} packages")


def _check_registry(project: Project) -> Iterator[Finding]:
    """Whether the registry answers, and whether it lets us read."""
    from modeldeploy.ops.references import repository_at

    where = project.locate("registry.url")
    try:
        repository = repository_at(project.root, project.file.project.name)
        tags = repository.tags()
    except ModelDeployError as error:
        yield _failed("registry", error, where)
        return
    told = f"{len(tags)} tag{'' if len(tags) == 1 else 's'}" if tags else "nothing there yet"
    yield Finding("registry", Level.OK, f"{repository.where}: {told}")


def _check_target(project: Project, name: str) -> Iterator[Finding]:
    where = project.locate(("targets", name))
    try:
        address = project.address(name)
        place = open_target(address.driver, address.project, address.target, address.options)
        found = list(place.check())
    except ModelDeployError as error:
        yield _failed(f"target {name}", error, where)
        return
    for finding in found:
        at = finding.where or (where if finding.level is not Level.OK else "")
        yield Finding(f"{name}: {finding.check}", finding.level, finding.message, finding.remedy, at)


def _python() -> Finding:
    told = f"{platform.python_version()} in {sys.prefix}, on {platform.system()} {platform.machine()}"
    return Finding("python", Level.OK, told)


def _home() -> Iterator[Finding]:
    home = files.home()
    free = shutil.disk_usage(home).free
    told = f"{home}, {free / 1024**3:.0f} GB free"
    if free < LOW_DISK:
        yield Finding("home", Level.WARNING, told, "free some space, or set MDEPLOY_HOME to another disk")
    else:
        yield Finding("home", Level.OK, told)


def _uv() -> Iterator[Finding]:
    from modeldeploy.bundle import uvtool

    yield Finding("uv", Level.OK, uvtool.version())


def _envoy() -> Iterator[Finding]:
    from modeldeploy.router import envoy

    yield envoy.finding()


def _images() -> Finding:
    """Only `mdeploy image` needs any of it, and only for the base that mdeploy makes."""
    from modeldeploy.image.base import mirrors
    from modeldeploy.image.load import ENGINES

    try:
        mirrors.find()
    except ModelDeployError as error:
        told = f"mdeploy image cannot make a base of Debian packages here: {error.message}"
        return Finding("images", Level.WARNING, told, error.hint or "")
    there = ", ".join(engine for engine in ENGINES if shutil.which(engine)) or "none"
    return Finding(
        "images", Level.OK, f"mdeploy image can make its own base here; engines to load into: {there}"
    )


def _guarded(name: str, look: Callable[[], object]) -> list[Finding]:
    """What a check finds; its own error as a finding, so that the others are still made."""
    try:
        found = look()
        return list(found) if isinstance(found, list | Iterator) else []
    except ModelDeployError as error:
        return [_failed(name, error, "")]


def _failed(name: str, error: ModelDeployError, where: str) -> Finding:
    return Finding(name, Level.ERROR, error.message, error.hint or "", where)
