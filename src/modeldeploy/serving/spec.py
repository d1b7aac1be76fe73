"""What a service serves, as ``mdeploy_service.json`` holds it. `mdeploy build` writes it; nobody else does.

::

    {
      "format": 2,
      "name": "digits",                    name of the service: [a-z0-9] and . _ - inside, 63 at most
      "inputs": [...], "outputs": [...],   what clients send and get: tensors, see below
      "models": {
        "digits": {
          "framework": "onnx",             a module of `runtimes`
          "path": "model.onnx",            relative to the folder of this JSON file, inside it
          "inputs": [...], "outputs": [...],
          "options": {}                    what that framework's module understands, e.g. {"class": "m:C"}
        }
      },
      "graph": null,                       how several models are one, see `graph.form`; null for a single one
      "hooks": {"before": "hooks:clean", "after": "hooks:label"},      functions, each optional
      "batching": {"rows": 64},            most rows that are run together; 0: one request at a time
      "limits": {"body": 67108864, "queue": 1024, "timeout": 60.0},    bytes, requests, seconds
      "runtime": {"workers": 1, "threads": 0, "providers": ["cpu"], "graph_optimization": "all"},
      "protocols": ["grpc", "arrow"]       those that need packages of their own, where the project wants them
    }

A tensor::

    {
      "name": "image",
      "dtype": "float32",            bool, int8..int64, uint8..uint64, float16..float64, string
      "shape": ["batch", 64],        a number is fixed; a string or null is free, equal strings
                                     mean equal sizes; null in place of the list: any rank
      "minimum": 0, "maximum": 16,   optional, inputs only: the values' range, both ends allowed
      "nan": true                    optional, floating inputs only: a value may be missing, as NaN
    }

An output may have any text as dtype: one that is no tensor has e.g. ``sequence(map(int64,float32))``. A
service of the user's own has neither models nor tensors here, only limits and runtime settings; whatever is
left out has the values of `Limits`, `Runtime` and `ServiceSpec`.

An ONNX model says its inputs' ranges in its metadata property ``mdeploy.ranges``, a JSON object such as
``{"image": [0, 16]}``; null leaves an end open. `mdeploy build` copies them from there.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any

from .graph import form
from .strict import SpecError, choice, number, record, text, texts, whole

__all__ = ["SpecError"]  # raised by `load`, and so looked for here

FILE = "mdeploy_service.json"
FORMAT = 2
FRAMEWORKS = ("onnx", "sklearn", "xgboost", "lightgbm", "tensorflow", "torch", "python")
PROTOCOLS = ("grpc", "arrow")
PROVIDERS = ("cpu", "cuda", "tensorrt", "coreml")
GRAPH_OPTIMIZATION = ("disable", "basic", "extended", "all")
DTYPES = (
    "bool",
    *(f"{sign}int{bits}" for sign in ("", "u") for bits in (8, 16, 32, 64)),
    *(f"float{bits}" for bits in (16, 32, 64)),
    "string",
)
MOST_WORKERS = MOST_THREADS = 1024
_CODE = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*:[A-Za-z_]\w*", re.ASCII)
_MANY = 1_000_000
_WEEK = 7 * 24 * 3600.0
_LARGEST_DIMENSION = 2**31 - 1
_NAME = re.compile(r"[a-z0-9]([a-z0-9._-]{0,61}[a-z0-9])?")

Dimension = int | str | None
"""Fixed size, free size with a name, or free size without one."""


@dataclass(frozen=True, slots=True)
class TensorSpec:
    """One input or output: name, dtype, shape (None: any rank) and the range of its values."""

    name: str
    dtype: str
    shape: tuple[Dimension, ...] | None
    minimum: float | None = None
    maximum: float | None = None
    nan: bool = False
    """A value may be missing, which NaN says: gradient-boosted trees and their like are trained for it."""

    @property
    def batched(self) -> bool:
        """True if the leading dimension is free: several samples go in one request."""
        return bool(self.shape) and not isinstance(self.shape[0] if self.shape else 0, int)

    @property
    def allowed(self) -> str:
        """The range of its values in words, e.g. ``0 to 16`` or ``at least 0``; "" for any."""
        low = "" if self.minimum is None else f"{self.minimum:g}"
        high = "" if self.maximum is None else f"{self.maximum:g}"
        if low and high:
            return f"{low} to {high}"
        return f"at least {low}" if low else high and f"at most {high}"

    def __str__(self) -> str:
        """For messages, e.g. ``float32 [batch, 64]``; a free dimension without a name is ``?``."""
        if self.shape is None:
            return f"{self.dtype} of any shape"
        if not self.shape:
            return f"one {self.dtype}"
        return f"{self.dtype} [{', '.join('?' if size is None else str(size) for size in self.shape)}]"


@dataclass(frozen=True, slots=True)
class ModelSpec:
    """One model: its framework, its file or folder relative to the service's folder, and its signature."""

    name: str
    framework: str
    path: str
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    options: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Limits:
    """What a service takes on at the most."""

    body: int = 64 * 1024 * 1024
    """Bytes of a request's body; a larger one is answered with 413."""
    queue: int = 1024
    """Requests that wait for the model; one more is answered with 503 and Retry-After."""
    timeout: float = 60.0
    """Seconds from a request's first byte to its answer; then it is answered with 504."""


@dataclass(frozen=True, slots=True)
class Runtime:
    """How the models run, unless the environment says otherwise."""

    workers: int = 1
    """Processes; 0: one for each processor."""
    threads: int = 0
    """Of one inference; 0: the processors, shared among the workers."""
    providers: tuple[str, ...] = ("cpu",)
    graph_optimization: str = "all"


@dataclass(frozen=True, slots=True)
class ServiceSpec:
    """What a service serves. One that is the user's own has no models, inputs and outputs."""

    name: str
    inputs: tuple[TensorSpec, ...] = ()
    outputs: tuple[TensorSpec, ...] = ()
    models: tuple[ModelSpec, ...] = ()
    graph: form.Graph | None = None
    """How several models are one; None for a single one."""
    before: str = ""
    """The hook that turns the service's inputs into the models', as ``module:function``; "" for none."""
    after: str = ""
    rows: int = 64
    """Most rows of several requests that are run together; 0: each request alone."""
    limits: Limits = Limits()
    runtime: Runtime = Runtime()
    protocols: tuple[str, ...] = ()


def load(folder: Path) -> ServiceSpec:
    """Read ``mdeploy_service.json`` of a folder. Raises `SpecError` naming the key that is wrong."""
    path = folder / FILE
    try:
        content = json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError) as error:
        raise SpecError(f"{path}: cannot be read as JSON: {error}") from error
    return parse(content)


def load_if_there(folder: Path) -> ServiceSpec:
    """What `load` gives; for a Bento that mdeploy has said nothing of, one without models and tensors."""
    return load(folder) if (folder / FILE).exists() else ServiceSpec("service")


def parse(content: object) -> ServiceSpec:
    """The spec in a JSON value. Raises `SpecError` naming the key that is wrong."""
    fields = record(
        content,
        FILE,
        required=("format", "name"),
        optional=(
            *("inputs", "outputs", "models", "graph", "hooks"),
            *("batching", "limits", "runtime", "protocols"),
        ),
    )
    if type(fields["format"]) is not int or fields["format"] != FORMAT:
        raise SpecError(f"{FILE}: format: expected {FORMAT}, got {fields['format']!r:.80}")
    name = text(fields, "name", FILE)
    if not _NAME.fullmatch(name):
        raise SpecError(f"{FILE}: name: expected [a-z0-9._-], 63 characters at most, got {name!r:.80}")
    models = _models(fields.get("models", {}))
    hooks = record(fields.get("hooks", {}), f"{FILE}: hooks", optional=("before", "after"))
    batching = record(fields.get("batching", {}), f"{FILE}: batching", optional=("rows",))
    return ServiceSpec(
        name=name,
        inputs=_tensors(fields.get("inputs"), "inputs", dtypes=DTYPES) if models else (),
        outputs=_tensors(fields.get("outputs"), "outputs", dtypes=None) if models else (),
        models=models,
        graph=_graph(fields.get("graph"), models),
        before=_hook(hooks, "before"),
        after=_hook(hooks, "after"),
        rows=whole(batching, "rows", f"{FILE}: batching", default=64, low=0, high=_MANY),
        limits=_limits(fields.get("limits", {})),
        runtime=_runtime(fields.get("runtime", {})),
        protocols=texts(fields, "protocols", FILE, default=(), known=PROTOCOLS),
    )


def _graph(value: object, models: tuple[ModelSpec, ...]) -> form.Graph | None:
    if value is None:
        if len(models) > 1:
            raise SpecError(f"{FILE}: graph: expected how {len(models)} models are one, got null")
        return None
    graph = form.read(value, [model.name for model in models], f"{FILE}: graph")
    unused = sorted({model.name for model in models} - set(graph.models))
    if unused:
        raise SpecError(f"{FILE}: graph: expected a part for each model, got none for {', '.join(unused)}")
    return graph


def _hook(hooks: Mapping[str, Any], key: str) -> str:
    named = text(hooks, key, f"{FILE}: hooks", default="")
    if named and not _CODE.fullmatch(named):
        raise SpecError(f"{FILE}: hooks: {key}: expected module:function, got {named!r:.80}")
    return named


def _limits(value: object) -> Limits:
    where, none = f"{FILE}: limits", Limits()
    fields = record(value, where, optional=("body", "queue", "timeout"))
    return Limits(
        body=whole(fields, "body", where, default=none.body, low=1, high=2**40),
        queue=whole(fields, "queue", where, default=none.queue, low=1, high=_MANY),
        timeout=number(fields, "timeout", where, default=none.timeout, high=_WEEK),
    )


def _runtime(value: object) -> Runtime:
    where, none = f"{FILE}: runtime", Runtime()
    fields = record(value, where, optional=("workers", "threads", "providers", "graph_optimization"))
    return Runtime(
        workers=whole(fields, "workers", where, default=none.workers, low=0, high=MOST_WORKERS),
        threads=whole(fields, "threads", where, default=none.threads, low=0, high=MOST_THREADS),
        providers=texts(fields, "providers", where, default=none.providers, known=PROVIDERS, least=1),
        graph_optimization=choice(
            fields, "graph_optimization", where, GRAPH_OPTIMIZATION, default=none.graph_optimization
        ),
    )


def _models(value: object) -> tuple[ModelSpec, ...]:
    if not isinstance(value, dict):
        raise SpecError(f"{FILE}: models: expected an object")
    return tuple(_model(name, entry) for name, entry in value.items())


def _model(name: str, value: object) -> ModelSpec:
    where = f"models.{name:.80}"
    if not _NAME.fullmatch(name):
        raise SpecError(f"{where}: expected a name of [a-z0-9._-], 63 characters at most")
    fields = record(value, where, required=("framework", "path", "inputs", "outputs"), optional=("options",))
    return ModelSpec(
        name=name,
        framework=choice(fields, "framework", where, FRAMEWORKS),
        path=_inner_path(text(fields, "path", where), where),
        inputs=_tensors(fields["inputs"], f"{where}.inputs", dtypes=DTYPES),
        outputs=_tensors(fields["outputs"], f"{where}.outputs", dtypes=None),
        options=_options(fields.get("options", {}), where),
    )


def _options(value: object, where: str) -> Mapping[str, Any]:
    if not isinstance(value, dict):
        raise SpecError(f"{where}: options: expected an object, got {value!r:.80}")
    return value


def _inner_path(text: str, where: str) -> str:
    path = PurePosixPath(text)
    if path.is_absolute() or ".." in path.parts or path == PurePosixPath():
        raise SpecError(f"{where}: path: expected a file inside the bundle's src folder, got {text!r}")
    return text


def _tensors(value: object, key: str, *, dtypes: tuple[str, ...] | None) -> tuple[TensorSpec, ...]:
    if not isinstance(value, list) or not value:
        raise SpecError(f"{FILE}: {key}: expected a list with at least one entry")
    specs = tuple(_tensor(entry, f"{key}[{index}]", dtypes) for index, entry in enumerate(value))
    names = [spec.name for spec in specs]
    if len(set(names)) < len(names):
        raise SpecError(f"{FILE}: {key}: two entries have one name: {sorted(names)}")
    return specs


def _tensor(value: object, where: str, dtypes: tuple[str, ...] | None) -> TensorSpec:
    own = ("minimum", "maximum", "nan") if dtypes else ()
    fields = record(value, where, required=("name", "dtype", "shape"), optional=own)
    dtype = text(fields, "dtype", where)
    if dtypes and dtype not in dtypes:
        raise SpecError(f"{where}: dtype: expected one of {', '.join(dtypes)}, got {dtype!r}")
    if dtype in ("string", "bool") and {"minimum", "maximum"} & set(fields):
        raise SpecError(f"{where}: minimum and maximum are for numbers, not for {dtype}")
    shape = fields["shape"]
    return TensorSpec(
        name=text(fields, "name", where),
        dtype=dtype,
        shape=None if shape is None else _shape(shape, where),
        minimum=_bound(fields, "minimum", where),
        maximum=_bound(fields, "maximum", where),
        nan=_nan(fields, dtype, where),
    )


def _nan(fields: Mapping[str, Any], dtype: str, where: str) -> bool:
    value = fields.get("nan", False)
    if not isinstance(value, bool) or (value and not dtype.startswith("float")):
        raise SpecError(f"{where}: nan: expected true or false, and true only for floats, got {value!r}")
    return value


def _shape(value: object, where: str) -> tuple[Dimension, ...]:
    if not isinstance(value, list):
        raise SpecError(f"{where}: shape: expected a list or null, got {value!r}")
    for size in value:
        fixed = type(size) is int and 0 <= size <= _LARGEST_DIMENSION
        if not (fixed or size is None or (isinstance(size, str) and size)):
            raise SpecError(f"{where}: shape: expected numbers, names and nulls, got {size!r}")
    return tuple(value)


def _bound(fields: Mapping[str, Any], key: str, where: str) -> float | None:
    value = fields.get(key)
    if value is None:
        return None
    if type(value) not in (int, float) or not abs(value) <= sys.float_info.max:
        raise SpecError(f"{where}: {key}: expected a number or null, got {value!r}")
    return value  # type: ignore[no-any-return]  # Any, but the line above has looked
