"""Recording golden samples: runs the bundle as users will see it, and keeps what it answers."""

from __future__ import annotations

import json
import zipfile
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from modeldeploy import files
from modeldeploy.bundle import build, trial
from modeldeploy.bundle.golden import Call, chunks, decoded, predict_request
from modeldeploy.bundle.npz import stackable
from modeldeploy.bundle.recipe import Recipe
from modeldeploy.bundle.signature import Signature, TensorSpec
from modeldeploy.bundle.store import BundleStore
from modeldeploy.errors import BundleError
from modeldeploy.events import Emit
from modeldeploy.model import HttpRequest

if TYPE_CHECKING:
    from modeldeploy.config.load import Project  # brings pydantic along

_BY_REQUEST = 'mdeploy golden --samples samples.json, which holds [{"path": "/predict", "body": ...}]'
RANDOM = 20
"""How many samples are made up where none are given."""


@dataclass(frozen=True, slots=True)
class Recorded:
    """A golden file that was written, and how many samples it holds."""

    path: Path
    samples: int


def record(project: Project, *, samples: Path | None = None, emit: Emit, count: int = RANDOM) -> Recorded:
    """Write a project's golden file from what its bundle answers now.

    ``samples`` is a .npz file (``NAME`` or ``input/NAME`` per input), or a .json file: ``{"NAME": nested
    list}``, or for an own service ``[{"path": ..., "body": ...}]``. Without it, ``count`` samples are made
    up from the signature, always the same ones. Raises `BundleError`.
    """
    return record_recipe(Recipe.of(project), samples=samples, emit=emit, count=count)


def record_recipe(
    recipe: Recipe, *, samples: Path | None = None, emit: Emit, count: int = RANDOM
) -> Recorded:
    """What `record` does, for inputs that come from elsewhere than a project file."""
    inputs = build.gather(replace(recipe, golden=None), emit=emit)
    wanted = _wanted(samples, inputs.signature, count)
    store = BundleStore()
    with store.workspace() as folder:
        build.assemble(inputs, folder, emit=emit, take=store.take)
        with trial.running(folder, emit=emit) as call:
            if isinstance(wanted, list):
                return _write_json(_target(recipe, ".json"), _answers(call, wanted))
            signature = inputs.signature
            return _write_arrays(_target(recipe, ".npz"), call, wanted, signature)


def _target(recipe: Recipe, suffix: str) -> Path:
    path = recipe.golden or recipe.root / f"golden{suffix}"
    if path.suffix != suffix:
        raise BundleError(
            f"[model] golden is {path.name}, but these samples are kept in a {suffix} file",
            hint=f'set golden = "{path.with_suffix(suffix).name}"',
        )
    return path


def _wanted(samples: Path | None, signature: Signature | None, count: int) -> list[Any] | dict[str, Any]:
    """Requests for a golden.json, or arrays by input name."""
    if samples is None:
        if signature is None:
            raise BundleError(
                "nothing is known of this service's inputs, so no samples can be made up",
                hint=f"give some: {_BY_REQUEST}",
            )
        return made_up(signature, count)
    given = _read(samples)
    if isinstance(given, list):
        return given
    if not isinstance(given, dict):
        raise BundleError(
            f"{samples.name} holds neither an object of inputs nor a list of requests",
            hint="give one array for each input",
        )
    return _arrays(samples, given, signature)


def _read(samples: Path) -> Any:
    import numpy as np

    try:
        if samples.suffix == ".npz":
            with samples.open("rb") as stream, np.load(stream, allow_pickle=False) as content:
                return {
                    name.removeprefix("input/"): content[name]
                    for name in content.files
                    if "output/" not in name
                }
        return json.loads(samples.read_bytes())
    except OSError as error:
        raise BundleError(
            f"cannot read {samples}: {error.strerror}", hint="give a .npz or .json file"
        ) from error
    except (ValueError, RecursionError, zipfile.BadZipFile, zlib.error, EOFError) as error:
        raise BundleError(
            f"{samples} is no .npz and no JSON file: {error}", hint="give one of these"
        ) from error


def _arrays(samples: Path, given: Mapping[str, Any], signature: Signature | None) -> dict[str, Any]:
    import numpy as np

    if signature is None:
        return {name: np.asarray(value) for name, value in given.items()}
    names = {spec.name for spec in signature.inputs}
    if set(given) != names:
        raise BundleError(
            f"{samples.name} has {', '.join(sorted(given)) or 'nothing'}; the model's inputs are"
            f" {', '.join(sorted(names))}",
            hint="give one array for each input",
        )
    return {spec.name: _array(samples, spec, given[spec.name]) for spec in signature.inputs}


def _array(samples: Path, spec: TensorSpec, value: Any) -> Any:
    import numpy as np

    try:
        return np.asarray(value, dtype=_dtype(spec))
    except (ValueError, TypeError, OverflowError) as error:
        raise BundleError(
            f"{samples.name}: {spec.name} is no array of {spec.dtype}: {error}",
            hint=f"give numbers in the form of {spec}",
        ) from error


def _dtype(spec: TensorSpec) -> str:
    return "str" if spec.dtype == "string" else spec.dtype


def made_up(signature: Signature, count: int) -> dict[str, Any]:
    """So many samples of every input, along its leading dimension; always the same ones.

    Raises `BundleError` for an input that nothing can be made up for.
    """
    return {spec.name: _made_up(spec, count, signature) for spec in signature.inputs}


def _made_up(spec: TensorSpec, count: int, signature: Signature) -> Any:
    """Plausible values within the input's range; the same ones on every machine."""
    import numpy as np

    if spec.dtype == "string" or spec.shape is None:
        raise BundleError(
            f"no samples can be made up for the input {spec}",
            hint="give real ones: mdeploy golden --samples samples.json",
        )
    dims = spec.shape[1:] if stackable(signature) else spec.shape
    shape = (count, *(size if isinstance(size, int) else 1 for size in dims))
    random = np.random.default_rng(0)
    if spec.dtype == "bool":
        return random.integers(0, 2, shape).astype(bool)
    low = 0.0 if spec.minimum is None else spec.minimum
    high = low + 10.0 if spec.maximum is None else spec.maximum
    if "int" in spec.dtype:
        return random.integers(int(low), int(high), shape, endpoint=True).astype(spec.dtype)
    if spec.minimum is None and spec.maximum is None:
        return random.standard_normal(shape).astype(spec.dtype)
    return random.uniform(low, high, shape).astype(spec.dtype)


def _write_arrays(path: Path, call: Call, inputs: Mapping[str, Any], signature: Signature | None) -> Recorded:
    import io

    import numpy as np

    stacked = signature is None or stackable(signature)
    answers: dict[str, list[Any]] = {}
    for first, last in chunks(inputs, stacked=stacked):
        part = slice(first, last) if stacked else first
        fields, problem = decoded(
            call(predict_request({name: value[part] for name, value in inputs.items()}))
        )
        if problem:
            raise BundleError(
                f"samples {first} to {last - 1} cannot be recorded: {problem}", hint="give other samples"
            )
        for name, value in fields.items():
            answers.setdefault(name, []).append(value if stacked else [value])
    dtypes = {spec.name: _dtype(spec) for spec in signature.outputs if spec.is_tensor} if signature else {}
    outputs = {}
    for name, parts in answers.items():
        if signature and name not in dtypes:
            continue  # maps and sequences have no array to be kept in
        outputs[f"output/{name}"] = _joined(name, parts, dtypes.get(name))
    total = len(next(iter(inputs.values())))
    _check_rows(outputs, total)
    content = io.BytesIO()
    np.savez_compressed(content, **{f"input/{name}": value for name, value in inputs.items()}, **outputs)
    return _written(path, content.getvalue(), total)


def _joined(name: str, parts: Sequence[Any], dtype: str | None) -> Any:
    import numpy as np

    try:
        return np.concatenate([np.asarray(part, dtype=dtype) for part in parts])
    except ValueError as error:
        raise BundleError(
            f"the output {name} has another shape for each sample, so it fits no array",
            hint=f"record whole requests: {_BY_REQUEST}",
        ) from error


def _check_rows(outputs: Mapping[str, Any], total: int) -> None:
    odd = [name for name, value in outputs.items() if len(value) != total]
    if odd or not outputs:
        what = (
            f"{odd[0]} has {len(outputs[odd[0]])} entries for {total} samples" if odd else "there is no array"
        )
        raise BundleError(
            f"the answers cannot be kept per sample: {what}",
            hint=f"record whole requests: {_BY_REQUEST}",
        )


def _answers(call: Call, wanted: Sequence[Any]) -> list[dict[str, Any]]:
    cases = []
    for number, case in enumerate(wanted):
        if not isinstance(case, dict) or not {"path", "body"} <= set(case):
            raise BundleError(f"sample {number} must be an object with path and body", hint="put it right")
        body = json.dumps(case["body"]).encode()
        value, problem = decoded(
            call(HttpRequest("POST", str(case["path"]), body, {"content-type": "application/json"}))
        )
        if problem:
            raise BundleError(f"sample {number} cannot be recorded: {problem}", hint="give another sample")
        cases.append({"path": case["path"], "body": case["body"], "expect": value})
    return cases


def _write_json(path: Path, cases: Sequence[dict[str, Any]]) -> Recorded:
    return _written(path, json.dumps(cases, indent=1, ensure_ascii=False).encode() + b"\n", len(cases))


def _written(path: Path, content: bytes, samples: int) -> Recorded:
    try:
        files.write_atomic(path, content, mode=0o644)
    except OSError as error:
        raise BundleError(
            f"cannot write {path}: {error.strerror}", hint="make its folder writable"
        ) from error
    return Recorded(path, samples)
