"""A target that is watched at every call: it must return soon, and raise only what it may."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from modeldeploy.clock import Clock
from modeldeploy.errors import TargetRefused, TargetUnavailable
from modeldeploy.model import (
    Capabilities,
    Finding,
    HttpRequest,
    HttpResponse,
    Observed,
    RevisionId,
    RevisionSpec,
    Sample,
    Traffic,
)
from modeldeploy.target import RolloutStore, Target


class Witness:
    """Passes each verb on and fails the test where it breaks rule 2 or rule 4 of `Target`."""

    def __init__(self, target: Target, clock: Clock, bound: float) -> None:
        self._target = target
        self._clock = clock
        self._bound = bound

    @property
    def capabilities(self) -> Capabilities:
        return self._target.capabilities

    @property
    def store(self) -> RolloutStore:
        return self._target.store

    def check(self) -> Sequence[Finding]:
        with self._watched("check"):
            return self._target.check()

    def observe(self) -> Observed:
        with self._watched("observe"):
            return self._target.observe()

    def create(self, spec: RevisionSpec) -> None:
        with self._watched("create"):
            self._target.create(spec)

    def set_traffic(self, traffic: Traffic) -> None:
        with self._watched("set_traffic"):
            self._target.set_traffic(traffic)

    def sample(self, revision: RevisionId) -> Sample:
        with self._watched("sample"):
            return self._target.sample(revision)

    def call(self, revision: RevisionId, request: HttpRequest) -> HttpResponse:
        with _only_our_errors("call"):
            return self._target.call(revision, request)

    def delete(self, revision: RevisionId, *, grace: float) -> None:
        with self._watched("delete"):
            self._target.delete(revision, grace=grace)

    def logs(self, revision: RevisionId, *, tail: int, follow: bool = False) -> Iterator[str]:
        with _only_our_errors("logs"):
            yield from self._target.logs(revision, tail=tail, follow=follow)

    def start(self) -> None:
        with self._watched("start"):
            self._target.start()

    def destroy(self) -> None:
        with self._watched("destroy"):
            self._target.destroy()

    @contextmanager
    def _watched(self, verb: str) -> Iterator[None]:
        began = self._clock.monotonic()
        with _only_our_errors(verb):
            yield
        took = self._clock.monotonic() - began
        if took > self._bound:
            raise AssertionError(f"{verb} took {took:.2f} s; a verb begins a change and returns")


@contextmanager
def _only_our_errors(verb: str) -> Iterator[None]:
    try:
        yield
    except (TargetUnavailable, TargetRefused, GeneratorExit):
        raise
    except BaseException as error:
        raise AssertionError(
            f"{verb} raised {error!r}; only TargetUnavailable and TargetRefused may be"
        ) from error
