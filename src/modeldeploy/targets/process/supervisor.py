"""The supervisor: one loop that makes what is like what is wanted, and tells how it stands.

It is level-triggered: each round reads the wishes, looks at every process, does the next small
thing, and remembers nothing that the next supervisor could not find out again. So it can be killed
at any instant; a standby (`pair`) takes over at once and adopts the running workers and Envoy.

SIGTERM ends the supervision and its standby and leaves workers and Envoy serving: at machine
shutdown each gets its own SIGTERM, and nothing is started again in between. `mdeploy up` resumes.
"""

from __future__ import annotations

import os
import shutil
import sys
import time
import traceback
from collections.abc import Callable
from functools import partial
from pathlib import Path

from modeldeploy import __version__
from modeldeploy.model import RevisionId
from modeldeploy.targets.process import logs, pair, records
from modeldeploy.targets.process.bells import Bells
from modeldeploy.targets.process.gateway import Gateway
from modeldeploy.targets.process.layout import Layout
from modeldeploy.targets.process.provisioning import BundleProvisioning, Provisioning
from modeldeploy.targets.process.records import Desired, Report
from modeldeploy.targets.process.removal import ENDS_WITHIN, Removal
from modeldeploy.targets.process.revision import Revision

_IDLE, _BUSY, _HURRIED = 0.25, 0.05, 0.003
_LOOK_AGAIN = 1.0
_HOUSEKEEPING = 5.0
_GONE_FOR = 3.0
_WISHES = "desired.json"


class Supervisor:
    """Supervises one target until that is destroyed, or until SIGTERM."""

    def __init__(self, layout: Layout, provisioning: Provisioning, active: pair.Active) -> None:
        self._layout = layout
        self._provisioning = provisioning
        self._active = active
        self._told = records.read_report(layout)
        self._gateway = Gateway(layout)
        self._revisions: dict[RevisionId, Revision] = {}
        self._removals: dict[RevisionId, Removal] = {}
        self._desired: Desired | None = None
        self._desired_seen: tuple[int, ...] = ()
        self._nonsense: dict[str, str] = {}
        self._look_at = self._housekeeping_at = 0.0
        self._gone_since: float | None = None
        self._done = self._terminated = False
        self._last_trace = ""
        self._bells = Bells(layout.doorbell)

    def run(self) -> None:
        """Work until there is nothing left to do here."""
        self._bells.listen(self._terminate)
        self._guarded(self._take_over)
        while not self._done:
            probes = [probe for revision in self._revisions.values() for probe in revision.probes]
            rung = self._bells.wait(self._pause(), probes)
            if self._terminated:
                self._active.dismiss_standby()
                return
            now = time.monotonic()
            self._guarded(partial(self._round, now, rung=rung))

    def _take_over(self) -> None:
        """Before anything else: correct what an earlier supervisor told and what is no longer so."""
        now = time.monotonic()
        self._read_wishes(now)
        self._read_revisions()
        if self._desired is not None:
            self._tell(now)

    def _round(self, now: float, *, rung: bool) -> None:
        if rung or now >= self._look_at:
            self._look_at = now + _LOOK_AGAIN
            self._read_wishes(now)
            self._read_revisions()
        desired = self._desired
        if desired is None:
            self._without_wishes(now)
        elif desired.destroy:
            self._dismantle(now)
        else:
            self._supervise(now, desired)

    def _supervise(self, now: float, desired: Desired) -> None:
        for name, revision in list(self._revisions.items()):
            if name in desired.deleting:
                self._guarded(partial(self._remove, now, name, desired))
            else:
                self._removals.pop(name, None)
                revision.retry(desired.attempts.get(name, 0))
                self._guarded(partial(revision.step, now))
        self._guarded(partial(self._route, now, desired))
        self._guarded(partial(self._active.keep_standby, now))
        self._guarded(partial(self._tell, now))
        if now >= self._housekeeping_at:
            self._housekeeping_at = now + _HOUSEKEEPING
            self._bound_logs()

    def _route(self, now: float, desired: Desired) -> None:
        self._gateway.step(now, desired, self._upstreams(desired))

    def _upstreams(self, desired: Desired) -> dict[RevisionId, tuple[Path, ...]]:
        """The revisions that the router should know: any that was ever ready, or is routed to."""
        routed = {*desired.traffic.weights, *self._gateway.routed}
        leaving = {name for name, removal in self._removals.items() if removal.out_of_router}
        return {
            name: revision.addresses
            for name, revision in self._revisions.items()
            if (revision.been_ready or name in routed) and name not in leaving
        }

    def _remove(self, now: float, name: RevisionId, desired: Desired) -> None:
        removal = self._removals.setdefault(name, Removal(now, desired.deleting[name]))
        if removal.step(now, name, self._revisions[name], self._gateway):
            self._forget(name)

    def _forget(self, name: RevisionId) -> None:
        """The end of a deletion, unless it was called off in the meantime."""
        with records.changing(self._layout):
            desired = records.read_desired(self._layout)
            if desired is None or name not in desired.deleting:
                return
            self._layout.revision(name).remove()
            records.write_desired(self._layout, desired.without(name))
        del self._revisions[name]
        del self._removals[name]

    def _dismantle(self, now: float) -> None:
        """Take everything down: first no new requests, then Envoy, then the workers."""
        self._guarded(partial(self._tell, now))
        if not self._gateway.shut(now):
            return
        gone = [revision.stop(now, ENDS_WITHIN) for revision in self._revisions.values()]
        if all(gone):
            self._finish()

    def _without_wishes(self, now: float) -> None:
        """There is no target here (any more), or its wishes make no sense: then wait for better ones."""
        if self._gone_since is not None:
            self._leave()
            return
        self._guarded(partial(self._active.keep_standby, now))
        self._guarded(partial(self._tell, now))

    def _finish(self) -> None:
        """Nothing runs any more: remove the files, unless they were removed from under us."""
        if self._gone_since is not None:
            shutil.rmtree(self._layout.sockets, ignore_errors=True)
            self._leave()
            return
        with records.changing(self._layout):
            desired = records.read_desired(self._layout)
            if desired is None or desired.destroy:
                self._leave()
                self._layout.clear()

    def _leave(self) -> None:
        self._active.dismiss_standby()
        self._active.forget_locks()
        self._done = True

    def _read_wishes(self, now: float) -> None:
        try:
            found = self._layout.desired.stat()
        except FileNotFoundError:
            self._wishes_are_gone(now)
            return
        self._gone_since = None
        seen = (found.st_ino, found.st_mtime_ns, found.st_size)
        if seen != self._desired_seen:
            self._desired_seen = seen
            self._understood(_WISHES, self._read_desired)

    def _read_desired(self) -> None:
        self._desired = records.read_desired(self._layout) or self._desired

    def _wishes_are_gone(self, now: float) -> None:
        """Somebody removed the files: nobody could manage these processes any more, so they end too."""
        self._gone_since = now if self._gone_since is None else self._gone_since
        if self._desired is not None and now - self._gone_since >= _GONE_FOR:
            self._desired = Desired(self._desired.listen, destroy=True)

    def _read_revisions(self) -> None:
        for path in sorted(self._layout.revisions.glob("*/spec.json")):
            name = RevisionId(path.parent.name)
            if name not in self._revisions:
                self._understood(f"{name}/spec.json", partial(self._take_up, name))

    def _take_up(self, name: RevisionId) -> None:
        layout = self._layout.revision(name)
        stored = records.read_spec(layout.spec)
        if stored is not None:
            last = self._told.revisions.get(name)
            self._revisions[name] = Revision(stored.spec, layout, self._provisioning, last)

    def _understood(self, what: str, read: Callable[[], None]) -> None:
        """Read a file; nonsense in it is told, and stops nothing else."""
        try:
            read()
            self._nonsense.pop(what, None)
        except (ValueError, OSError) as error:
            self._nonsense[what] = f"{what} makes no sense and is left alone: {error}"

    def _tell(self, now: float) -> None:
        """Write the report, if there is anything new in it."""
        trouble = [self._gateway.trouble, *self._nonsense.values()]
        report = Report(
            {name: revision.report(now) for name, revision in self._revisions.items()},
            self._gateway.applied,
            tuple(sentence for sentence in trouble if sentence),
            __version__,
        )
        if report != self._told:
            records.write_report(self._layout, report)
            self._told = report

    def _bound_logs(self) -> None:
        for path in (self._layout.supervisor_log, self._layout.router_log):
            logs.bound(path)
        for revision in self._revisions.values():
            for path in revision.logs:
                logs.bound(path)

    def _pause(self) -> float:
        if self._gateway.hurried:
            return _HURRIED
        busy = self._gateway.busy or self._removals or any(one.busy for one in self._revisions.values())
        return _BUSY if busy else _IDLE

    def _terminate(self) -> None:
        self._terminated = True

    def _guarded(self, act: Callable[[], None]) -> None:
        """No mistake in one part, ours included, may end the supervision of the others."""
        try:
            act()
        except Exception:  # noqa: BLE001 (see above)
            trace = traceback.format_exc()
            if trace != self._last_trace:
                self._last_trace = trace
                logs.note(self._layout.supervisor_log, trace)


def main(arguments: list[str], provisioning: Provisioning | None = None) -> int:
    """Supervise the target whose folder is the first argument; stand by while another process does."""
    os.umask(0o077)  # logs, reports, and what services write: this user's, whatever the terminal's mask was
    if pair.DETACH in arguments:
        pair.detach()
    layout = Layout(Path(arguments[0]))
    active = pair.stand_by(layout)
    if active is not None:
        Supervisor(layout, provisioning or BundleProvisioning(), active).run()
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
