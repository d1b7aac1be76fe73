"""Envoy under supervision: kept running, told what to route, and drained before it is stopped."""

from __future__ import annotations

import signal
from collections.abc import Set as AbstractSet
from pathlib import Path

from modeldeploy.errors import ModelDeployError, TargetUnavailable
from modeldeploy.model import RevisionId, Traffic
from modeldeploy.router import envoy
from modeldeploy.router.control import Router
from modeldeploy.router.ingress import Ingress
from modeldeploy.targets.process import logs, ports
from modeldeploy.targets.process.crashes import Crashes
from modeldeploy.targets.process.layout import Layout
from modeldeploy.targets.process.lifeline import Command, Lifeline
from modeldeploy.targets.process.provisioning import worker_environment
from modeldeploy.targets.process.records import Desired, Listen
from modeldeploy.targets.process.routing import Routing, Upstreams

HANGS_AFTER = 20.0
"""An Envoy whose admin interface gives no answer for so long is killed and started again."""

DRAINS_WITHIN = 10.0
ENDS_WITHIN = 5.0
_ASK_AGAIN_AFTER = 0.1
_TELL_AFTER = 1.0


class Gateway:
    """One target's Envoy, found running or started. Times are monotonic seconds."""

    def __init__(self, layout: Layout) -> None:
        self._layout = layout
        self._router = Router(layout.envoy, layout.admin)
        self._routing = Routing(self._router)
        self._envoy = Lifeline(layout.router_lock)
        self._running = self._envoy.alive
        self._program: Path | None = None
        self._listen: Listen | None = None
        self._crashes = Crashes()
        self._start_at = 0.0
        self._trouble = ""
        self._silent_since: float | None = None
        self._ask_at = 0.0
        self._drain_until: float | None = None
        self._kill_at: float | None = None

    @property
    def applied(self) -> tuple[int, Traffic] | None:
        """Generation and traffic that Envoy was last seen to apply."""
        return self._routing.applied

    @property
    def routed(self) -> AbstractSet[RevisionId]:
        """Revisions that Envoy sends requests to, as far as is known."""
        return self._routing.routed

    @property
    def trouble(self) -> str:
        """What is out of order, for people."""
        return self._trouble or self._routing.trouble

    @property
    def hurried(self) -> bool:
        """A change is about to come through: look again at once."""
        return self._running and self._routing.hurried

    @property
    def busy(self) -> bool:
        """Something is to be done: look again soon."""
        return not self._running or self._routing.pending

    def knows(self, revision: RevisionId) -> bool:
        """True until Envoy, if it runs, has let go of a revision that is no longer wanted."""
        return self._running and self._routing.knows(revision)

    def in_flight(self, revision: RevisionId) -> int | None:
        """Requests that a revision has to finish; None if Envoy does not answer."""
        try:
            return self._router.in_flight(revision) if self._running else 0
        except TargetUnavailable:
            return None

    def step(self, now: float, desired: Desired, upstreams: Upstreams) -> None:
        """Keep Envoy running, and bring it nearer to what is wanted."""
        self._keep_running(now, desired.listen)
        if not self._running or now < self._ask_at:
            return
        try:
            self._listen_where(desired.listen)
            self._routing.step(now, desired, upstreams, self._program)
            self._silent_since, self._trouble = None, ""
        except TargetUnavailable as error:
            self._no_answer(now, error)

    def shut(self, now: float) -> bool:
        """Let requests in flight finish, then stop Envoy; True when it is gone."""
        if not self._envoy.alive:
            self._running = False
            return True
        if self._drain_until is None:
            self._drain_until = now + DRAINS_WITHIN
            self._begin_drain()
        elif now >= self._drain_until or not self._requests():
            self._end(now)
        return False

    def _keep_running(self, now: float, listen: Listen) -> None:
        if self._envoy.alive:
            return
        if self._running:
            self._running = False
            how, pause = self._envoy.end(), self._crashes.add(now)
            self._start_at = now + pause if self._crashes.looping(now) else now
            self._trouble = f"the router {how}{self._last_line()}"
            logs.note(self._layout.router_log, f"{self._trouble}; it is started again")
        if now >= self._start_at:
            self._start(now, listen)

    def _start(self, now: float, listen: Listen) -> None:
        self._start_at = now + 1.0
        occupied = ports.why_not(listen.host, listen.port)
        if occupied:
            self._trouble = f"the router cannot start: {occupied}"
            return
        try:
            self._program = envoy.locate(listen.envoy)
            self._layout.make()  # in case somebody tidied up in /tmp
            self._router.write_static(_ingress(listen))
            self._routing.write_for_start()
            command = Command(envoy.argv(self._program, self._router.layout.bootstrap), worker_environment())
            self._envoy.start(command, log=self._layout.router_log, cwd=self._layout.envoy)
            self._running, self._listen, self._silent_since = True, listen, None
        except (ModelDeployError, OSError) as error:
            self._trouble = f"the router cannot start: {error}"

    def _listen_where(self, listen: Listen) -> None:
        """Tell a running Envoy where to listen, if that is new or not known to us."""
        if listen != self._listen:
            self._router.write_static(_ingress(listen))
            self._program = envoy.locate(listen.envoy)
            self._listen = listen

    def _no_answer(self, now: float, error: TargetUnavailable) -> None:
        self._ask_at = now + _ASK_AGAIN_AFTER
        if self._silent_since is None:
            self._silent_since = now
        silent = now - self._silent_since
        if silent >= _TELL_AFTER:
            self._trouble = f"the router has not answered for {silent:.0f} s"
        if silent >= HANGS_AFTER:
            logs.note(self._layout.router_log, f"no answer for {HANGS_AFTER:g} s: {error}; it is killed")
            self._envoy.signal(signal.SIGKILL)

    def _begin_drain(self) -> None:
        try:
            self._router.begin_drain()
        except TargetUnavailable as error:
            logs.note(self._layout.router_log, f"stopped without draining: {error}")
            self._drain_until = 0.0

    def _requests(self) -> int:
        """Requests in flight. Connections do not count: idle ones are open as long as users like."""
        return sum(self.in_flight(name) or 0 for name in self._routing.known)

    def _end(self, now: float) -> None:
        if self._kill_at is None:
            self._kill_at = now + ENDS_WITHIN
            self._envoy.signal(signal.SIGTERM)
        elif now >= self._kill_at:
            self._envoy.signal(signal.SIGKILL)

    def _last_line(self) -> str:
        lines = [
            line for line in logs.tail(self._layout.router_log, 5) if line.strip() and "mdeploy:" not in line
        ]
        return f": {lines[-1]}" if lines else ""


def _ingress(listen: Listen) -> Ingress:
    return Ingress(host=listen.host, port=listen.port)
