"""A service's models, and the hooks around them, as one model."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from ..runtimes.base import Model
from ..spec import ServiceSpec
from .form import Chain, Ensemble
from .wiring import Wired, boundary


def compose(spec: ServiceSpec, models: Mapping[str, Model], *, folder: Path) -> Model:
    """The one model that a service asks. ``folder``: where its hooks are. Closing it closes all models.

    Raises `SpecError` where the models do not fit together, or a hook is not there.
    """
    wired = boundary(spec)
    model = _model(spec, wired, models)
    if not (spec.before or spec.after):
        return model
    from . import hooks  # what a service does not have is not loaded: its start is timed

    return hooks.Hooked(
        model,
        before=hooks.load(spec.before, folder) if spec.before else None,
        after=hooks.load(spec.after, folder) if spec.after else None,
        sent=spec.inputs,
        taken=wired.inputs,
        answered=spec.outputs,
    )


def _model(spec: ServiceSpec, wired: Wired, models: Mapping[str, Model]) -> Model:
    graph = spec.graph
    if graph is None:
        return models[spec.models[0].name]
    specs = {model.name: model for model in spec.models}
    own = {name: models[name] for name in graph.models}
    if isinstance(graph, Chain):
        from .chain import ChainModel

        return ChainModel(wired, specs, own)
    if isinstance(graph, Ensemble):
        from .ensemble import EnsembleModel

        return EnsembleModel(graph, wired.outputs, specs, own)
    from .choose import ChooseModel

    return ChooseModel(graph, wired.inputs, wired.outputs, specs, own)
