"""How several models are one, as ``graph`` in ``mdeploy_service.json`` says it.

::

    {"kind": "chain", "models": ["scaler", "classifier"],
     "connect": {"classifier.features": "scaler.variable"}}      an input, and the output that it gets; or the
                                                                 service's input, by its name alone
    {"kind": "ensemble", "models": ["a", "b"], "combine": "weighted", "weights": [2, 1], "outputs": ["y"]}
    {"kind": "choose", "rules": [{"when": "age < 18", "model": "a"}], "default": "b"}

Standard library only.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field

from ..strict import SpecError, choice, record, text, texts
from .rules import Rule, RuleError, parse_rule

KINDS = ("chain", "ensemble", "choose")
COMBINE = ("mean", "vote", "weighted")
_MOST_RULES = 1000


@dataclass(frozen=True, slots=True)
class Chain:
    """Models one after the other."""

    models: tuple[str, ...]
    connect: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Ensemble:
    """Models side by side, their outputs combined."""

    models: tuple[str, ...]
    combine: str
    weights: tuple[float, ...] = ()
    """One for each model where ``combine`` is ``weighted``; else none."""
    outputs: tuple[str, ...] = ()
    """Those to combine; none: all that can be."""


@dataclass(frozen=True, slots=True)
class Case:
    """The model for the rows for which a rule holds, unless an earlier one does."""

    rule: Rule
    model: str


@dataclass(frozen=True, slots=True)
class Choose:
    """One of several models for each row."""

    cases: tuple[Case, ...]
    default: str

    @property
    def models(self) -> tuple[str, ...]:
        """Each model once, the default first."""
        return tuple(dict.fromkeys((self.default, *(case.model for case in self.cases))))


Graph = Chain | Ensemble | Choose


def read(value: object, models: Collection[str], where: str = "graph") -> Graph:
    """The graph in a JSON value. Raises `SpecError` naming the key that is wrong."""
    kind = choice(value if isinstance(value, dict) else {}, "kind", where, KINDS)
    if kind == "chain":
        return _chain(value, models, where)
    return _ensemble(value, models, where) if kind == "ensemble" else _choose(value, models, where)


def _chain(value: object, models: Collection[str], where: str) -> Chain:
    fields = record(value, where, required=("kind", "models"), optional=("connect",))
    connect = fields.get("connect", {})
    if not isinstance(connect, dict):
        raise SpecError(f"{where}: connect: expected an object, got {connect!r:.80}")
    for end in connect:
        text(connect, end, f"{where}.connect")
    return Chain(texts(fields, "models", where, known=models, least=2), connect)


def _ensemble(value: object, models: Collection[str], where: str) -> Ensemble:
    fields = record(value, where, required=("kind", "models"), optional=("combine", "weights", "outputs"))
    members = texts(fields, "models", where, known=models, least=2)
    combine = choice(fields, "combine", where, COMBINE, default="mean")
    weights = fields.get("weights", [])
    count = len(members) if combine == "weighted" else 0
    if not isinstance(weights, list) or len(weights) != count or not all(map(_positive, weights)):
        raise SpecError(f"{where}: weights: expected {count} numbers above 0, got {weights!r:.80}")
    return Ensemble(members, combine, tuple(weights), texts(fields, "outputs", where, default=()))


def _positive(weight: object) -> bool:
    return isinstance(weight, int | float) and type(weight) is not bool and 0 < weight < math.inf


def _choose(value: object, models: Collection[str], where: str) -> Choose:
    fields = record(value, where, required=("kind", "rules", "default"))
    rules = fields["rules"]
    if not isinstance(rules, list) or not 0 < len(rules) <= _MOST_RULES:
        raise SpecError(f"{where}: rules: expected a list of at least one, got {rules!r:.80}")
    cases = tuple(_case(rule, models, f"{where}.rules[{index}]") for index, rule in enumerate(rules))
    return Choose(cases, choice(fields, "default", where, models))


def _case(value: object, models: Collection[str], where: str) -> Case:
    fields = record(value, where, required=("when", "model"))
    try:
        rule = parse_rule(text(fields, "when", where))
    except RuleError as error:
        raise SpecError(f"{where}: when: {error}") from error
    return Case(rule, choice(fields, "model", where, models))
