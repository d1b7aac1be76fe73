"""Everything a build must know about a model file, kept by the file's digest so that it is found out once."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from modeldeploy import files
from modeldeploy.bundle import digests, formats, signature, sources
from modeldeploy.bundle.signature import Signature
from modeldeploy.errors import BundleError

_CACHE = "models-1"
"""The number grows when more is kept, or when something is refused that was not before."""


@dataclass(frozen=True, slots=True)
class ModelFacts:
    """A model as its content tells it. ``files``: the one to load, then others that hold its weights."""

    framework: str
    files: tuple[Path, ...]
    signature: Signature | None


def inspect(model: Path, *, insisted: str | None = None, own_service: bool = False) -> ModelFacts:
    """Look at a model without loading it into this process.

    ``insisted`` is the framework that the project names. With ``own_service`` a model of any kind will do,
    and one whose signature mdeploy cannot express has none. Raises `BundleError`.
    """
    if own_service and model.is_dir():
        return _folder(model, insisted)
    formats.refuse_mistakes(model)
    framework = formats.framework_of(model, own_service=own_service)
    _check_framework(model, insisted, framework)
    content = digests.content_of(model)
    kept = files.home() / "cache" / _CACHE / f"{content.sha256}{'-own' if own_service else ''}.json"
    known = _kept(kept)
    if known is None:
        known = _looked_at(model, framework, own_service=own_service)
        files.private(kept.parent)
        files.write_json(kept, known)
    told = known["signature"]
    return ModelFacts(
        framework=framework,
        files=(model, *formats.beside(model, known["external"])),
        signature=Signature.from_json(told) if told else None,
    )


def _folder(model: Path, insisted: str | None) -> ModelFacts:
    """A model that is a folder of files, for the project's own service."""
    _check_framework(model, insisted, formats.CUSTOM)
    inside = sources.collect(model, ["**"], ()).files
    if not inside:
        raise BundleError(f"the model {model.name} is an empty folder", hint="set [model] path to the model")
    return ModelFacts(formats.CUSTOM, tuple(inside[path] for path in sorted(inside)), None)


def _check_framework(model: Path, insisted: str | None, framework: str) -> None:
    if insisted not in {None, framework}:
        raise BundleError(
            f"[model] framework is '{insisted}', but {model.name} is "
            f"{'an ONNX model' if framework == formats.ONNX else 'no model that mdeploy knows'}",
            hint="leave framework out, or give the model's path that you meant",
        )


def _kept(path: Path) -> dict[str, Any] | None:
    try:
        known: dict[str, Any] | None = files.read_json(path)
        return known if known and {"external", "signature"} <= set(known) else None
    except (ValueError, OSError, TypeError):
        return None  # a damaged entry is made anew


def _looked_at(model: Path, framework: str, *, own_service: bool) -> dict[str, Any]:
    found: Signature | None = None
    external: tuple[str, ...] = ()
    if framework == formats.ONNX:
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
