"""Finding a quicker or smaller form of a project's model that answers its golden samples as well."""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from modeldeploy import files
from modeldeploy.bundle import lock as locks
from modeldeploy.bundle import npz, signature
from modeldeploy.bundle.recipe import Recipe
from modeldeploy.config import edit
from modeldeploy.config.load import Project, load
from modeldeploy.config.service_tables import ServiceTable
from modeldeploy.errors import ConfigError
from modeldeploy.events import Emit
from modeldeploy.measure import charts, noise, page, tools, units
from modeldeploy.measure.contest import Samples
from modeldeploy.measure.search import Found, Search, Settings, Variant
from modeldeploy.ops.benching import FORMS
from modeldeploy.serving.cpu import processors

AIMS = {"latency": "quicker for one row", "throughput": "more rows a second", "size": "smaller"}
_FEW = 100
_SUFFIXES = {"int8-dynamic": "int8", "int8-static": "int8", "fp16": "fp16"}
Values = dict[tuple[str, str], str | int]


@dataclass(frozen=True, slots=True)
class Wish:
    """What to look for."""

    aim: str = "latency"
    max_loss: float = 0.0
    """Share of the golden samples that may get another label, all numbers being within the tolerance."""
    quick: bool = False
    dry_run: bool = False
    save: Path | None = None

    def check(self) -> None:
        """Refuse what cannot be. Raises `ConfigError`."""
        if self.aim not in AIMS:
            raise ConfigError(f"'{self.aim}' is no aim; expected {', '.join(AIMS)}")
        if self.save and self.save.suffix not in FORMS:
            raise ConfigError(
                f"cannot tell from its name what {self.save.name} should hold; expected {', '.join(FORMS)}",
                hint="--save report.html",
            )


@dataclass(frozen=True, slots=True)
class Optimized:
    """What came of the search, and what was written."""

    aim: str
    model: str
    samples: int
    noise: float
    """How far the same thing measured twice was from itself, as a share."""
    variants: tuple[Variant, ...]
    chosen: str
    verdict: str
    changes: tuple[str, ...]
    """Lines of the project file that are new, or would be."""
    written: bool
    path: Path | None
    """The new model file."""
    undo: str
    next: str
    notes: tuple[str, ...]
    saved: Path | None


def optimize(root: Path, *, wish: Wish | None = None, emit: Emit) -> Optimized:
    """Measure other forms of the model, and write the best that is exact enough into the project file.

    Nothing is written where none is better, nor for ``wish.dry_run``. Raises `ConfigError` for a project
    that it cannot work on, `BundleError` for a model that does not answer its own samples.
    """
    wish = wish or Wish()
    wish.check()
    project = load(root)
    if project.env_name and not wish.dry_run:
        raise ConfigError(
            f"optimize writes into modeldeploy.toml itself, not into the environment '{project.env_name}'",
            hint="leave --env and MDEPLOY_ENV out, or: mdeploy optimize --dry-run",
        )
    model, samples = _subject(project)
    settings = _settings(project)
    recipe = Recipe.of(project)
    locked = locks.present(recipe)
    runtime = locked.version("onnxruntime") if locked else ""
    environment = tools.prepare(recipe.python, runtime, emit)
    with tempfile.TemporaryDirectory(prefix="mdeploy-optimize-") as folder:
        search = Search(
            model, samples, settings, aim=wish.aim, python=environment.python, folder=Path(folder)
        )
        search.max_loss = wish.max_loss
        if wish.quick:
            search.rounds, search.seconds, search.levels = 9, 0.06, ("disable",)
        found = search.run(emit, processors())
        told = _concluded(project, model, settings, found, wish)
    if told.saved:
        _save(told.saved, told)
    return told


def _subject(project: Project) -> tuple[Path, Samples]:
    """The model and its golden samples. Raises `ConfigError` for what cannot be optimised."""
    file = project.file
    _insist_on_one_model(file.service, several=bool(file.models))
    model = project.root / (file.model.path or "")
    if (file.model.framework or "onnx") != "onnx" or model.suffix != ".onnx":
        raise ConfigError(
            f"{model.name} is no ONNX model; other forms of the model are made of ONNX models only",
            hint="export it to ONNX; or try [service] batch_rows and threads yourself, with: mdeploy bench",
        )
    golden = project.root / file.model.golden if file.model.golden else None
    if golden is None or golden.suffix != ".npz":
        have = f"{golden.name} holds whole requests" if golden else "the project has none (model.golden)"
        raise ConfigError(
            f"optimize judges by golden samples kept as arrays, and {have}",
            hint='set [model] golden = "golden.npz", then: mdeploy golden --samples inputs.npz',
        )
    found = signature.read(model)
    npz.samples_in(golden, found)
    tolerance = file.model.tolerance
    return model, Samples(golden, npz.stackable(found), tolerance.rtol, tolerance.atol)


def _insist_on_one_model(service: ServiceTable, *, several: bool) -> None:
    """Golden samples must be of the model itself. Raises `ConfigError` where they are of more than that."""
    reasons = {
        "a service of your own": service.entrypoint,
        "several models": several,
        "hooks around its model": service.preprocess or service.postprocess,
    }
    for what in (name for name, there in reasons.items() if there):
        raise ConfigError(
            f"this project has {what}; optimize works on one ONNX model with the generated service",
            hint="measure it instead: mdeploy bench",
        )


def _settings(project: Project) -> Settings:
    service = project.file.service
    workers = service.workers or processors()
    threads = service.threads or max(1, processors() // workers)
    return Settings(service.graph_optimization, threads, service.batch_rows)


def _concluded(project: Project, model: Path, settings: Settings, found: Found, wish: Wish) -> Optimized:
    """Write what was found, unless it is a dry run, and say what was done."""
    values, source = _values(project, model, settings, found)
    new = _free_name(model, source) if source else None
    if new:
        values[("model", "path")] = new.relative_to(project.root).as_posix()
    changes = tuple(f"[{table}] {key} = {json.dumps(new)}" for (table, key), new in values.items())
    written = bool(values) and not wish.dry_run
    undo = _undo(project, values, new) if written else ""
    if written:
        _write(project, values, source, new)
    return Optimized(
        aim=wish.aim,
        model=model.name,
        samples=found.variants[0].accuracy.samples if found.variants[0].accuracy else 0,
        noise=found.noise,
        variants=found.variants,
        chosen=found.form.name,
        verdict=_verdict(found, wish, changed=bool(values)),
        changes=changes,
        written=written,
        path=new if written else None,
        undo=undo,
        next="mdeploy build --bump patch" if written else "",
        notes=tuple(_notes(found, project.file.service.providers)),
        saved=wish.save.absolute() if wish.save else None,
    )


def _values(project: Project, model: Path, settings: Settings, found: Found) -> tuple[Values, Path | None]:
    """What to write, and the new model's file if there is one."""
    values: Values = {}
    form = found.form
    source = form.path if form.path != model and form.state == "chosen" else None
    if source:
        values["model", "path"] = ""
    if form.graph_optimization != settings.graph_optimization:
        values["service", "graph_optimization"] = form.graph_optimization
    if found.threads is not None:
        values["service", "threads"] = found.threads
    if found.rows is not None and found.rows != project.file.service.batch_rows:
        values["service", "batch_rows"] = found.rows
    return values, source


def _free_name(model: Path, source: Path) -> Path:
    """A name beside the model that no file of the user's has."""
    kind = _SUFFIXES[source.stem]
    names = (
        f"{model.stem}.{kind}{number}.onnx" for number in ("", *(f"-{count}" for count in range(2, 1000)))
    )
    for name in names:
        path = model.with_name(name)
        if not path.exists() or path.read_bytes() == source.read_bytes():
            return path
    raise ConfigError(f"there are a thousand files such as {model.stem}.{kind}.onnx", hint="remove some")


def _write(project: Project, values: Values, source: Path | None, new: Path | None) -> None:
    """The model file, then the project file; neither, where one fails or somebody presses Ctrl-C."""
    made = source is not None and new is not None and not new.exists()
    try:
        if made and source and new:
            _copy(source, new)
        edit.set_values(project.path, values)
    except BaseException:
        if made and new and not _names(project, new):
            new.unlink(missing_ok=True)
        raise


def _names(project: Project, new: Path) -> bool:
    """True if the project file names that model by now: it was replaced before the interruption."""
    return (
        load(project.root, may_be_missing=("model.path",)).file.model.path
        == new.relative_to(project.root).as_posix()
    )


def _copy(source: Path, new: Path) -> None:
    """A file that is whole or not there, and that replaces none."""
    beside = new.with_name(f".{new.name}.{os.getpid()}")
    try:
        shutil.copyfile(source, beside)
        os.link(beside, new)
    except OSError as error:
        raise files.disk_full(new, error) or ConfigError(
            f"cannot write {new}: {error.strerror}", hint="make its folder writable"
        ) from error
    finally:
        beside.unlink(missing_ok=True)


def _undo(project: Project, values: Values, new: Path | None) -> str:
    """How to go back, in a sentence."""
    file = project.file.model_dump(exclude_unset=True)
    parts = []
    for table, key in values:
        former = file.get(table, {}).get(key)
        text = f"[{table}] {key}"
        parts.append(f"remove {text}" if former is None else f"set {text} = {json.dumps(former)}")
    if new:
        parts.append(f"delete {new.name}")
    return ", ".join(parts)


def _verdict(found: Found, wish: Wish, *, changed: bool) -> str:
    form, aim = found.form, AIMS[wish.aim]
    if not changed:
        return (
            f"nothing that is exact enough is {aim} beyond the noise of {found.noise:.0%}: all stays as it is"
        )
    parts = []
    if form.state == "chosen" and form.ratio:
        parts.append(f"{form.name}: {_gain(form, wish.aim)}")
    if found.threads is not None:
        parts.append(f"{found.threads} thread{'' if found.threads == 1 else 's'}")
    if found.rows is not None:
        parts.append(f"at most {found.rows} rows at once" if found.rows else "no joining of requests")
    does = "would write" if wish.dry_run else "wrote"
    return f"{does} into modeldeploy.toml: {'; '.join(parts)}"


def _gain(form: Variant, aim: str) -> str:
    ratio = form.ratio or noise.Ratio(1, 1, 1)
    if aim == "size":
        return f"{1 / ratio.middle:.1f} times smaller"
    what = "quicker" if aim == "latency" else "as many rows a second"
    return f"{1 / ratio.middle:.2f} times {what} ({1 / ratio.high:.2f} to {1 / ratio.low:.2f})"


def _notes(found: Found, providers: Sequence[str]) -> Iterator[str]:
    accuracy = found.variants[0].accuracy
    if accuracy and accuracy.samples < _FEW:
        yield (
            f"{accuracy.samples} golden samples say little about accuracy: record some hundred of your own "
            "(mdeploy golden --samples inputs.npz). They also calibrate int8."
        )
    if providers[0] != "cpu":
        yield f"All of this was measured on the processor; the project serves on {providers[0]} first."
    yield (
        f"Noise: the same model measured twice differed by up to {found.noise:.1%}. Forms were measured in "
        "turn, each next to the others; what is within the noise is no gain."
    )


HEADER = ("VARIANT", "STATE", "ERROR", "LABELS", "P50", "P99", "ROWS/S", "OF NOW", "SIZE", "MEMORY")


def row(variant: Variant) -> tuple[str, ...]:
    """A variant as cells under `HEADER`."""
    accuracy, ratio = variant.accuracy, variant.ratio
    state = {"original": "", "kept": "better" if variant.better else ""}.get(variant.state, variant.state)
    part = (
        f"{ratio.middle:.2f} ({ratio.low:.2f}-{ratio.high:.2f})" if ratio and variant.kind != "rows" else "-"
    )
    return (
        variant.name,
        state,
        units.difference(accuracy.largest) if accuracy else "-",
        f"{accuracy.labels:.1%}".replace(".0%", "%") if accuracy else "-",
        units.seconds(variant.p50),
        units.seconds(variant.p99),
        units.count(variant.rate),
        part,
        units.size(variant.size) if variant.size else "-",
        units.size(variant.memory) if variant.memory else "-",
    )


def _save(path: Path, told: Optimized) -> None:
    if path.suffix == ".json":
        content = json.dumps(asdict(told), indent=1, default=str) + "\n"
    else:
        content = _picture(told)
        if path.suffix == ".html":
            rows = [(variant.state, row(variant)) for variant in told.variants]
            refused = [f"{each.name}: {each.reason}." for each in told.variants if each.reason]
            notes = [told.verdict, *refused, *told.notes]
            content = page.report(f"{told.model}, optimised", _facts(told), content, HEADER, rows, notes)
    page.save(path, content)


_COSTS = {"latency": "time for one row (p50)", "throughput": "time for a row, many at once", "size": "size"}


def _picture(told: Optimized) -> str:
    shown = [each for each in told.variants if each.kind == "form" and each.accuracy]
    costs = [_cost(each, shown[0], told.aim) for each in shown]
    errors = [each.accuracy.largest if each.accuracy else 0.0 for each in shown]
    good = [at for at, each in enumerate(shown) if each.state != "refused"]
    best = noise.front([(errors[at], costs[at]) for at in good])
    front = {at for at, among in zip(good, best, strict=True) if among}
    candidates = [
        charts.Candidate(
            each.name,
            costs[at],
            errors[at],
            each.state,
            front=at in front,
            span=_span(each, costs[0]) if told.aim != "size" else None,
            named=each.state != "kept" or each.better or each.path != shown[0].path,
        )
        for at, each in enumerate(shown)
    ]
    show = units.size if told.aim == "size" else units.tick
    return charts.tradeoff(
        candidates,
        title=f"{told.model}: accuracy against {told.aim}",
        told=f"{_facts(told)}; down and left is better",
        cost=_COSTS[told.aim],
        show=show,
    )


def _span(variant: Variant, original: float) -> tuple[float, float] | None:
    if variant.ratio is None or variant.ratio.low == variant.ratio.high:
        return None
    return variant.ratio.low * original, variant.ratio.high * original


def _cost(variant: Variant, original: Variant, aim: str) -> float:
    """What the aim wants less of. Times by their ratios, which were measured in pairs and so lie closer."""
    if aim == "size":
        return float(variant.size or 0)
    whole = (original.p50 or 0.0) if aim == "latency" else 1 / (original.rate or 1.0)
    return whole * (variant.ratio.middle if variant.ratio else 1.0)


def _facts(told: Optimized) -> str:
    return f"{told.samples} golden samples; noise of this machine {told.noise:.1%}"
