"""What a target looks like from outside: the supervisor's report, checked against the kernel and Envoy.

The report may be old (the supervisor may be dead, the machine may have been restarted), so no
revision is called ready on its word alone: each ready worker's lock must be held by a living process.
"""

from __future__ import annotations

import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from modeldeploy import __version__, files
from modeldeploy.errors import TargetDrifted, TargetUnavailable
from modeldeploy.model import Observed, RevisionId, RevisionState, RevisionStatus, Traffic
from modeldeploy.router.control import Router
from modeldeploy.router.ingress import Layout as RouterFiles
from modeldeploy.router.traffic import decode
from modeldeploy.targets.process import locks, records
from modeldeploy.targets.process.layout import Layout
from modeldeploy.targets.process.records import Desired, Listen, Report, RevisionReport, Stored

_DEAF_AFTER = 10.0
_RUNS = {RevisionState.READY, RevisionState.DEGRADED}


@dataclass(frozen=True, slots=True)
class Sight:
    """One look at a target's files and locks."""

    layout: Layout
    desired: Desired
    report: Report
    stored: tuple[Stored, ...]
    supervised: bool
    nonsense: tuple[str, ...] = ()

    def status(self, stored: Stored) -> RevisionStatus:
        """One revision as it is now."""
        spec = stored.spec
        report = self.report.revisions.get(spec.id)
        ready = self.ready_workers(spec.id)
        state, message = self._state(stored, report, len(ready))
        return RevisionStatus(
            spec.id,
            spec.bundle,
            state,
            replicas=max(1, spec.replicas),
            ready_replicas=len(ready),
            created=stored.created,
            rollout=spec.rollout,
            restarts=report.restarts if report else 0,
            message=message,
        )

    def find(self, revision: RevisionId) -> RevisionStatus | None:
        """The revision of that id, None where there is none."""
        return next((self.status(one) for one in self.stored if one.spec.id == revision), None)

    def ready_workers(self, revision: RevisionId) -> tuple[int, ...]:
        """Numbers of the workers that were ready when last probed and that live now."""
        report = self.report.revisions.get(revision)
        layout = self.layout.revision(revision)
        numbers = report.ready if report else ()
        return tuple(number for number in numbers if files.is_locked(layout.worker_lock(number)))

    def _state(self, stored: Stored, report: RevisionReport | None, ready: int) -> tuple[RevisionState, str]:
        if self.desired.destroy or stored.spec.id in self.desired.deleting:
            return RevisionState.DELETING, "requests in flight finish, then it is removed"
        if not self.supervised and not self._has_a_worker(stored):
            return RevisionState.STOPPED, "not running"
        if report is None:
            return RevisionState.PENDING, "waits for the supervisor"
        if report.state in _RUNS and ready < max(1, stored.spec.replicas):
            return RevisionState.DEGRADED, report.message or "a worker has just ended"
        return report.state, report.message

    def _has_a_worker(self, stored: Stored) -> bool:
        layout = self.layout.revision(stored.spec.id)
        return any(
            files.is_locked(layout.worker_lock(number)) for number in range(max(1, stored.spec.replicas))
        )


def look(layout: Layout) -> Sight | None:
    """A look at a target; None where there is none. Raises ValueError if its wishes make no sense."""
    desired = records.read_desired(layout)
    if desired is None:
        return None
    stored, nonsense = [], []
    for path in sorted(layout.revisions.glob("*/spec.json")):
        try:
            one = records.read_spec(path)
        except ValueError as error:
            nonsense.append(f"{path} makes no sense and is left alone: {error}")
        else:
            stored += [one] if one else []
    stored.sort(key=lambda one: (one.created, one.spec.id))
    supervised = files.is_locked(layout.active_lock)
    return Sight(layout, desired, records.read_report(layout), tuple(stored), supervised, tuple(nonsense))


def observe(sight: Sight, router: Router, listen: Listen | None, name: str) -> Observed:
    """All that can be told of the target of that name. ``listen`` is what the project file says."""
    revisions = tuple(sight.status(one) for one in sight.stored)
    squatted = sight.layout.squatted
    up = squatted is None and router.live()
    traffic, notes = _traffic(sight, router) if up else (_last_traffic(sight), [])
    notes += [squatted.message] if squatted else []
    return Observed(
        up=up,
        endpoint=sight.desired.listen.endpoint,
        revisions=revisions,
        traffic=traffic,
        notes=(*notes, *_notes(sight, listen, name, up=up)),
    )


def _traffic(sight: Sight, router: Router) -> tuple[Traffic, list[str]]:
    try:
        applied = router.applied()
    except TargetDrifted as error:
        return _last_traffic(sight), [error.message]
    except TargetUnavailable:
        return _last_traffic(sight), []
    return applied[1] if applied else Traffic(), []


def _last_traffic(sight: Sight) -> Traffic:
    """What the router was last told: that is what it begins with when it comes back."""
    try:
        routes = files.read_json(RouterFiles(sight.layout.envoy).routes)
        return decode(routes["version_info"])[1]
    except (ValueError, TypeError, KeyError):
        return sight.report.applied[1] if sight.report.applied else Traffic()


def _notes(sight: Sight, listen: Listen | None, name: str, *, up: bool) -> list[str]:
    notes = [*sight.nonsense, *_supervision(sight, name, up=up)]
    wanted = sight.desired.listen
    if listen and (listen.host, listen.port) != (wanted.host, wanted.port):
        notes.append(f"the project file says {listen.endpoint}; the next deploy moves the endpoint there")
    return notes


def _supervision(sight: Sight, name: str, *, up: bool) -> list[str]:
    report = sight.report
    if sight.supervised and report.version not in {"", __version__}:
        pid = locks.pid_in(sight.layout.active_lock)
        renew = f"end it (kill {pid}: users are served on), then: mdeploy up {name}"
        return [*report.trouble, f"the supervisor runs mdeploy {report.version}; {renew}"]
    if sight.supervised:
        return [*report.trouble] or _deafness(sight)
    if sight.desired.destroy:
        return [f"its removal was interrupted; 'mdeploy destroy {name}' goes on with it"]
    if up:
        gone = "nothing that dies is started again, since the supervisor is gone"
    else:
        gone = "nothing runs, after a restart of the machine perhaps"
    return [f"{gone}; 'mdeploy up {name}' brings it back"]


def _deafness(sight: Sight) -> list[str]:
    """A supervisor that lives and takes nothing up: stopped by a signal, or hung."""
    applied = sight.report.applied
    if applied and applied[0] == sight.desired.generation:
        return []
    with suppress(OSError):
        # Also not before it came to work: one that has just taken over needs its moment.
        since = (sight.layout.desired, sight.layout.active_lock)
        asked = time.time() - max(path.stat().st_mtime for path in since)
        if asked > _DEAF_AFTER:
            pid = locks.pid_in(sight.layout.active_lock)
            remedy = f"end it (kill -9 {pid}), and its standby takes over; users are served on"
            return [f"the supervisor has not taken up what was asked of it {asked:.0f} s ago: {remedy}"]
    return []


def ready_sockets(sight: Sight, revision: RevisionId) -> list[Path]:
    """Where the revision's ready workers listen."""
    layout = sight.layout.revision(revision)
    return [layout.worker_socket(number) for number in sight.ready_workers(revision)]
