"""Everything a build must know about a model, kept by its files' digests so that it is found out once.

An ONNX model tells its signature to the ONNX Runtime that mdeploy brings along. Any other is asked in the
environment of the bundle to be, which therefore is locked and made first (`described`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from modeldeploy import files
from modeldeploy.bundle import described, digests, formats, frameworks, signature, sources
from modeldeploy.bundle.described import Bundled
from modeldeploy.bundle.formats import Kind
from modeldeploy.bundle.recipe import ModelRecipe
from modeldeploy.bundle.signature import Signature, TensorSpec
from modeldeploy.errors import BundleError

_CACHE = "models-1"
"""The number grows when more is kept, or when something is refused that was not before."""
_TABULAR = frozenset({frameworks.SKLEARN, frameworks.XGBOOST, frameworks.LIGHTGBM})
_FLOATS = ("float32", "float64")


@dataclass(frozen=True, slots=True)
class ModelFacts:
    """A model as its content tells it. ``files``: the one to load, then others that hold its weights."""

    framework: str
    files: tuple[Path, ...]
    signature: Signature | None
    folder: Path | None = None
    """Where a folder is loaded as a whole: that folder; all ``files`` are in it."""
    options: Mapping[str, Any] = field(default_factory=dict)
    """What the framework's runtime must know to load it."""

    @property
    def path(self) -> Path:
        """What is loaded: a file, or a folder."""
        return self.folder or self.files[0]


def inspect(
    model: Path,
    *,
    insisted: str | None = None,
    own_service: bool = False,
    asked: ModelRecipe | None = None,
    trusted: bool = False,
    bundled: Bundled | None = None,
    code: Path | None = None,
) -> ModelFacts:
    """Look at a model without loading it into this process.

    ``insisted`` is the framework that the project names, ``asked`` all that it says of the model. With
    ``own_service`` a model of any kind will do, and one whose signature mdeploy cannot express has none.
    ``trusted``: the project lets it run code; ``code``: the project's folder, where that code may be.
    Without ``bundled``, a model that only the bundle's environment could read has no signature either.
    Raises `BundleError`.
    """
    kind = formats.recognise(model, insisted=insisted, own_service=own_service)
    if kind.framework == frameworks.ONNX:
        return _onnx(model, own_service=own_service)
    if kind.framework == frameworks.CUSTOM:
        return ModelFacts(frameworks.CUSTOM, _parts(model), None)
    asked = asked or ModelRecipe(model.stem, model)
    found = _other(model, kind, asked, trusted=trusted, code=code)
    if kind.framework == frameworks.PYTHON:
        return replace(found, signature=Signature((), ()))
    if bundled is None:
        return found
    told = described.describe(model, kind, found.files, found.options, bundled=bundled, code=code)
    signed = Signature.from_json({"inputs": told.inputs, "outputs": told.outputs})
    return replace(found, signature=_as_asked(kind, signed, asked), options=told.options)


def _other(model: Path, kind: Kind, asked: ModelRecipe, *, trusted: bool, code: Path | None) -> ModelFacts:
    """What is known of a model of another framework without loading it. Raises `BundleError`."""
    options: dict[str, Any] = dict(kind.options)
    if options.get("format") == "pickle" and not trusted:
        raise _pickle_refused(model, code)
    if trusted:
        options["trust"] = True
    if kind.framework == frameworks.PYTHON:
        if not asked.python_class:
            raise BundleError(
                f'{model.name}: [model] framework is "python", but no class is named',
                hint='say which: class = "module:Class", with load(path) and predict(arrays)',
            )
        options = {"class": asked.python_class}
    if kind.framework == frameworks.SKLEARN and len(asked.inputs) > 1:
        options["columns"] = {each.name: each.dtype for each in asked.inputs}
    return ModelFacts(kind.framework, _parts(model), None, model if model.is_dir() else None, options)


def _as_asked(kind: Kind, told: Signature, asked: ModelRecipe) -> Signature:
    """With the matrix of a table in the form that the project wants: apart in columns, or of other floats."""
    if kind.framework not in _TABULAR or not asked.inputs:
        return told
    names = {each.name for each in told.inputs}
    if not names & {each.name for each in asked.inputs}:
        nan = any(each.nan for each in told.inputs)
        return replace(told, inputs=tuple(_column(each, nan=nan) for each in asked.inputs))
    dtypes = {each.name: each.dtype for each in asked.inputs if each.dtype in _FLOATS}
    inputs = tuple(replace(each, dtype=dtypes.get(each.name, each.dtype)) for each in told.inputs)
    return replace(told, inputs=inputs)


def _column(asked: TensorSpec, *, nan: bool) -> TensorSpec:
    """An input of its own. ``nan``: whether the matrix that it is a part of may have gaps."""
    return replace(asked, nan=nan and asked.dtype in _FLOATS) if asked.nan is None else asked


def _pickle_refused(model: Path, code: Path | None) -> BundleError:
    return BundleError(
        f"{model.name} is a Python pickle, which can run any code when it is loaded",
        hint='export it without code in it: skops.io.dump(model, "model.skops"); or, if you trust it, say '
        f"why in modeldeploy.toml: {described.trust_line(model, code)}",
    )


def _parts(model: Path) -> tuple[Path, ...]:
    """All files of a model, in order of their names."""
    if not model.is_dir():
        return (model,)
    inside = sources.collect(model, ["**"], ()).files
    if not inside:
        raise BundleError(f"the model {model.name} is an empty folder", hint="set [model] path to the model")
    return tuple(inside[path] for path in sorted(inside))


def _onnx(model: Path, *, own_service: bool) -> ModelFacts:
    content = digests.content_of(model)
    kept = files.home() / "cache" / _CACHE / f"{content.sha256}{'-own' if own_service else ''}.json"
    known = _kept(kept)
    if known is None:
        known = _looked_at(model, own_service=own_service)
        files.private(kept.parent)
        files.write_json(kept, known)
    told = known["signature"]
    return ModelFacts(
        framework=frameworks.ONNX,
        files=(model, *formats.beside(model, known["external"])),
        signature=Signature.from_json(told) if told else None,
    )


def _kept(path: Path) -> dict[str, Any] | None:
    try:
        known: dict[str, Any] | None = files.read_json(path)
        return known if known and {"external", "signature"} <= set(known) else None
    except (ValueError, OSError, TypeError):
        return None  # a damaged entry is made anew


def _looked_at(model: Path, *, own_service: bool) -> dict[str, Any]:
    found: Signature | None = None
    external = formats.external_data(model)
    formats.beside(model, external)
    try:
        found = signature.read(model)
    except signature.Unusual:
        if not own_service:
            raise
    return {
        "external": list(external),
        "signature": found.to_json() if found else None,
    }
