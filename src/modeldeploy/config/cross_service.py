"""What the tables about models and the service say about each other.

As in `cross`: values need not have been checked, and what is malformed is skipped here.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from modeldeploy.config.names import NAME, closest, matches
from modeldeploy.config.positions import KeyPath
from modeldeploy.config.problems import Problem
from modeldeploy.config.values import PATH_RULE
from modeldeploy.serving.graph.rules import RuleError, parse_rule

GRAPHS = ("chain", "ensemble", "choose")
_OF_ONE_MODEL = ("path", "framework", "class", "inputs", "outputs")
_GENERATED_ONLY = (
    *("preprocess", "postprocess", "inputs", "outputs", *GRAPHS),
    *("batch_rows", "providers", "graph_optimization", "protocols"),
)
"""Keys that say how a generated service answers."""


def check(values: Mapping[str, Any]) -> list[Problem]:
    """All contradictions between keys about models and the service."""
    service = _table(values, "service")
    return [
        *_one_or_several(values),
        *_classes(values),
        *_tensors(values, service),
        *_own_service(service),
        *_graphs(values, service),
        *_boundary(values, service),
        *_weights(_table(service, "ensemble")),
        *_rules(_table(service, "choose")),
    ]


def _one_or_several(values: Mapping[str, Any]) -> Iterator[Problem]:
    model, models = _table(values, "model"), _table(values, "models")
    if "model" in values and not isinstance(values["model"], dict):
        return
    if models:
        for key in _OF_ONE_MODEL:
            if key in model:
                told = "there are several models in [models.NAME], which have this key of their own"
                yield Problem(("model", key), told, f"[model] without {key}, or no [models]")
    elif "path" not in model:
        yield Problem(("model", "path"), "missing", f'{PATH_RULE}, such as "model.onnx"; or [models.NAME]')


def _each_model(values: Mapping[str, Any]) -> Iterator[tuple[KeyPath, Mapping[str, Any]]]:
    yield ("model",), _table(values, "model")
    for name, table in _table(values, "models").items():
        if isinstance(table, dict):
            yield ("models", name), table


def _classes(values: Mapping[str, Any]) -> Iterator[Problem]:
    for at, model in _each_model(values):
        if "class" in model and model.get("framework") != "python":
            told = "only a model of your own class has this"
            yield Problem((*at, "class"), told, 'framework = "python" beside it')
        if (
            model.get("framework") == "python"
            and "class" not in model
            and "entrypoint" not in _table(values, "service")
        ):
            told = "which class? It has `load(path)` and `predict`"
            yield Problem((*at, "framework"), told, 'class beside it, such as class = "forecast:Forecast"')


def _tensors(values: Mapping[str, Any], service: Mapping[str, Any]) -> Iterator[Problem]:
    for at, table in (*_each_model(values), (("service",), service)):
        for key in ("inputs", "outputs"):
            listed = table.get(key)
            seen: set[object] = set()
            for index, tensor in enumerate(listed if isinstance(listed, list) else ()):
                if isinstance(tensor, dict):
                    yield from _tensor((*at, key, index), tensor, seen)


def _tensor(at: KeyPath, tensor: Mapping[str, Any], seen: set[object]) -> Iterator[Problem]:
    name = tensor.get("name")
    if isinstance(name, str):
        if name in seen:
            yield Problem((*at, "name"), f"two have the name {name[:60]!r}", "another name")
        seen.add(name)
    bounds = [tensor[key] for key in ("minimum", "maximum") if key in tensor]
    numbers = [bound for bound in bounds if type(bound) in (int, float)]
    if bounds and tensor.get("dtype") in ("bool", "string"):
        yield Problem((*at, "dtype"), f"minimum and maximum are for numbers, not for {tensor['dtype']}")
    elif len(numbers) == 2 and numbers[0] > numbers[1]:
        yield Problem((*at, "minimum"), f"{numbers[0]} is above the maximum of {numbers[1]}")
    dtype = tensor.get("dtype")
    if tensor.get("nan") is True and isinstance(dtype, str) and not dtype.startswith("float"):
        yield Problem((*at, "nan"), f"only numbers with a fraction can be NaN, not {dtype[:60]}")


def _own_service(service: Mapping[str, Any]) -> Iterator[Problem]:
    if service.get("entrypoint"):
        for key in _GENERATED_ONLY:
            if key in service:
                told = "has no effect on a service of your own (service.entrypoint)"
                yield Problem(("service", key), told, f"either {key} or entrypoint")


def _graphs(values: Mapping[str, Any], service: Mapping[str, Any]) -> Iterator[Problem]:
    models = _table(values, "models")
    said = [kind for kind in GRAPHS if isinstance(service.get(kind), dict)]
    for other in said[1:]:
        told = f"service.{said[0]} says already how the models are one"
        yield Problem(("service", other), told, "one of chain, ensemble and choose")
    if said and not models:
        yield Problem(("service", said[0]), "there is only one model", "several in [models.NAME]")
    elif len(models) > 1 and not any(kind in service for kind in (*GRAPHS, "entrypoint")):
        told = f"nothing says how {len(models)} models are one service"
        yield Problem(("models",), told, "[service.chain], [service.ensemble] or [service.choose]")
    if len(said) == 1 and models:
        used = {name for _, name in _named(said[0], service[said[0]])}
        for name in models:
            if matches(NAME, name) and name not in used and not closest(name, list(used)):
                yield Problem(
                    ("models", name), f"no part of service.{said[0]}", "its name there, or no such table"
                )
    for kind in said if models else ():
        for at, name in _named(kind, service[kind]):
            if matches(NAME, name) and name not in models:
                expected = f"one of {', '.join(map(str, models))}"
                near = closest(name, [str(model) for model in models])
                yield Problem(at, f"there is no model '{name[:60]}'", expected, near)


def _named(kind: str, graph: Mapping[str, Any]) -> Iterator[tuple[KeyPath, str]]:
    """Every place in a graph that names a model, with the name."""
    for index, name in enumerate(_list(graph.get("models"))):
        if isinstance(name, str):
            yield ("service", kind, "models", index), name
    for index, rule in enumerate(_list(graph.get("rules"))):
        if isinstance(rule, dict) and isinstance(rule.get("model"), str):
            yield ("service", kind, "rules", index, "model"), rule["model"]
    if isinstance(graph.get("default"), str):
        yield ("service", kind, "default"), graph["default"]
    if kind == "chain":
        yield from _connected(graph)


def _connected(graph: Mapping[str, Any]) -> Iterator[tuple[KeyPath, str]]:
    for end, source in _table(graph, "connect").items():
        at = ("service", "chain", "connect", end)
        for text in (end, source if isinstance(source, str) else ""):
            model, _, tensor = text.partition(".")
            if tensor:
                yield at, model


def _boundary(values: Mapping[str, Any], service: Mapping[str, Any]) -> Iterator[Problem]:
    """What clients see is said only where it is another thing than what the models have."""
    if service.get("entrypoint"):
        return
    several = any(kind in service for kind in GRAPHS)
    if service.get("inputs") and not (service.get("preprocess") or several):
        where = "models.NAME" if _table(values, "models") else "model"
        told = "clients send what the model takes, for there is no preprocess"
        yield Problem(("service", "inputs"), told, f"[[{where}.inputs]], or preprocess beside it")
    if service.get("outputs") and not service.get("postprocess"):
        told = "clients get what the model gives, for there is no postprocess"
        yield Problem(("service", "outputs"), told, "postprocess beside it")


def _weights(ensemble: Mapping[str, Any]) -> Iterator[Problem]:
    at: KeyPath = ("service", "ensemble", "weights")
    weights, models = ensemble.get("weights"), ensemble.get("models")
    weighted = ensemble.get("combine") == "weighted"
    if weights and not weighted:
        yield Problem(at, "only a weighted mean has weights", 'combine = "weighted" beside it')
    elif weighted and isinstance(models, list) and isinstance(weights, list | None):
        count = len(weights or ())
        if count != len(models):
            yield Problem(at, f"{count} weights for {len(models)} models", "one number for each model")


def _rules(choose: Mapping[str, Any]) -> Iterator[Problem]:
    for index, rule in enumerate(_list(choose.get("rules"))):
        text = rule.get("when") if isinstance(rule, dict) else None
        if isinstance(text, str) and text.strip():
            try:
                parse_rule(text)
            except RuleError as error:
                at = ("service", "choose", "rules", index, "when")
                yield Problem(at, f"column {error.column}: {error.reason}", error.expected, error.nearest)


def _table(values: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    table = values.get(name)
    return table if isinstance(table, dict) else {}


def _list(value: object) -> list[Any]:
    return value if isinstance(value, list) else []
