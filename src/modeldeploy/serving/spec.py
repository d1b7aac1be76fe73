"""The signature that a generated service serves, as ``mdeploy_service.json`` holds it.

::

    {
      "name": "digits",                  name of the service: [a-z0-9] and . _ - inside, 63 at most
      "model": "model.onnx",             file, relative to the folder of this JSON file, inside it
      "framework": "onnx",
      "inputs": [
        {
          "name": "image",
          "dtype": "float32",            bool, int8..int64, uint8..uint64, float16..float64, string
          "shape": ["batch", 64],        a number is fixed; a string or null is free, equal strings
                                         mean equal sizes; null in place of the list: any rank
          "minimum": 0, "maximum": 16    optional: the values' range, both ends allowed
        }
      ],
      "outputs": [
        {"name": "digit", "dtype": "int64", "shape": ["batch"]}     any text will do as dtype here:
      ]                                  an output that is no tensor has e.g. "sequence(map(int64,float32))"
    }

An ONNX model says its inputs' ranges in its metadata property ``mdeploy.ranges``, a JSON object such as
``{"image": [0, 16]}``; null leaves an end open. `mdeploy build` copies them from there.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

FILE = "mdeploy_service.json"
FRAMEWORKS = ("onnx",)
DTYPES = (
    "bool",
    *(f"{sign}int{bits}" for sign in ("", "u") for bits in (8, 16, 32, 64)),
    *(f"float{bits}" for bits in (16, 32, 64)),
    "string",
)
_NAME = re.compile(r"[a-z0-9]([a-z0-9._-]{0,61}[a-z0-9])?")

Dimension = int | str | None
"""Fixed size, free size with a name, or free size without one."""


class SpecError(ValueError):
    """``mdeploy_service.json`` is not what this module describes; the message names the key."""


@dataclass(frozen=True, slots=True)
class TensorSpec:
    """One input or output: name, dtype, shape (None: any rank) and the range of its values."""

    name: str
    dtype: str
    shape: tuple[Dimension, ...] | None
    minimum: float | None = None
    maximum: float | None = None

    @property
    def batched(self) -> bool:
        """True if the leading dimension is free: several samples go in one request."""
        return bool(self.shape) and not isinstance(self.shape[0] if self.shape else 0, int)

    def __str__(self) -> str:
        """For messages, e.g. ``float32 [batch, 64]``; a free dimension without a name is ``?``."""
        if self.shape is None:
            return f"{self.dtype} of any shape"
        if not self.shape:
            return f"one {self.dtype}"
        return f"{self.dtype} [{', '.join('?' if size is None else str(size) for size in self.shape)}]"


@dataclass(frozen=True, slots=True)
class ServiceSpec:
    """What a generated service serves: a model file and its signature."""

    name: str
    model: str
    framework: str
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]


def load(folder: Path) -> ServiceSpec:
    """Read ``mdeploy_service.json`` of a folder. Raises `SpecError` naming the key that is wrong."""
    path = folder / FILE
    try:
        content = json.loads(path.read_bytes())
    except (OSError, ValueError) as error:
        raise SpecError(f"{path}: cannot be read as JSON: {error}") from error
    return parse(content)


def parse(content: object) -> ServiceSpec:
    """The spec in a JSON value. Raises `SpecError` naming the key that is wrong."""
    fields = _object(content, FILE, required=("name", "model", "framework", "inputs", "outputs"))
    name = _text(fields, "name", FILE)
    if not _NAME.fullmatch(name):
        raise SpecError(f"{FILE}: name: expected [a-z0-9._-], 63 characters at most, got {name!r}")
    framework = _text(fields, "framework", FILE)
    if framework not in FRAMEWORKS:
        raise SpecError(f"{FILE}: framework: expected one of {', '.join(FRAMEWORKS)}, got {framework!r}")
    return ServiceSpec(
        name=name,
        model=_inner_path(_text(fields, "model", FILE)),
        framework=framework,
        inputs=_tensors(fields["inputs"], "inputs", dtypes=DTYPES),
        outputs=_tensors(fields["outputs"], "outputs", dtypes=None),
    )


def _inner_path(text: str) -> str:
    path = PurePosixPath(text)
    if path.is_absolute() or ".." in path.parts or path == PurePosixPath():
        raise SpecError(f"{FILE}: model: expected a file inside the bundle's src folder, got {text!r}")
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
    fields = _object(
        value, where, required=("name", "dtype", "shape"), optional=("minimum", "maximum") if dtypes else ()
    )
    dtype = _text(fields, "dtype", where)
    if dtypes and dtype not in dtypes:
        raise SpecError(f"{where}: dtype: expected one of {', '.join(dtypes)}, got {dtype!r}")
    if dtype in ("string", "bool") and {"minimum", "maximum"} & set(fields):
        raise SpecError(f"{where}: minimum and maximum are for numbers, not for {dtype}")
    shape = fields["shape"]
    return TensorSpec(
        name=_text(fields, "name", where),
        dtype=dtype,
        shape=None if shape is None else _shape(shape, where),
        minimum=_bound(fields, "minimum", where),
        maximum=_bound(fields, "maximum", where),
    )


def _shape(value: object, where: str) -> tuple[Dimension, ...]:
    if not isinstance(value, list):
        raise SpecError(f"{where}: shape: expected a list or null, got {value!r}")
    for size in value:
        fixed = type(size) is int and size >= 0
        if not (fixed or size is None or (isinstance(size, str) and size)):
            raise SpecError(f"{where}: shape: expected numbers, names and nulls, got {size!r}")
    return tuple(value)


def _bound(fields: Mapping[str, Any], key: str, where: str) -> float | None:
    value = fields.get(key)
    if value is None:
        return None
    if type(value) not in (int, float) or not math.isfinite(value):
        raise SpecError(f"{where}: {key}: expected a number or null, got {value!r}")
    return value  # type: ignore[no-any-return]  # Any, but the line above has looked


def _object(
    value: object, where: str, *, required: tuple[str, ...], optional: tuple[str, ...] = ()
) -> Mapping[str, Any]:
    if not isinstance(value, dict):
        raise SpecError(f"{where}: expected an object")
    missing = [key for key in required if key not in value]
    unknown = sorted(set(value) - {*required, *optional})
    if missing or unknown:
        raise SpecError(f"{where}: missing keys: {missing}; unknown keys: {unknown}")
    return value


def _text(fields: Mapping[str, Any], key: str, where: str) -> str:
    value = fields[key]
    if not isinstance(value, str) or not value:
        raise SpecError(f"{where}: {key}: expected text, got {value!r}")
    return value
