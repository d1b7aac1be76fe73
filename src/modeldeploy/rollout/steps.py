"""The steps of a rollout: frozen values that a journal can hold and a person can read.

A step says what must be true when it is done, never what to call. `acts` makes it true.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from modeldeploy.model import BundleRef, RevisionId, Traffic


@dataclass(frozen=True, slots=True)
class Create:
    """The revision exists on the target, at weight 0."""

    revision: RevisionId
    bundle: BundleRef

    @property
    def sentence(self) -> str:
        return f"create {self.revision} from {self.bundle}"


@dataclass(frozen=True, slots=True)
class AwaitReady:
    """Every replica of the revision answers its readiness probe."""

    revision: RevisionId

    @property
    def sentence(self) -> str:
        return f"wait until {self.revision} is ready"


@dataclass(frozen=True, slots=True)
class Verify:
    """The revision reproduces the golden samples of its bundle."""

    revision: RevisionId

    @property
    def sentence(self) -> str:
        return f"replay golden samples on {self.revision}"


@dataclass(frozen=True, slots=True)
class Shift:
    """The router applies ``traffic``. It was ``before`` when the plan was made.

    A shift that names another stable revision promotes it: the point of no return.
    """

    traffic: Traffic
    before: Traffic

    @property
    def promotes(self) -> bool:
        """True if a failure after this shift no longer returns to the former stable revision."""
        return self.traffic.stable != self.before.stable

    @property
    def sentence(self) -> str:
        routed = [f"{share} % to {name}" for name, share in self.traffic.weights.items() if share]
        if not routed:
            return "send no traffic anywhere"
        if self.traffic.same_weights(self.before):
            verb = "make" if self.promotes else "keep"
            return f"{verb} {self.traffic.stable} the stable revision"
        return "send " + ", ".join(routed) + (", now stable" if self.promotes else "")


@dataclass(frozen=True, slots=True)
class Judge:
    """The candidate's numbers pass the gates for as long as the soak asks."""

    candidate: RevisionId
    stable: RevisionId | None

    @property
    def sentence(self) -> str:
        beside = f" beside {self.stable}" if self.stable else ""
        return f"judge {self.candidate}{beside}"


@dataclass(frozen=True, slots=True)
class Drain:
    """No request is in flight at the revision, or its time to finish is over."""

    revision: RevisionId

    @property
    def sentence(self) -> str:
        return f"let {self.revision} finish its requests"


@dataclass(frozen=True, slots=True)
class Delete:
    """The revision is gone from the target."""

    revision: RevisionId

    @property
    def sentence(self) -> str:
        return f"delete {self.revision}"


Step = Create | AwaitReady | Verify | Shift | Judge | Drain | Delete

_KINDS: dict[str, type[Step]] = {
    "create": Create,
    "await-ready": AwaitReady,
    "verify": Verify,
    "shift": Shift,
    "judge": Judge,
    "drain": Drain,
    "delete": Delete,
}


def kind_of(step: Step) -> str:
    """The step's name in journals and events, e.g. ``await-ready``."""
    return next(kind for kind, known in _KINDS.items() if isinstance(step, known))


def encode(step: Step) -> dict[str, Any]:
    """The step as JSON values. `decode` gives an equal step back."""
    fields: dict[str, Any] = {"kind": kind_of(step)}
    for name in step.__dataclass_fields__:
        value = getattr(step, name)
        if isinstance(value, Traffic):
            value = encode_traffic(value)
        elif isinstance(value, BundleRef):
            value = encode_bundle(value)
        fields[name] = value
    return fields


def decode(fields: Mapping[str, Any]) -> Step:
    """The step that `encode` wrote. Raises KeyError, TypeError or ValueError for anything else."""
    values = {name: value for name, value in fields.items() if name != "kind"}
    for name in ("traffic", "before"):
        if name in values:
            values[name] = decode_traffic(values[name])
    if "bundle" in values:
        values["bundle"] = BundleRef(**values["bundle"])
    return _KINDS[fields["kind"]](**values)


def encode_bundle(bundle: BundleRef) -> dict[str, str]:
    """A bundle reference as JSON values."""
    return {"name": bundle.name, "version": bundle.version, "digest": bundle.digest}


def encode_traffic(traffic: Traffic) -> dict[str, Any]:
    """Traffic as JSON values."""
    return {
        "weights": dict(traffic.weights),
        "stable": traffic.stable,
        "fallback": list(traffic.fallback),
    }


def decode_traffic(fields: Mapping[str, Any]) -> Traffic:
    """The traffic that `encode_traffic` wrote."""
    return Traffic(
        weights={RevisionId(name): share for name, share in fields["weights"].items()},
        stable=fields["stable"],
        fallback=tuple(fields["fallback"]),
    )


def promotion_index(steps: Sequence[Step]) -> int | None:
    """Index of the point of no return among the steps; None where there is none."""
    return next((i for i, step in enumerate(steps) if isinstance(step, Shift) and step.promotes), None)
