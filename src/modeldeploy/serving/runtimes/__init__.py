"""One module for each framework: how its models are loaded, and asked."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path

from ..spec import FRAMEWORKS, ModelSpec, SpecError
from .base import Loader, Model, Settings


def load(folder: Path, spec: ModelSpec, settings: Settings) -> Model:
    """Load one model with its framework's module, which is imported only now.

    Raises `SpecError` for a model that is not what the spec says or whose framework is not installed, and
    what the framework raises for a file that it cannot read.
    """
    if spec.framework not in FRAMEWORKS:  # names a module below: never anything else
        raise SpecError(f"models.{spec.name}: framework: expected one of {', '.join(FRAMEWORKS)}")
    if not (folder / spec.path).exists():
        raise SpecError(f"models.{spec.name}: path: there is no {spec.path!r} in {folder}")
    loader: Loader = import_module(f".{spec.framework}", __name__).load
    try:
        return loader(folder, spec, settings)
    except ModuleNotFoundError as error:
        raise SpecError(
            f"models.{spec.name}: the module {error.name!r} is not installed, which {spec.framework} models "
            "need: add its package to the requirements of the project, and build again"
        ) from error
