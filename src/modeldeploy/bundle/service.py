"""What the service of a bundle is told: ``mdeploy_service.json``, put together of project file and models.

Whether the models fit each other is found out here, by the same code that connects them when they are loaded.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from modeldeploy.bundle.inspection import ModelFacts
from modeldeploy.bundle.manifest import SOURCE
from modeldeploy.bundle.recipe import ModelRecipe, Recipe
from modeldeploy.bundle.signature import Signature, TensorSpec
from modeldeploy.errors import BundleError
from modeldeploy.serving import spec as serving
from modeldeploy.serving.graph import form, wiring
from modeldeploy.serving.strict import SpecError


@dataclass(frozen=True, slots=True)
class Planned:
    """A service before there is a bundle. ``told``: the content of ``mdeploy_service.json``."""

    told: Mapping[str, Any]
    signature: Signature | None
    """What clients send and get; None for a service of the project's own."""


def plan(recipe: Recipe, models: Sequence[ModelFacts], paths: Sequence[str]) -> Planned:
    """What a project's service is, by its models and where they are below ``src/``, in their order.

    Raises `BundleError` for models that do not fit what the project says of them, or each other.
    """
    own = recipe.service
    told: dict[str, Any] = {
        "format": serving.FORMAT,
        "name": recipe.name,
        "batching": {"rows": own.rows},
        "limits": asdict(own.limits),
        "runtime": {**asdict(own.runtime), "providers": list(own.runtime.providers)},
    }
    if recipe.entrypoint:
        return Planned(_without(told, "batching"), models[0].signature if len(models) == 1 else None)
    signatures = [signature_of(model, facts) for model, facts in zip(recipe.models, models, strict=True)]
    each = zip(recipe.models, models, signatures, paths, strict=True)
    hooks = {"before": own.before, "after": own.after}
    told |= {
        "models": {model.name: _model(facts, signature, path) for model, facts, signature, path in each},
        "graph": own.graph,
        "hooks": {key: name for key, name in hooks.items() if name},
        "protocols": list(own.protocols),
    }
    whole = _of_clients(recipe, signatures)
    told |= whole.to_json()
    _insist(told)
    return Planned(told, whole)


def _model(facts: ModelFacts, signature: Signature, path: str) -> dict[str, Any]:
    options = dict(facts.options)
    return {"framework": facts.framework, "path": path, **signature.to_json(), "options": options}


def _without(told: Mapping[str, Any], key: str) -> dict[str, Any]:
    return {name: value for name, value in told.items() if name != key}


def signature_of(model: ModelRecipe, facts: ModelFacts) -> Signature:
    """A model's signature: as its file tells, and narrowed to what the project says.

    Raises `BundleError` where neither says anything, or one contradicts the other.
    """
    found = facts.signature or Signature((), ())
    sides = []
    for kind, own, read in (
        ("inputs", model.inputs, found.inputs),
        ("outputs", model.outputs, found.outputs),
    ):
        if not own and not read:
            raise BundleError(
                f"nothing is known of the {kind} of {model.path.name}: its file does not tell",
                hint=f'add to its table: {kind} = [{{ name = "x", dtype = "float32", shape = ["n", 4] }}]',
            )
        sides.append(_narrowed(model.path.name, kind, own, read) if own and read else _settled(own) or read)
    return Signature(*sides)


def _narrowed(
    file: str, kind: str, own: Sequence[TensorSpec], read: Sequence[TensorSpec]
) -> tuple[TensorSpec, ...]:
    said = {one.name: one for one in own}
    known = {one.name for one in read}
    strange = said.keys() - known
    if strange:
        raise BundleError(
            f"{file} has no {kind[:-1]} '{min(strange)}'; its {kind} are {', '.join(sorted(known))}",
            hint=f"correct the name, or leave the {kind} out: the file tells them",
        )
    return tuple(_both(file, said[one.name], one) if one.name in said else one for one in read)


def _settled(own: Sequence[TensorSpec]) -> tuple[TensorSpec, ...]:
    """What the project says where nothing else does: values are missing only if it says so."""
    return tuple(replace(one, nan=bool(one.nan)) for one in own)


def _both(file: str, own: TensorSpec, read: TensorSpec) -> TensorSpec:
    fault = wiring.fits(_tensor(own), _tensor(read))
    if fault or own.dtype != read.dtype:
        raise BundleError(
            f"the project says {own}, but {file} has {read}: {fault or f'{own.dtype} is not {read.dtype}'}",
            hint="correct the project file, or leave this out: the file tells it",
        )
    keys = ("minimum", "maximum", "nan")
    bounds = {key: getattr(own, key) for key in keys if getattr(own, key) is not None}
    return replace(read, shape=read.shape if own.shape is None else own.shape, **bounds)


def _tensor(one: TensorSpec) -> serving.TensorSpec:
    return serving.TensorSpec(**{**asdict(one), "nan": bool(one.nan)})


def _tensors(tensors: Sequence[serving.TensorSpec]) -> tuple[TensorSpec, ...]:
    return tuple(TensorSpec(**asdict(one)) for one in tensors)


def _of_clients(recipe: Recipe, signatures: Sequence[Signature]) -> Signature:
    """What clients send and get."""
    own = recipe.service
    inputs, outputs = signatures[0].inputs, signatures[0].outputs
    if own.graph is not None:
        wired = _wired(recipe, signatures, own.graph)
        inputs, outputs = _tensors(wired.inputs), _tensors(wired.outputs)
    return Signature(_settled(own.inputs) or inputs, _settled(own.outputs) or outputs)


def _wired(recipe: Recipe, signatures: Sequence[Signature], graph: Mapping[str, Any]) -> wiring.Wired:
    models = [
        serving.ModelSpec(
            model.name, "", "", tuple(map(_tensor, side.inputs)), tuple(map(_tensor, side.outputs))
        )
        for model, side in zip(recipe.models, signatures, strict=True)
    ]
    own = recipe.service
    try:
        read = form.read(graph, [model.name for model in models])
        return wiring.wire(read, models, tuple(map(_tensor, own.inputs)), hook=bool(own.before))
    except SpecError as error:
        raise BundleError(
            f"[service.{graph['kind']}] does not fit its models: {error}",
            hint="docs/how-to/combine-models.md shows what goes together; `mdeploy check` looks again",
        ) from error


def _insist(told: Mapping[str, Any]) -> None:
    """What is written can be read: by the same code that will."""
    try:
        spec = serving.parse(told)
        wiring.boundary(spec)
    except SpecError as error:
        raise BundleError(
            f"the service cannot be made: {error}", hint="correct [service] and the models' tables"
        ) from error


def told_in(bundle: Path) -> Mapping[str, Any]:
    """``mdeploy_service.json`` of a bundle; nothing where there is none that this mdeploy can read."""
    try:
        told: Mapping[str, Any] = json.loads((bundle / SOURCE / serving.FILE).read_bytes())
        serving.parse(told)
    except (OSError, ValueError, RecursionError, SpecError):
        return {}
    return told


def shown(told: Mapping[str, Any]) -> str:
    """How hooks and models are one service, in a line: ``preprocess hooks:clean, scaler, then classifier``.

    ``told`` is the content of ``mdeploy_service.json``.
    """
    graph, hooks = told.get("graph") or {}, told.get("hooks", {})
    if graph.get("kind") == "chain":
        middle = ", then ".join(graph["models"])
    elif graph.get("kind") == "ensemble":
        middle = f"{graph['combine']} of {', '.join(graph['models'])}"
    elif graph.get("kind") == "choose":
        cases = "; ".join(f"{rule['model']} where {rule['when']}" for rule in graph["rules"])
        middle = f"{cases}; else {graph['default']}"
    else:
        middle = ", ".join(told.get("models", {}))
    before = [f"preprocess {hooks['before']}"] if "before" in hooks else []
    after = [f"postprocess {hooks['after']}"] if "after" in hooks else []
    return ", ".join([*before, middle, *after])
