"""The verbs of the process target: write what is wanted, read what is, and never wait.

`status` loads this module: what only changes need is imported where a change is made.
The work is done by the supervisor, which each changing verb starts if none is at work. So a command
may be killed at any instant: what it asked for is either written down, whole, or was never asked.
"""

from __future__ import annotations

import re
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace

from modeldeploy import files
from modeldeploy.errors import TargetError, TargetRefused, TargetUnavailable
from modeldeploy.model import (
    Capabilities,
    Finding,
    HttpRequest,
    HttpResponse,
    Level,
    Observed,
    RevisionId,
    RevisionSpec,
    RevisionState,
    Sample,
    Traffic,
)
from modeldeploy.router.control import Router
from modeldeploy.store import FolderStore
from modeldeploy.targets.process import records, sight
from modeldeploy.targets.process.boundary import only_ours
from modeldeploy.targets.process.layout import Layout
from modeldeploy.targets.process.records import Desired, Listen, Stored
from modeldeploy.targets.process.sight import Sight

_ID = re.compile(r"[a-z0-9][a-z0-9.-]{0,200}")
_LOOPBACK = re.compile(r"127\.[\d.]+|::1|localhost")


class ProcessTarget:
    """Revisions as processes on this machine, behind an Envoy; implements `modeldeploy.target.Target`.

    ``options`` are the keys of the target's table: ``host`` (default 127.0.0.1), ``port``, ``envoy``.
    ``supervisor`` replaces the program that supervises, for tests.
    """

    def __init__(
        self,
        project: str,
        name: str,
        options: Mapping[str, object],
        *,
        supervisor: Sequence[str] | None = None,
    ) -> None:
        self._name = name
        self._listen = _listen(options)
        self._supervisor = supervisor
        self._layout = Layout.of(project, name)
        self._router = Router(self._layout.envoy, self._layout.admin)

    @property
    def capabilities(self) -> Capabilities:
        return Capabilities(strategies=frozenset({"rolling", "blue-green", "canary"}))

    @property
    def store(self) -> FolderStore:
        return FolderStore(self._layout.rollouts)

    def check(self) -> Sequence[Finding]:
        with only_ours(self._name):
            from modeldeploy.router import envoy

            listen = self._listen
            found = [envoy.finding(listen.envoy if listen else None), *self._check_address()]
            if squatted := self._layout.squatted:
                found.append(Finding("sockets", Level.ERROR, squatted.message, squatted.hint or ""))
            return found

    def observe(self) -> Observed:
        with only_ours(self._name):
            found = sight.look(self._layout)
            if found is None:
                return Observed(up=False, endpoint=None)
            return sight.observe(found, self._router, self._listen, self._name)

    def create(self, spec: RevisionSpec) -> None:
        if not _ID.fullmatch(spec.id):
            raise TargetRefused(f"{spec.id!r} is no revision id; expected letters a-z, digits, '.' and '-'")
        with only_ours(self._name):
            with records.changing(self._layout, make=True):
                before = records.read_desired(self._layout)
                desired = self._ready_for(before)
                self._add(spec)
                records.write_desired(self._layout, self._wanting(spec.id, desired))
            self._wake(must_start=before is None)

    def set_traffic(self, traffic: Traffic) -> None:
        if not traffic.weights and not self._layout.desired.exists():
            return  # a way back from a first rollout that made nothing
        with only_ours(self._name), self._changing() as found:
            for revision in {*traffic.weights, *traffic.fallback, *filter(None, [traffic.stable])}:
                _insist_on(found, revision, share=traffic.weight(revision))
            records.write_desired(self._layout, found.desired.with_traffic(traffic))

    def sample(self, revision: RevisionId) -> Sample:
        with only_ours(self._name):
            return self._router.sample(revision)

    def call(self, revision: RevisionId, request: HttpRequest) -> HttpResponse:
        with only_ours(self._name):
            from modeldeploy.targets.process import calling

            found = self._found(revision)
            sockets = sight.ready_sockets(found, revision)
            if not sockets:
                status = found.find(revision)
                raise TargetUnavailable(
                    f"{revision} has no worker that is ready: {status and status.message}"
                )
            return calling.call(sockets[0], request)

    def delete(self, revision: RevisionId, *, grace: float) -> None:
        with only_ours(self._name):
            found = sight.look(self._layout)
            if found is None or found.desired.destroy or found.find(revision) is None:
                return
            with self._changing() as found:
                self._insist_on_no_weight(revision, found)
                deleting = {**found.desired.deleting, revision: grace}
                records.write_desired(self._layout, replace(found.desired, deleting=deleting))

    def logs(self, revision: RevisionId, *, tail: int, follow: bool = False) -> Iterator[str]:
        with only_ours(self._name):
            from modeldeploy.targets.process import logs

            stored = next(one for one in self._found(revision).stored if one.spec.id == revision)
            layout = self._layout.revision(revision)
            workers = [layout.worker_log(number) for number in range(max(1, stored.spec.replicas))]
            paths, several = [layout.preparation_log(), *workers], len(workers) > 1
            ends = logs.sizes(paths)
            yield from logs.tail_all(paths, tail, labelled=several)
            if follow:
                yield from logs.follow(paths, ends, labelled=several)

    def start(self) -> None:
        with only_ours(self._name):
            found = sight.look(self._layout)
            if found is None or found.desired.destroy:
                return
            self._layout.make()
            with self._changing() as found:
                desired = found.desired
                for revision, report in found.report.revisions.items():
                    if report.state is RevisionState.FAILED:
                        desired = desired.try_again(revision)
                records.write_desired(self._layout, desired)

    def destroy(self) -> None:
        with only_ours(self._name):
            if not self._layout.desired.exists():
                return
            with records.changing(self._layout, make=True):
                try:
                    desired = records.read_desired(self._layout)
                except ValueError:  # whatever they say: they are to go
                    desired = Desired(self._listen or _NOWHERE)
                if desired is not None:
                    records.write_desired(self._layout, replace(desired, destroy=True))
            self._wake()

    @contextmanager
    def _changing(self) -> Iterator[Sight]:
        """What there is, under the lock that lets it be changed; then the supervisor is woken."""
        if not self._layout.desired.exists():
            raise TargetRefused(
                f"nothing was ever deployed to {self._name}",
                hint=f"deploy first: mdeploy deploy {self._name}",
            )
        with records.changing(self._layout):
            found = sight.look(self._layout)
            if found is None or found.desired.destroy:
                raise TargetUnavailable(f"target {self._name} is being destroyed")
            yield found
        self._wake()

    def _wake(self, *, must_start: bool = False) -> None:
        """See to it that a supervisor is at work, and that it looks at once."""
        from modeldeploy.targets.process import bells, spawn

        if must_start or not files.is_locked(self._layout.active_lock):
            spawn.spawn(self._layout, self._supervisor or spawn.SUPERVISOR)
        bells.ring(self._layout.doorbell)

    def _found(self, revision: RevisionId) -> Sight:
        found = sight.look(self._layout)
        if found is None or found.find(revision) is None:
            raise _unknown(revision)
        return found

    def _ready_for(self, desired: Desired | None) -> Desired:
        """The wishes, with the endpoint where the project file says it is; begun, if there are none."""
        if desired is not None and desired.destroy:
            raise TargetUnavailable(f"target {self._name} is being destroyed")
        listen = self._listen
        if listen is None:
            raise TargetRefused(f"targets.{self._name}.port: missing; expected a number such as 8080")
        occupied = self._occupied(desired)
        if occupied:
            raise TargetRefused(occupied, hint=f"change `port` of [targets.{self._name}], or free it")
        return replace(desired, listen=listen) if desired else Desired(listen)

    def _occupied(self, desired: Desired | None) -> str | None:
        """Why nothing can listen where the project file says; None if it can, or if we do already."""
        listen = self._listen
        there = desired is not None and files.is_locked(self._layout.router_lock)
        if listen is None or (there and desired and _address(desired.listen) == _address(listen)):
            return None
        from modeldeploy.targets.process import ports

        return ports.why_not(listen.host, listen.port)

    def _add(self, spec: RevisionSpec) -> None:
        layout = self._layout.revision(spec.id)
        layout.make()
        if not layout.spec.exists():
            records.write_spec(layout.spec, Stored(spec, time.time()))

    def _wanting(self, revision: RevisionId, desired: Desired) -> Desired:
        """Wishes that include a revision: its deletion called off, and tried again if it gave up."""
        report = records.read_report(self._layout).revisions.get(revision)
        deleting = {name: grace for name, grace in desired.deleting.items() if name != revision}
        desired = replace(desired, deleting=deleting)
        gave_up = report is not None and report.state is RevisionState.FAILED
        return desired.try_again(revision) if gave_up else desired

    def _insist_on_no_weight(self, revision: RevisionId, found: Sight) -> None:
        try:
            applied = self._router.applied() or found.report.applied
        except TargetError:
            applied = found.report.applied
        weight = max(found.desired.traffic.weight(revision), applied[1].weight(revision) if applied else 0)
        if weight:
            raise TargetRefused(f"{revision} has {weight} % of the traffic and cannot be removed")

    def _check_address(self) -> list[Finding]:
        listen = self._listen
        if listen is None:
            return []
        found = records.read_desired(self._layout)
        occupied = self._occupied(found)
        if occupied:
            remedy = f"change `port` of [targets.{self._name}], or free it"
            return [Finding("port", Level.ERROR, occupied, remedy)]
        findings = [Finding("port", Level.OK, f"{listen.endpoint} is free for the endpoint, or ours")]
        if not _LOOPBACK.fullmatch(listen.host):
            findings.append(
                Finding(
                    "host",
                    Level.WARNING,
                    f"the endpoint will listen on {listen.host}: other machines reach it, without a password",
                    f'set host = "127.0.0.1" in [targets.{self._name}] unless that is what you want',
                )
            )
        return findings


_NOWHERE = Listen("127.0.0.1", 0)


def _listen(options: Mapping[str, object]) -> Listen | None:
    """Where the options say that the endpoint is; None where they do not say it."""
    host, port, envoy = options.get("host", "127.0.0.1"), options.get("port"), options.get("envoy")
    if not isinstance(port, int) or not isinstance(host, str):
        return None
    return Listen(host, port, envoy if isinstance(envoy, str) else None)


def _address(listen: Listen) -> tuple[str, int]:
    return listen.host, listen.port


def _insist_on(found: Sight, revision: RevisionId, *, share: int) -> None:
    """Refuse a revision that is not there, and one that would get its first requests and is not ready.

    One that has requests already may keep them: a way back must not be barred because the revision to
    return to limps. So one of which some workers are ready may get them as well.
    """
    status = found.find(revision)
    if status is None or status.state is RevisionState.DELETING:
        raise _unknown(revision)
    has_some = found.report.applied is not None and found.report.applied[1].weight(revision) > 0
    limps = status.state is RevisionState.DEGRADED and status.ready_replicas > 0
    if share and not (status.state is RevisionState.READY or limps or has_some):
        raise TargetRefused(f"{revision} is not ready: {status.state.value} ({status.message})")


def _unknown(revision: RevisionId) -> TargetRefused:
    return TargetRefused(f"there is no revision {revision} here", hint="see what there is: mdeploy status")
