"""What a graph takes and gives, and whether the models in it fit together.

The same function answers when a bundle is built and when it is loaded. Standard library only.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

from ..spec import FILE, Dimension, ModelSpec, ServiceSpec, TensorSpec
from ..strict import SpecError
from .form import Chain, Choose, Ensemble, Graph
from .rules import Comparison, comparisons

BATCH = "batch"
_WIDTHS = {f"{kind}{bits}": (kind, bits) for kind in ("int", "uint", "float") for bits in (8, 16, 32, 64)}


@dataclass(frozen=True, slots=True)
class Wired:
    """A graph whose parts fit together."""

    inputs: tuple[TensorSpec, ...]
    """What the graph takes; for a choice also what only its rules look at."""
    outputs: tuple[TensorSpec, ...]
    sources: Mapping[str, str] = field(default_factory=dict)
    """Of a chain: for each ``model.input`` the ``model.output`` before it, or the name of an input above."""


def wire(
    graph: Graph, models: Iterable[ModelSpec], said: Sequence[TensorSpec] = (), *, hook: bool = False
) -> Wired:
    """Connect the models of a graph. ``said``: what clients send, where the project says it.

    With a ``hook`` before the models, clients may send something else than the models take: ``said`` then
    only helps to check rules. Raises `SpecError` that names both ends of what does not fit.
    """
    named = {model.name: model for model in models}
    if isinstance(graph, Chain):
        wired = _chained(graph, named)
    elif isinstance(graph, Ensemble):
        wired = _ensembled(graph, named)
    else:
        wired = _chosen(graph, named, said)
    if said and not hook:
        wired = replace(wired, inputs=_as_said(graph, wired.inputs, said))
    return replace(wired, inputs=_one_batch(wired.inputs), outputs=_one_batch(wired.outputs))


def fits(source: TensorSpec, target: TensorSpec) -> str:
    """Why a value of ``source`` is none for ``target``; "" if it is one. Free sizes show when it runs."""
    if "(" in source.dtype:
        return f"{source.dtype} is no tensor (export the model without ZipMap)"
    if source.dtype != target.dtype and not _widens(source.dtype, target.dtype):
        return f"{source.dtype} is not {target.dtype}"
    if source.shape is None or target.shape is None:
        return ""
    if len(source.shape) != len(target.shape):
        return f"{len(source.shape)} dimensions are not {len(target.shape)}"
    for mine, other in zip(source.shape, target.shape, strict=True):
        if isinstance(mine, int) and isinstance(other, int) and mine != other:
            return f"a size of {mine} is not {other}"
    return ""


def _widens(narrow: str, wide: str) -> bool:
    mine, other = _WIDTHS.get(narrow), _WIDTHS.get(wide)
    return bool(mine and other and mine[0] == other[0] and mine[1] < other[1])


def _nearest(word: str, known: Iterable[str]) -> str:
    import difflib  # only where something is wrong

    found = list(known)
    near = difflib.get_close_matches(word, found, n=1)
    return f"; did you mean '{near[0]}'?" if near else f"; there are {', '.join(found)}"


def _end(name: str, tensor: TensorSpec) -> str:
    return f"{name} ({tensor})"


def boundary(spec: ServiceSpec) -> Wired:
    """What the models of a service take and give between its hooks.

    Raises `SpecError` where they do not fit each other, or what clients see.
    """
    try:
        if spec.graph is None:
            model = spec.models[0]
            wired = Wired(model.inputs, model.outputs)
        else:
            wired = wire(spec.graph, spec.models, spec.inputs, hook=bool(spec.before))
    except SpecError as error:
        raise SpecError(f"{FILE}: graph: {error}") from error
    if not spec.before:
        _insist("inputs", spec.inputs, wired.inputs)
    if not spec.after:
        _insist("outputs", spec.outputs, wired.outputs)
    return wired


def _insist(kind: str, said: tuple[TensorSpec, ...], real: tuple[TensorSpec, ...]) -> None:
    known = {one.name: one for one in real}
    if {one.name for one in said} != known.keys():
        raise SpecError(f"{FILE}: {kind}: {[one.name for one in said]} are not the models': {list(known)}")
    for one in said:
        if "(" not in one.dtype and (fault := fits(one, known[one.name])):
            raise SpecError(
                f"{FILE}: {kind}: {one.name}: {one} is not the models' {known[one.name]}: {fault}"
            )


# -- chains ------------------------------------------------------------------------------------------------


def _chained(chain: Chain, models: Mapping[str, ModelSpec]) -> Wired:
    members = [models[name] for name in chain.models]
    inputs = {f"{model.name}.{one.name}": one for model in members for one in model.inputs}
    outputs = {f"{model.name}.{one.name}": one for model in members for one in model.outputs}
    for end in chain.connect:
        if end not in inputs:
            raise SpecError(f"connect: no model of the chain has the input '{end}'{_nearest(end, inputs)}")
    sources: dict[str, str] = {}
    for place in range(len(members)):
        sources |= _sources(chain, members, place, outputs)
    for end, source in sources.items():
        if source in outputs and (fault := fits(outputs[source], inputs[end])):
            raise SpecError(f"{_end(source, outputs[source])} does not fit {_end(end, inputs[end])}: {fault}")
    sizes = _fixed_batches(members, sources, inputs, outputs)
    taken = [
        _led(replace(inputs[end], name=source), sizes[end.partition(".")[0]])
        for end, source in sources.items()
        if source not in outputs
    ]
    given = tuple(_led(one, sizes[members[-1].name]) for one in members[-1].outputs)
    return Wired(_united(taken, "the chain"), given, sources)


def _sources(
    chain: Chain, members: Sequence[ModelSpec], place: int, outputs: Mapping[str, TensorSpec]
) -> Iterator[tuple[str, str]]:
    """For each input of one model, where it comes from."""
    model, before = members[place], members[:place]
    for one in model.inputs:
        end = f"{model.name}.{one.name}"
        if end in chain.connect:
            yield end, _connected(end, chain.connect[end], before, members, outputs)
        elif not before:
            yield end, one.name
        else:
            named = [f"{other.name}.{one.name}" for other in reversed(before)]
            found = next((source for source in named if source in outputs), None)
            yield end, found or _only_one(end, model, before[-1])


def _connected(
    end: str,
    source: str,
    before: Sequence[ModelSpec],
    members: Sequence[ModelSpec],
    outputs: Mapping[str, TensorSpec],
) -> str:
    if source in outputs and source.partition(".")[0] in {model.name for model in before}:
        return source
    if source.partition(".")[0] in {model.name for model in members} and "." in source:
        known = [name for name in outputs if name.partition(".")[0] in {model.name for model in before}]
        told = f"connect: '{end}' gets '{source}', which no model before it gives"
        raise SpecError(told + (_nearest(source, known) if known else ""))
    return source


def _only_one(end: str, model: ModelSpec, last: ModelSpec) -> str:
    if len(model.inputs) == len(last.outputs) == 1:
        return f"{last.name}.{last.outputs[0].name}"
    given = ", ".join(one.name for one in last.outputs)
    raise SpecError(
        f"nothing says what '{end}' gets: {last.name} gives {given}, none of that name; "
        f'connect = {{ "{end}" = "{last.name}.{last.outputs[0].name}" }} would'
    )


def _fixed_batches(
    members: Sequence[ModelSpec],
    sources: Mapping[str, str],
    inputs: Mapping[str, TensorSpec],
    outputs: Mapping[str, TensorSpec],
) -> dict[str, int | None]:
    """For each model the leading size that its neighbours force on it; None where it stays free.

    So a chain is only asked for several rows at once if every part of it can take them.
    """
    sizes: dict[str, int | None] = {model.name: None for model in members}
    for _ in members:
        for end, source in sources.items():
            if source not in outputs:
                continue
            maker, taker = source.partition(".")[0], end.partition(".")[0]
            made, taken = _lead(outputs[source], sizes[maker]), _lead(inputs[end], sizes[taker])
            if isinstance(made, int) and isinstance(taken, int) and made != taken:
                raise SpecError(f"{source} gives {made} rows, and {end} takes {taken}")
            if isinstance(taken, int) and not isinstance(made, int):
                sizes[maker] = taken
            if isinstance(made, int) and not isinstance(taken, int):
                sizes[taker] = made
    return sizes


def _lead(tensor: TensorSpec, size: int | None) -> Dimension:
    if not tensor.shape:
        return None
    return size if tensor.batched and size is not None else tensor.shape[0]


def _led(tensor: TensorSpec, size: int | None) -> TensorSpec:
    return replace(tensor, shape=(size, *(tensor.shape or ())[1:])) if tensor.batched and size else tensor


# -- models side by side -----------------------------------------------------------------------------------


def _ensembled(ensemble: Ensemble, models: Mapping[str, ModelSpec]) -> Wired:
    members = [models[name] for name in ensemble.models]
    inputs = _united([one for model in members for one in model.inputs], "the ensemble")
    known = {one.name for model in members for one in model.outputs}
    for name in ensemble.outputs:
        if name not in known:
            raise SpecError(f"outputs: no model of the ensemble has '{name}'{_nearest(name, sorted(known))}")
    names = ensemble.outputs or tuple(one.name for one in members[0].outputs)
    combined = [
        one for name in names if (one := _combined(ensemble, members, name, wanted=bool(ensemble.outputs)))
    ]
    if not combined:
        what = (
            "labels (whole numbers, text or booleans)"
            if ensemble.combine == "vote"
            else "numbers with a fraction"
        )
        raise SpecError(
            f"there is nothing to combine by {ensemble.combine}: no output of {what} that each of "
            f"{', '.join(ensemble.models)} has"
        )
    return Wired(inputs, tuple(combined))


def _combined(
    ensemble: Ensemble, members: Sequence[ModelSpec], name: str, *, wanted: bool
) -> TensorSpec | None:
    """One output of an ensemble; None for one that cannot be combined and that nobody asked for."""
    found = {
        f"{model.name}.{name}": next((one for one in model.outputs if one.name == name), None)
        for model in members
    }
    labels = ensemble.combine == "vote"
    for end, one in found.items():
        kind = one.dtype.rstrip("0123456789") if one else ""
        if one is None or kind not in (("int", "uint", "bool", "string") if labels else ("float",)):
            if wanted:
                told = f"is {one.dtype}" if one else "is not there"
                raise SpecError(f"{end} {told}, so {ensemble.combine} of {name} is not possible")
            return None
    return _same(found, of_one_type=labels)


def _chosen(choose: Choose, models: Mapping[str, ModelSpec], said: Sequence[TensorSpec]) -> Wired:
    members = [models[name] for name in choose.models]
    inputs = _united([one for model in members for one in model.inputs], "the choice")
    known = {one.name: one for one in (*said, *inputs)}
    looked_at = {}
    for index, case in enumerate(choose.cases):
        for comparison in comparisons(case.rule):
            fault = _not_comparable(comparison, known)
            if fault:
                raise SpecError(f"rules[{index}]: column {comparison.at}: {fault}")
            looked_at[comparison.name] = known[comparison.name]
    only_rules = [one for name, one in looked_at.items() if name not in {own.name for own in inputs}]
    outputs = []
    for one in members[0].outputs:
        same = {f"{model.name}.{one.name}": _output(model, one.name) for model in members}
        if "(" not in one.dtype and None not in same.values():
            outputs.append(_same(same, of_one_type=True))
    if not outputs:
        raise SpecError(f"no output is there in each of {', '.join(choose.models)}")
    return Wired((*inputs, *only_rules), tuple(outputs))


def _output(model: ModelSpec, name: str) -> TensorSpec | None:
    return next((one for one in model.outputs if one.name == name), None)


def _not_comparable(comparison: Comparison, known: Mapping[str, TensorSpec]) -> str:
    one = known.get(comparison.name)
    if one is None:
        return f"there is no input '{comparison.name}'{_nearest(comparison.name, known)}"
    kind, constant = one.dtype.rstrip("0123456789"), comparison.constant
    fitting = {"string": str, "bool": bool}.get(kind)
    number = isinstance(constant, int | float) and not isinstance(constant, bool)
    if not (isinstance(constant, fitting) if fitting else number):
        return f"{_end(comparison.name, one)} is compared with {constant!r}"
    if kind in ("string", "bool") and comparison.operator not in ("==", "!="):
        return f"{_end(comparison.name, one)} has no order: only == and !="
    return _no_column(comparison, one)


def _no_column(comparison: Comparison, one: TensorSpec) -> str:
    """Why this gives no one value for each row; "" if it does."""
    shape, column = one.shape, comparison.column
    if not shape:
        return "" if column is None else f"{_end(comparison.name, one)} has no columns"
    if isinstance(shape[0], int) and shape[0] != 1:
        return f"the {shape[0]} rows of {_end(comparison.name, one)} cannot be split"
    if column is None:
        several = shape[1:] not in ((), (1,))
        first = f"{comparison.name}[0]"
        return (
            f"{_end(comparison.name, one)} has several values in each row: write {first}" if several else ""
        )
    if len(shape) != 2:
        return f"{_end(comparison.name, one)} has no columns"
    if isinstance(shape[1], int) and column >= shape[1]:
        return f"{_end(comparison.name, one)} has no column {column}; the first is 0"
    return ""


def _same(found: Mapping[str, TensorSpec | None], *, of_one_type: bool) -> TensorSpec:
    """One output for what several models give under one name."""
    ends = [(end, one) for end, one in found.items() if one is not None]
    first_end, common = ends[0]
    for end, one in ends[1:]:
        fault = "" if not of_one_type or one.dtype == common.dtype else f"{one.dtype} is not {common.dtype}"
        wider = max((common.dtype, one.dtype), key=lambda dtype: _WIDTHS.get(dtype, ("", 0))[1])
        fault = fault or fits(replace(one, dtype=wider), replace(common, dtype=wider))
        if fault:
            raise SpecError(f"{_end(end, one)} and {_end(first_end, ends[0][1])} are not alike: {fault}")
        common = replace(common, dtype=wider, shape=_looser(common.shape, one.shape))
    return common


def _united(tensors: Iterable[TensorSpec], whose: str) -> tuple[TensorSpec, ...]:
    """Inputs of several models that clients send once."""
    united: dict[str, TensorSpec] = {}
    for one in tensors:
        known = united.get(one.name)
        if known is None:
            united[one.name] = one
            continue
        fault = fits(one, known) or ("" if one.dtype == known.dtype else f"{one.dtype} is not {known.dtype}")
        if fault:
            raise SpecError(
                f"two models of {whose} take '{one.name}' in two forms: {known} and {one}: {fault}"
            )
        united[one.name] = replace(
            known,
            shape=_narrower(known.shape, one.shape),
            minimum=max((known.minimum, one.minimum), key=lambda low: float("-inf") if low is None else low),
            maximum=min(
                (known.maximum, one.maximum), key=lambda high: float("inf") if high is None else high
            ),
            nan=known.nan and one.nan,
        )
    return tuple(united.values())


Shape = tuple[Dimension, ...] | None


def _narrower(one: Shape, other: Shape) -> Shape:
    """What both shapes allow. They fit each other."""
    if one is None or other is None:
        return other if one is None else one
    pairs = zip(one, other, strict=True)
    return tuple(mine if isinstance(mine, int) or not isinstance(its, int) else its for mine, its in pairs)


def _looser(one: Shape, other: Shape) -> Shape:
    """What either shape allows. They fit each other."""
    if one is None or other is None:
        return None
    return tuple(its if isinstance(mine, int) else mine for mine, its in zip(one, other, strict=True))


def _as_said(graph: Graph, taken: Sequence[TensorSpec], said: Sequence[TensorSpec]) -> tuple[TensorSpec, ...]:
    """What clients send, in the project's own order, checked against what the models take."""
    known = {one.name: one for one in said}
    for one in taken:
        if one.name not in known:
            raise SpecError(f"the models take '{one.name}' ({one}), which service.inputs does not have")
        fault = fits(known[one.name], one)
        if known[one.name].nan and not one.nan:
            fault = "none of their values may be missing (nan)"
        if fault:
            raise SpecError(
                f"service.inputs says {_end(one.name, known[one.name])}; the models take {one}: {fault}"
            )
    unused = known.keys() - {one.name for one in taken}
    if unused:
        raise SpecError(f"service.inputs has '{min(unused)}', which no part of the {_kind(graph)} takes")
    return tuple(said)


def _kind(graph: Graph) -> str:
    return "chain" if isinstance(graph, Chain) else "ensemble" if isinstance(graph, Ensemble) else "choice"


def _one_batch(tensors: tuple[TensorSpec, ...]) -> tuple[TensorSpec, ...]:
    """The leading dimension of all by one name, where it is free in all: it is the same rows."""
    if not tensors or not all(one.batched for one in tensors):
        return tensors
    return tuple(replace(one, shape=(BATCH, *(one.shape or ())[1:])) for one in tensors)
