"""Golden samples: recorded inputs and outputs that every copy of a bundle must reproduce.

``golden.npz``, for models that take and give tensors: an array ``input/NAME`` for every input and
``output/NAME`` for the outputs to compare, each with the samples along its leading dimension. Where all
inputs and outputs have a free leading dimension, that is this dimension, and samples are sent many at a
time. Otherwise each sample has the model's whole shape, and is sent alone.

``golden.json``, for any service: ``[{"path": "/predict", "body": ..., "expect": ...}]``. Of an object that
is expected, the keys named are compared; an answer may have more.

Numbers may differ by ``atol + rtol * |recorded|``, NaN equals NaN; integers, booleans and texts must be
the same.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from modeldeploy.bundle.manifest import Golden, Manifest
from modeldeploy.bundle.npz import stackable
from modeldeploy.model import HttpRequest, HttpResponse

Call = Callable[[HttpRequest], HttpResponse]
"""Sends one request to the bundle under test. May raise; what it raises passes through."""

PREDICT = "/predict"
_MOST_TOLD, _MOST_EACH = 10, 3
"""Most sentences in a report, and of one output of one request."""
_ROWS, _NUMBERS = 64, 200_000
"""Most samples, and most numbers, in one request."""


@dataclass(frozen=True, slots=True)
class GoldenReport:
    """What came of the comparison. ``failures`` are sentences with the numbers, the first ten at most."""

    passed: bool
    total: int
    """Samples sent; 0 for a bundle that has none."""
    failures: tuple[str, ...] = ()
    failed: int = 0
    """Samples that were not reproduced."""


@dataclass(slots=True)
class _Tally:
    golden: Golden
    total: int = 0
    failed: int = 0
    told: list[str] | None = None

    def fail(self, samples: int, *sentences: str) -> None:
        self.failed += samples
        self.told = [*(self.told or []), *sentences][:_MOST_TOLD]

    def report(self) -> GoldenReport:
        return GoldenReport(not self.failed, self.total, tuple(self.told or ()), self.failed)

    def near(self, here: float, recorded: float) -> bool:
        if math.isnan(recorded) or math.isinf(recorded):
            return here == recorded or (math.isnan(here) and math.isnan(recorded))
        return abs(here - recorded) <= self.allowed(recorded)

    def allowed(self, recorded: float) -> float:
        return self.golden.atol + self.golden.rtol * abs(recorded)

    def differ(self, where: str, here: object, recorded: float) -> str:
        return f"{where}: {here:.6g} here, {recorded:.6g} recorded (tolerance {self.allowed(recorded):.2g})"


def verify(call: Call, bundle_path: Path) -> GoldenReport:
    """Send a bundle's golden samples through ``call`` and compare the answers with what was recorded."""
    manifest = Manifest.read(bundle_path)
    if manifest.golden is None:
        return GoldenReport(passed=True, total=0)
    tally = _Tally(manifest.golden)
    file = bundle_path / manifest.golden.path
    if file.suffix == ".json":
        _verify_json(call, json.loads(file.read_bytes()), tally)
    else:
        whole = manifest.signature is None or stackable(manifest.signature)
        _verify_arrays(call, file, tally, stacked=whole)
    return tally.report()


def _verify_arrays(call: Call, file: Path, tally: _Tally, *, stacked: bool) -> None:
    import numpy as np  # 0.2 s that only a verification may cost

    with np.load(file, allow_pickle=False) as content:
        arrays = {name: content[name] for name in content.files}
    inputs = {
        name.removeprefix("input/"): value for name, value in arrays.items() if name.startswith("input/")
    }
    outputs = {
        name.removeprefix("output/"): value for name, value in arrays.items() if name.startswith("output/")
    }
    for first, last in chunks(inputs, stacked=stacked):
        part = slice(first, last) if stacked else first
        answer = call(predict_request({name: value[part] for name, value in inputs.items()}))
        tally.total += last - first
        fields, problem = decoded(answer)
        if problem:
            tally.fail(last - first, f"samples {first} to {last - 1}: {problem}")
            continue
        failed: set[int] = set()
        for name, recorded in outputs.items():
            failed |= _compare(name, fields, recorded[first:last], first, tally, stacked=stacked)
        tally.failed += len(failed)


def chunks(inputs: Mapping[str, Any], *, stacked: bool) -> Iterator[tuple[int, int]]:
    """Ranges of samples that go into one request."""
    total = min(len(value) for value in inputs.values())
    numbers = sum(value.size for value in inputs.values()) // max(1, total)
    rows = max(1, min(_ROWS, _NUMBERS // max(1, numbers))) if stacked else 1
    for first in range(0, total, rows):
        yield first, min(first + rows, total)


def predict_request(inputs: Mapping[str, Any]) -> HttpRequest:
    """The request with these arrays as its inputs."""
    body = json.dumps({name: value.tolist() for name, value in inputs.items()}).encode()
    return HttpRequest("POST", PREDICT, body, {"content-type": "application/json"})


def decoded(answer: HttpResponse) -> tuple[Any, str]:
    """The JSON value of an answer, or what is wrong with the answer."""
    if answer.status != 200:
        return None, f"answered {answer.status}: {answer.body[:200].decode(errors='replace')}"
    try:
        return json.loads(answer.body), ""
    except ValueError:
        return None, f"the answer is not JSON: {answer.body[:80]!r}"


def _compare(name: str, fields: Any, recorded: Any, first: int, tally: _Tally, *, stacked: bool) -> set[int]:
    """Numbers of the samples that differ in one output; the tally is told the first of each chunk."""
    import numpy as np

    everyone = set(range(first, first + len(recorded)))
    if not isinstance(fields, dict) or name not in fields:
        tally.fail(0, f"{name}[{first}]: not in the answer")
        return everyone
    exact = recorded.dtype.kind not in "fc"
    try:
        here = np.asarray(fields[name], dtype=None if exact else np.float64)
    except (ValueError, TypeError):
        tally.fail(0, f"{name}[{first}]: the answer holds no array of numbers")
        return everyone
    here = here if stacked else here[np.newaxis]
    if here.shape != recorded.shape:
        tally.fail(0, f"{name}[{first}]: shape {list(here.shape)} here, {list(recorded.shape)} recorded")
        return everyone
    if exact:
        wrong = here != recorded
    else:
        wide = recorded.astype(np.float64)
        wrong = ~np.isclose(here, wide, rtol=tally.golden.rtol, atol=tally.golden.atol, equal_nan=True)
    return _told_differences(name, here, recorded, wrong, first, tally)


def _told_differences(name: str, here: Any, recorded: Any, wrong: Any, first: int, tally: _Tally) -> set[int]:
    import numpy as np

    places = np.argwhere(wrong)
    for place in places[:_MOST_EACH]:
        index = tuple(place)
        label = f"{name}[{first + place[0]}]" + "".join(f"[{step}]" for step in place[1:])
        old, new = recorded[index].item(), here[index].item()
        exact = not isinstance(old, float)
        tally.fail(0, f"{label}: {new!r} here, {old!r} recorded" if exact else tally.differ(label, new, old))
    return {first + int(place[0]) for place in places}


def _verify_json(call: Call, cases: list[dict[str, Any]], tally: _Tally) -> None:
    for number, case in enumerate(cases):
        body = json.dumps(case["body"]).encode()
        answer = call(HttpRequest("POST", case["path"], body, {"content-type": "application/json"}))
        tally.total += 1
        value, problem = decoded(answer)
        where = f"sample {number} ({case['path']})"
        if problem:
            tally.fail(1, f"{where}: {problem}")
        elif found := list(_json_differences(value, case["expect"], "", tally)):
            tally.fail(1, *(f"{where}: {sentence}" for sentence in found))


def _json_differences(here: Any, recorded: Any, where: str, tally: _Tally) -> Iterator[str]:
    """Sentences on how an answer differs from what is expected, depth first."""
    label = where or "the answer"
    if isinstance(recorded, dict) and isinstance(here, dict):
        for key, expected in recorded.items():
            if key not in here:
                yield f"{where}.{key} is missing".lstrip(".")
            else:
                yield from _json_differences(here[key], expected, f"{where}.{key}".lstrip("."), tally)
    elif isinstance(recorded, list) and isinstance(here, list):
        if len(here) != len(recorded):
            yield f"{label}: {len(here)} entries here, {len(recorded)} recorded"
            return
        for index, (value, expected) in enumerate(zip(here, recorded, strict=True)):
            yield from _json_differences(value, expected, f"{where}[{index}]", tally)
    elif _is_number(here) and _is_number(recorded) and float in {type(here), type(recorded)}:
        if not tally.near(here, recorded):
            yield tally.differ(label, here, recorded)
    elif type(here) is not type(recorded) or here != recorded:
        yield f"{label}: {_short(here)} here, {_short(recorded)} recorded"


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _short(value: object) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 60 else f"{text[:57]}..."
