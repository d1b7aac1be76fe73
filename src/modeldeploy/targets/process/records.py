"""The files between the driver and the supervisor, as values.

``desired.json`` says what is wanted; the driver writes it, under a lock, and the supervisor takes
finished deletions out of it. ``revisions/ID/spec.json`` says what a revision is: it holds the
environment variables too, since they are needed again after a reboot, and only the owner can read
it. ``state.json`` is the supervisor's report. None of these files is trusted to make sense.
"""

from __future__ import annotations

import errno
import json
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, TypeVar

from modeldeploy import files
from modeldeploy.model import BundleRef, RevisionId, RevisionSpec, RevisionState, Sealed, Traffic
from modeldeploy.targets.process import locks
from modeldeploy.targets.process.layout import Layout

_Value = TypeVar("_Value")
_TRIES = 3


@dataclass(frozen=True, slots=True)
class Listen:
    """Where the router listens and which Envoy it is; None: the one from the wheel or on PATH."""

    host: str
    port: int
    envoy: str | None = None

    @property
    def endpoint(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"http://{host}:{self.port}"


@dataclass(frozen=True, slots=True)
class Desired:
    """What should be. ``generation`` grows with each change of traffic."""

    listen: Listen
    generation: int = 0
    traffic: Traffic = field(default_factory=Traffic)
    deleting: Mapping[RevisionId, float] = field(default_factory=dict)
    """Revisions to remove, with the seconds that their requests in flight have to finish."""
    attempts: Mapping[RevisionId, int] = field(default_factory=dict)
    """How often a revision that gave up was told to try again."""
    destroy: bool = False

    def try_again(self, revision: RevisionId) -> Desired:
        """With one more attempt for a revision."""
        return replace(self, attempts={**self.attempts, revision: self.attempts.get(revision, 0) + 1})

    def without(self, revision: RevisionId) -> Desired:
        """With all that is said of a revision's deletion and attempts forgotten."""
        return replace(
            self,
            deleting={name: grace for name, grace in self.deleting.items() if name != revision},
            attempts={name: count for name, count in self.attempts.items() if name != revision},
        )

    def with_traffic(self, traffic: Traffic) -> Desired:
        """With this traffic, as the next generation; itself, if that is what is wanted already."""
        if traffic == self.traffic:
            return self
        return replace(self, traffic=traffic, generation=self.generation + 1)


@dataclass(frozen=True, slots=True)
class Stored:
    """A revision as it is kept: the spec, and when it was first asked for (Unix seconds)."""

    spec: RevisionSpec
    created: float


@dataclass(frozen=True, slots=True)
class RevisionReport:
    """A revision as the supervisor last saw it."""

    state: RevisionState
    ready: tuple[int, ...] = ()
    """Numbers of the replicas that are ready."""
    restarts: int = 0
    message: str = ""
    been_ready: bool = False
    """All its replicas were ready at some time: it is kept alive for ever."""
    attempt: int = 0


@dataclass(frozen=True, slots=True)
class Report:
    """All that the supervisor tells."""

    revisions: Mapping[RevisionId, RevisionReport] = field(default_factory=dict)
    applied: tuple[int, Traffic] | None = None
    """Generation and traffic that the router was last seen to apply."""
    trouble: tuple[str, ...] = ()
    """What is out of order beyond single revisions, a sentence each."""
    version: str = ""
    """The mdeploy that the supervisor runs."""


@contextmanager
def changing(layout: Layout, *, make: bool = False) -> Iterator[None]:
    """Hold the lock under which alone `Desired` may be read and then written.

    With ``make`` the target's folders are made. Raises FileNotFoundError where they are not there.
    """
    descriptor = _hold(layout, make=make)
    try:
        yield
    finally:
        os.close(descriptor)


def _hold(layout: Layout, *, make: bool) -> int:
    for _ in range(_TRIES):  # the end of a `destroy` may remove the folders under our feet
        if make:
            layout.make()
        descriptor = locks.hold(layout.desired_lock)
        if descriptor is not None:
            if make:
                layout.make()
            return descriptor
    raise FileNotFoundError(errno.ENOENT, "no such target", str(layout.root))


def read_desired(layout: Layout) -> Desired | None:
    """What is wanted; None if the target is not there. Raises ValueError for nonsense."""
    found = files.read_json(layout.desired)
    return None if found is None else _as_value(_desired, found)


def write_desired(layout: Layout, desired: Desired) -> None:
    """Replace what is wanted; only inside `changing`."""
    files.write_json(
        layout.desired,
        {
            "listen": {
                "host": desired.listen.host,
                "port": desired.listen.port,
                "envoy": desired.listen.envoy,
            },
            "generation": desired.generation,
            "traffic": _traffic_json(desired.traffic),
            "deleting": dict(desired.deleting),
            "attempts": dict(desired.attempts),
            "destroy": desired.destroy,
        },
    )


def read_spec(path: Path) -> Stored | None:
    """A revision's spec; None if there is none. Raises ValueError for nonsense."""
    found = files.read_json(path)
    return None if found is None else _as_value(_stored, found)


def write_spec(path: Path, stored: Stored) -> None:
    """Write a revision's spec, readable by the owner only: it holds the environment's values."""
    spec = stored.spec
    bundle = spec.bundle
    files.write_json(
        path,
        {
            "id": spec.id,
            "project": spec.project,
            "bundle": {"name": bundle.name, "version": bundle.version, "digest": bundle.digest},
            "bundle_path": spec.bundle_path,
            "rollout": spec.rollout,
            "replicas": spec.replicas,
            "env": dict(spec.env),
            "created": stored.created,
        },
        mode=0o600,
    )


def read_report(layout: Layout) -> Report:
    """What the supervisor last told; empty if it never did, or told nonsense."""
    try:
        found = files.read_json(layout.report)
        return Report() if found is None else _as_value(_report, found)
    except (ValueError, OSError):
        return Report()


def write_report(layout: Layout, report: Report) -> None:
    """Replace the report. Without fsync: it is rewritten often, and stale after a reboot anyway."""
    value = {
        "revisions": {
            name: {
                "state": one.state.value,
                "ready": list(one.ready),
                "restarts": one.restarts,
                "message": one.message,
                "been_ready": one.been_ready,
                "attempt": one.attempt,
            }
            for name, one in report.revisions.items()
        },
        "applied": report.applied and [report.applied[0], _traffic_json(report.applied[1])],
        "trouble": list(report.trouble),
        "version": report.version,
    }
    temporary = layout.report.with_suffix(f".{os.getpid()}.tmp")
    temporary.write_text(json.dumps(value, indent=1, sort_keys=True))
    temporary.replace(layout.report)


def _as_value(read: Callable[[Any], _Value], found: Any) -> _Value:
    """Map what a malformed file can raise to ValueError: the caller decides what that means."""
    try:
        return read(found)
    except (TypeError, KeyError, AttributeError, IndexError) as error:
        raise ValueError(f"not of the expected form: {error!r}") from error


def _desired(found: Any) -> Desired:
    listen = found["listen"]
    return Desired(
        Listen(str(listen["host"]), int(listen["port"]), listen["envoy"]),
        int(found["generation"]),
        _traffic(found["traffic"]),
        {RevisionId(name): float(grace) for name, grace in found["deleting"].items()},
        {RevisionId(name): int(count) for name, count in found["attempts"].items()},
        bool(found["destroy"]),
    )


def _stored(found: Any) -> Stored:
    bundle = found["bundle"]
    spec = RevisionSpec(
        id=RevisionId(str(found["id"])),
        project=str(found["project"]),
        bundle=BundleRef(str(bundle["name"]), str(bundle["version"]), str(bundle["digest"])),
        bundle_path=str(found["bundle_path"]),
        rollout=str(found["rollout"]),
        replicas=int(found["replicas"]),
        env=Sealed({str(name): str(value) for name, value in found["env"].items()}),
    )
    return Stored(spec, float(found["created"]))


def _report(found: Any) -> Report:
    applied = found["applied"]
    return Report(
        {RevisionId(name): _revision_report(one) for name, one in found["revisions"].items()},
        applied and (int(applied[0]), _traffic(applied[1])),
        tuple(str(sentence) for sentence in found["trouble"]),
        str(found["version"]),
    )


def _revision_report(found: Any) -> RevisionReport:
    return RevisionReport(
        RevisionState(found["state"]),
        tuple(int(number) for number in found["ready"]),
        int(found["restarts"]),
        str(found["message"]),
        bool(found["been_ready"]),
        int(found["attempt"]),
    )


def _traffic_json(traffic: Traffic) -> dict[str, object]:
    return {
        "weights": dict(traffic.weights),
        "stable": traffic.stable,
        "fallback": list(traffic.fallback),
    }


def _traffic(found: Any) -> Traffic:
    return Traffic(
        {RevisionId(name): int(share) for name, share in found["weights"].items()},
        found["stable"] and RevisionId(str(found["stable"])),
        tuple(RevisionId(str(name)) for name in found["fallback"]),
    )
