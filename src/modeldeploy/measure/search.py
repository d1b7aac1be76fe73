"""Looks for a better form of a model: other files first, then threads, then how many rows at once."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from modeldeploy.bundle import onnxfile
from modeldeploy.errors import BundleError
from modeldeploy.events import Emit
from modeldeploy.measure import noise, tools
from modeldeploy.measure.contest import Accuracy, Contender, Form, Samples, Times, against, interleave
from modeldeploy.measure.telling import step

ORIGINAL = "as it is"
LEVELS = ("extended", "basic", "disable")
_BATCHES = (1, 4, 16, 64, 256)
_BATCH = 64
_ENOUGH = 0.95
"""A smaller batch that does this much of what the best does is preferred: it waits less."""


@dataclass(frozen=True, slots=True)
class Variant:
    """One form of the model, or one setting, and what was measured of it."""

    name: str
    kind: str
    """``form``, ``threads`` or ``rows``."""
    state: str
    """``original``, ``kept``, ``refused`` (beyond the tolerance), ``failed``, or ``chosen``."""
    reason: str = ""
    """Why it was refused or failed."""
    path: Path | None = None
    graph_optimization: str = "all"
    threads: int = 0
    rows: int = 1
    accuracy: Accuracy | None = None
    p50: float | None = None
    """Seconds for one row."""
    p99: float | None = None
    rate: float | None = None
    """Rows a second, many at a time where the model takes many."""
    size: int | None = None
    memory: int | None = None
    ratio: noise.Ratio | None = None
    """What the aim is about, as a part of what the original takes."""
    better: bool = False
    """Beyond the noise."""


@dataclass(frozen=True, slots=True)
class Settings:
    """How the project runs its model now."""

    graph_optimization: str
    threads: int
    """The effective number."""
    rows: int
    """The largest batch that requests are put together to; 0 for none."""


@dataclass(frozen=True, slots=True)
class Found:
    """What a search found."""

    variants: tuple[Variant, ...]
    noise: float
    form: Variant
    """The chosen form; the original where none is better."""
    threads: int | None
    """A better number; None where the present one is as good."""
    rows: int | None


class Search:
    """One search. Files are made in ``folder``; the project is not touched."""

    def __init__(
        self, model: Path, samples: Samples, settings: Settings, *, aim: str, python: Path, folder: Path
    ) -> None:
        self._model = model
        self._samples = samples
        self._settings = settings
        self._aim = aim
        self._python = python
        self._folder = folder
        self.rounds, self.seconds = 15, 0.15
        self.levels: tuple[str, ...] = LEVELS
        self.max_loss = 0.0

    def run(self, emit: Emit, processors: int) -> Found:
        """Measure everything. Raises `BundleError` for a model that does not reproduce its own samples."""
        forms, failed = self._forms(emit)
        variants, floor = self._contest(forms, "forms", emit)
        if variants[0].state != "original":
            raise BundleError(
                f"{self._model.name} itself does not reproduce its golden samples: {variants[0].reason}",
                hint="record them again: mdeploy golden",
            )
        chosen = self._best(variants, floor)
        threads = self._threads(chosen, processors, emit)
        better = self._best(threads, floor) if threads else None
        rows = self._rows(chosen, emit) if self._samples.stacked and self._aim != "size" else []
        best = chosen if chosen is variants[0] else replace(chosen, state="chosen")
        told = [best if each is chosen else each for each in variants]
        return Found(
            variants=(*told, *failed, *threads[1:], *rows),
            noise=floor,
            form=best,
            threads=better.threads if better and better is not threads[0] else None,
            rows=rows_chosen(rows, self._settings.rows, floor),
        )

    def _forms(self, emit: Emit) -> tuple[list[Form], list[Variant]]:
        settings = self._settings
        base = Form(ORIGINAL, self._model, settings.graph_optimization, settings.threads)
        levels = [level for level in ("all", *self.levels) if level != settings.graph_optimization]
        forms = [base, replace(base, name="the same again")]
        forms += [replace(base, name=f"optimisation {level}", graph_optimization=level) for level in levels]
        failed = []
        for kind, name in tools.KINDS.items():
            output = self._folder / f"{kind}.onnx"
            with step(emit, kind, f"making {name}") as running:
                try:
                    tools.make(kind, self._model, output, self._samples, self._python)
                    forms.append(Form(name, output, "all", settings.threads))
                except BundleError as error:
                    running(f"{name} cannot be made: {error.message}")
                    failed.append(Variant(name, "form", "failed", error.message))
        return forms, failed

    def _contest(self, forms: Sequence[Form], name: str, emit: Emit) -> tuple[list[Variant], float]:
        """Measure forms against the first; the second is the first again, and tells the noise."""
        with ExitStack() as stack:
            contenders, accuracies, lost = [], [], []
            for form in forms:
                contender = Contender(form, self._samples, self._python, self._folder)
                stack.enter_context(contender)
                try:
                    accuracies.append(contender.accuracy())
                    contenders.append(contender)
                except BundleError as error:
                    lost.append(Variant(form.name, "form", "failed", error.message, form.path))
            if len(contenders) < 2 or (lost and lost[0].name == ORIGINAL):
                raise BundleError(lost[0].reason, hint="does it load in 'mdeploy test'?")
            with self._timing(f"{name}: timing {len(contenders)}", name, emit) as told:
                single = interleave(contenders, rows=1, rounds=self.rounds, seconds=self.seconds, told=told)
                many = single
                if self._samples.stacked:
                    rounds = max(5, self.rounds // 2)
                    many = interleave(contenders, rows=_BATCH, rounds=rounds, seconds=self.seconds, told=told)
            measured = [
                self._variant(contender, accuracies[at], single, many, at)
                for at, contender in enumerate(contenders)
            ]
        floor = noise.floor(measured[1].ratio) if measured[1].ratio else 0.0
        kept = [replace(each, better=self._is_better(each, floor)) for each in measured]
        return [kept[0], *kept[2:], *lost], floor

    @contextmanager
    def _timing(self, message: str, name: str, emit: Emit) -> Iterator[Callable[[int], None]]:
        with step(emit, f"time-{name}", message) as running:
            yield lambda number: running(f"{message}, round {number}")

    def _variant(
        self,
        contender: Contender,
        accuracy: Accuracy,
        single: Sequence[Times],
        many: Sequence[Times],
        at: int,
    ) -> Variant:
        form, rows = contender.form, _BATCH if self._samples.stacked else 1
        refused = self._refused(accuracy)
        size = _size(form.path)
        if self._aim == "size":
            part = size / _size(self._model)
            ratio = noise.Ratio(part, part, part)
        elif self._aim == "throughput":
            ratio = against(many[at], many[0], mean=True)
        else:
            ratio = against(single[at], single[0])
        return Variant(
            name=form.name,
            kind="form",
            state="refused" if refused else "original" if form.name == ORIGINAL else "kept",
            reason=refused,
            path=form.path,
            graph_optimization=form.graph_optimization,
            threads=form.threads,
            accuracy=accuracy,
            p50=noise.median(single[at].p50),
            p99=noise.median(single[at].p99),
            rate=rows / noise.median(many[at].mean),
            size=size,
            memory=contender.memory(),
            ratio=ratio,
        )

    def _refused(self, accuracy: Accuracy) -> str:
        """Why answers like these cannot be accepted; empty where they can."""
        if accuracy.failed:
            enough = _enough(accuracy.needed) if accuracy.labels == 1 else ""
            return f"{accuracy.failed} of {accuracy.samples} samples are beyond the tolerance{enough}"
        if round(1 - accuracy.labels, 9) > self.max_loss:
            changed = round((1 - accuracy.labels) * accuracy.samples)
            return f"{changed} of {accuracy.samples} samples get another label"
        return ""

    def _is_better(self, variant: Variant, floor: float) -> bool:
        return variant.state == "kept" and bool(variant.ratio and variant.ratio.better(floor))

    def _best(self, variants: Sequence[Variant], floor: float) -> Variant:
        """The best beyond the noise; of those that are as good within the noise, the most exact."""
        better = [each for each in variants if each.better and each.ratio]
        if not better:
            return variants[0]
        least = min(each.ratio.middle for each in better if each.ratio)
        near = [
            each
            for each in better
            if each.ratio and each.ratio.middle <= least * (1 + max(floor, noise.LEAST))
        ]
        return min(near, key=lambda each: each.accuracy.largest if each.accuracy else 0.0)

    def _threads(self, chosen: Variant, processors: int, emit: Emit) -> list[Variant]:
        """The chosen form with other numbers of threads; first with the present one."""
        if self._aim == "size" or chosen.path is None:
            return []
        now = self._settings.threads
        counts = sorted({*(2**power for power in range(8) if 2**power <= processors), processors} - {now})
        if not counts:
            return []
        base = Form(ORIGINAL, chosen.path, chosen.graph_optimization, now)
        forms = [base, replace(base, name="the same again")]
        forms += [replace(base, name=f"{_threads(count)}", threads=count) for count in counts]
        variants, _ = self._contest(forms, "threads", emit)
        return [replace(each, kind="threads") for each in variants]

    def _rows(self, chosen: Variant, emit: Emit) -> list[Variant]:
        """The chosen form with more rows at once: rows a second for each."""
        assert chosen.path is not None  # noqa: S101 - it was measured
        form = Form(chosen.name, chosen.path, chosen.graph_optimization, chosen.threads)
        times: dict[int, list[float]] = {rows: [] for rows in _BATCHES}
        with (
            Contender(form, self._samples, self._python, self._folder) as contender,
            self._timing("timing rows at once", "rows", emit) as told,
        ):
            contender.accuracy()
            for number in range(max(5, self.rounds // 3)):
                told(number + 1)
                for rows, found in times.items():
                    found.append(contender.timed(rows, self.seconds)["mean"] / rows)
        return [
            Variant(
                f"{rows} row{'' if rows == 1 else 's'} at once",
                "rows",
                "kept",
                rows=rows,
                rate=1 / noise.median(found),
                p50=noise.median(found) * rows,
                ratio=noise.ratio(found, times[1]),
            )
            for rows, found in times.items()
        ]


def rows_chosen(rows: Sequence[Variant], now: int, floor: float) -> int | None:
    """A better largest batch, 0 for none; None where the present one is as good."""
    if not rows:
        return None
    rates = {each.rows: each.rate or 0.0 for each in rows}
    best = max(rates.values())
    enough = min(count for count, rate in rates.items() if rate >= best * min(_ENOUGH, 1 - floor))
    wanted = 0 if enough == 1 else enough
    present = rates.get(now or 1)
    if present is None or wanted == now or present >= best * (1 - max(floor, 1 - _ENOUGH)):
        return None
    return wanted


def _enough(needed: float) -> str:
    """The absolute tolerance that would do, rounded up to a digit; empty where none would."""
    if needed <= 0:
        return ""
    digit = 10.0 ** math.floor(math.log10(needed))
    return f"; model.tolerance with atol = {math.ceil(needed / digit) * digit:.1g} would allow it"


def _threads(count: int) -> str:
    return f"{count} thread{'' if count == 1 else 's'}"


def _size(path: Path) -> int:
    """Bytes of a model with the files of its weights beside it."""
    beside = [path.parent / name for name in onnxfile.survey(path).external]
    return sum(each.stat().st_size for each in (path, *beside))
