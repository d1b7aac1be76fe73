"""Making things: projects, locks, bundles, golden samples; and trying a bundle on this machine."""

from __future__ import annotations

import shutil
import sys
import time
from dataclasses import asdict, dataclass
from pathlib import Path

from modeldeploy import files
from modeldeploy.bundle import lock as locks
from modeldeploy.bundle import progress, recording, trial
from modeldeploy.bundle.build import Built
from modeldeploy.bundle.build import build as build_bundle
from modeldeploy.bundle.golden import Call
from modeldeploy.bundle.golden import verify as verify_golden
from modeldeploy.bundle.manifest import Manifest
from modeldeploy.bundle.recipe import Recipe
from modeldeploy.bundle.store import BundleStore
from modeldeploy.config import edit
from modeldeploy.config.load import Project, load
from modeldeploy.config.names import NAME, NAME_RULE, matches
from modeldeploy.errors import ConfigError, ModelDeployError
from modeldeploy.events import Emit
from modeldeploy.model import HttpRequest
from modeldeploy.ops.auditing import build_facts, write_down

TEMPLATES = ("onnx",)


@dataclass(frozen=True, slots=True)
class SmokeCheck:
    """One thing that was tried on a running bundle."""

    check: str
    passed: bool
    message: str


@dataclass(frozen=True, slots=True)
class SmokeReport:
    """What came of trying a bundle on this machine."""

    ref: str
    digest: str
    passed: bool
    checks: tuple[SmokeCheck, ...]
    seconds: float


def init(folder: Path, *, template: str = "onnx", name: str | None = None) -> Path:
    """Make a project from a template. Never replaces a file. Raises `ConfigError`."""
    folder, source = Path(folder), _template(template)
    if name and not matches(NAME, name):
        raise ConfigError(f"'{name}' is no name for a project; expected {NAME_RULE}", hint="--name my-model")
    clashes = sorted(path.name for path in source.iterdir() if (folder / path.name).exists())
    if clashes:
        raise ConfigError(
            f"{folder} has files that the template would replace: {', '.join(clashes)}",
            hint="make the project elsewhere: mdeploy init NEW_FOLDER",
        )
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for path in source.iterdir():
            if path.is_file():
                shutil.copyfile(path, folder / path.name)
        if name:
            edit.set_name(folder, name)
        # A project that works at once must not ask for a Python that this machine may lack.
        edit.set_python(folder, f"{sys.version_info.major}.{sys.version_info.minor}")
    except OSError as error:
        raise files.disk_full(folder, error) or ConfigError(
            f"cannot make a project in {folder}: {error.strerror}",
            hint="choose a folder that you may write to",
        ) from error
    return folder.absolute()


def lock(root: Path, *, upgrade: bool = False, emit: Emit) -> Path:
    """Pin the project's requirements with hashes, if they are not already. Returns the lock file."""
    recipe = Recipe.of(load(root))
    if upgrade or locks.present(recipe) is None:
        with progress.step(emit, "lock", f"resolving the packages for {locks.FILENAME}") as told:
            told["packages"] = locks.resolve(recipe, upgrade=upgrade).count
    return recipe.root / locks.FILENAME


def build(root: Path, *, bump: edit.Part | None = None, upgrade: bool = False, emit: Emit) -> Built:
    """Build the project's bundle. ``bump`` raises its version first: ``major``, ``minor``, ``patch``."""
    project = load(root)
    if not bump:
        return build_bundle(project, emit=emit, upgrade=upgrade)
    version = project.file.project.version
    edit.set_version(project.path, edit.next_version(version, bump))
    try:
        return build_bundle(load(root), emit=emit, upgrade=upgrade)
    except ModelDeployError:
        edit.set_version(project.path, version)  # nothing was built: the next try is not the version after
        raise


@dataclass(frozen=True, slots=True)
class GoldenFile:
    """Golden samples that were recorded."""

    path: Path
    count: int
    named: bool
    """The project file names it, so that it goes into the bundle."""


def golden(root: Path, *, samples: Path | None = None, count: int | None = None, emit: Emit) -> GoldenFile:
    """Record what the bundle answers now as its golden samples."""
    project = load(root, may_be_missing=("model.golden",))
    recorded = recording.record(project, samples=samples, emit=emit, count=count or recording.RANDOM)
    return GoldenFile(recorded.path, recorded.samples, named=project.file.model.golden is not None)


def find_bundle(project: Project, ref: str | None, emit: Emit) -> Built:
    """The bundle of a reference, from the registry if it is not on this machine; else the project's, built.

    A reference is ``NAME:VERSION``, ``VERSION``, ``sha256:…`` or ``@ALIAS``.
    """
    if ref is None:
        return build_bundle(project, emit=emit)
    from modeldeploy.ops.references import obtain  # loads what asks registries

    return obtain(project.root, project.file.project.name, ref, emit=emit)


def smoke(root: Path, *, ref: str | None = None, emit: Emit) -> SmokeReport:
    """Start the bundle here, replay its golden samples, look at its schema, stop it."""
    project = load(root)
    bundle = find_bundle(project, ref, emit)
    began = time.monotonic()
    try:
        checks = _try(project, bundle, emit)
    except ModelDeployError as error:
        failed = SmokeCheck("ready", passed=False, message=error.message)
        _write_down(root, bundle, (failed,), time.monotonic() - began, emit)
        raise
    seconds = round(time.monotonic() - began, 3)
    _write_down(root, bundle, checks, seconds, emit)
    passed = all(check.passed for check in checks)
    return SmokeReport(str(bundle.ref), bundle.ref.digest, passed, checks, seconds)


def _try(project: Project, bundle: Built, emit: Emit) -> tuple[SmokeCheck, ...]:
    began = time.monotonic()
    with (
        BundleStore().hold(bundle.ref.digest),
        progress.step(emit, "test", f"trying {bundle.ref} on this machine"),
        trial.running(bundle.path, emit=emit, env=dict(first_env(project))) as call,
    ):
        ready = SmokeCheck("ready", passed=True, message=f"ready after {time.monotonic() - began:.1f} s")
        return (ready, _golden_check(call, bundle.path), _schema_check(call, bundle.path))


def _write_down(
    root: Path, bundle: Built, checks: tuple[SmokeCheck, ...], seconds: float, emit: Emit
) -> None:
    """One entry of the audit log: a policy may ask for a test that has passed."""
    golden = Manifest.read(bundle.path).golden
    replayed = next((check.passed for check in checks if check.check == "golden"), False)
    total = golden.samples if golden else 0
    data = {
        "passed": all(check.passed for check in checks),
        "checks": [asdict(check) for check in checks],
        "golden": {"total": total if replayed else 0, "failed": 0 if replayed else total},
        "seconds": round(seconds, 3),
        "build": build_facts(bundle.path),
    }
    write_down(root, "test", emit, bundle=bundle.ref, data=data)


def first_env(project: Project) -> dict[str, str]:
    """The variables that the service has on the project's only target; none where there are several."""
    return dict(project.env()) if len(project.file.targets) == 1 else {}


def _golden_check(call: Call, bundle: Path) -> SmokeCheck:
    report = verify_golden(call, bundle)
    if not report.total:
        message = "this bundle has no golden samples: record some with mdeploy golden"
    elif report.passed:
        message = f"{report.total} golden sample{'' if report.total == 1 else 's'} reproduced"
    else:
        message = f"{report.failed} of {report.total} golden samples differ: {'; '.join(report.failures[:3])}"
    return SmokeCheck("golden", report.passed, message)


def _schema_check(call: Call, bundle: Path) -> SmokeCheck:
    import json

    answer = call(HttpRequest("GET", "/schema.json"))
    if answer.status != 200:
        return SmokeCheck("schema", passed=False, message=f"GET /schema.json answered {answer.status}")
    routes = {route["route"]: route for route in json.loads(answer.body).get("routes", [])}
    signature = Manifest.read(bundle).signature
    if signature is None or "mdeploy_service" not in Manifest.read(bundle).entrypoint:
        return SmokeCheck(
            "schema", passed=bool(routes), message=f"serves {', '.join(sorted(routes)) or 'nothing'}"
        )
    served = set(routes.get("/predict", {}).get("input", {}).get("properties", {}))
    wanted = {spec.name for spec in signature.inputs}
    told = f"/predict takes {', '.join(sorted(served)) or 'nothing'}"
    if served != wanted:
        return SmokeCheck(
            "schema", passed=False, message=f"{told}; the model takes {', '.join(sorted(wanted))}"
        )
    return SmokeCheck("schema", passed=True, message=told)


def _template(name: str) -> Path:
    if name not in TEMPLATES:
        raise ConfigError(f"there is no template '{name}'; there are: {', '.join(TEMPLATES)}")
    package = Path(__file__).resolve().parents[1]
    # Installed, templates are part of the package; in a clone they stand beside src/.
    for place in (package / "_templates", package.parents[1] / "templates"):
        if (place / name).is_dir():
            return place / name
    raise ConfigError("mdeploy's templates are not installed with it", hint="install mdeploy again")
