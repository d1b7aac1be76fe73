"""One worker process: started, probed, started again when it dies, stopped when it should go.

``step`` looks at the process and does the one next thing; the supervisor calls it again and again.
Times are monotonic seconds.
"""

from __future__ import annotations

import signal
from collections.abc import Callable
from enum import Enum

from modeldeploy.targets.process import logs
from modeldeploy.targets.process.crashes import Crashes
from modeldeploy.targets.process.layout import RevisionLayout, make_socket_folder
from modeldeploy.targets.process.lifeline import Command, Lifeline
from modeldeploy.targets.process.probe import Answer, Probe

HANGS_AFTER = 30.0
"""A worker that was ready and then gives no answer at all for so long is killed and started again.

Long, since an overloaded worker looks the same and killing it makes the load on the others worse.
The router stops sending it requests much earlier. One that answers "not ready" is left alone.
"""

_PROBE_TIMEOUT = 5.0
_PROBE_EVERY = {"starting": 0.1, "ready": 1.0, "unready": 0.25}


class Phase(str, Enum):
    """Where a worker is in its life."""

    DOWN = "down"
    STARTING = "starting"
    READY = "ready"
    UNREADY = "unready"
    STOPPING = "stopping"


class Replica:
    """A worker of a revision, alive or waiting for its next start.

    Finds a worker that an earlier supervisor started; ``was_ready`` is what that one last knew, and
    holds until the first probe says otherwise.
    """

    def __init__(self, number: int, layout: RevisionLayout, *, was_ready: bool = False) -> None:
        self.number = number
        self.socket = layout.worker_socket(number)
        self.log = layout.worker_log(number)
        self.crashes = Crashes()
        self.message = ""
        self.phase = Phase.DOWN
        self._work = layout.work
        self._program = Lifeline(layout.worker_lock(number))
        self._start_at = 0.0
        self._probe: Probe | None = None
        self._probe_at = 0.0
        self._silent_since: float | None = None
        self._kill_at: float | None = None
        if self._program.alive:
            self.phase = Phase.READY if was_ready else Phase.STARTING

    @property
    def probe(self) -> Probe | None:
        """The probe that waits for an answer: for `select`."""
        return self._probe

    @property
    def pid(self) -> int | None:
        return self._program.pid if self._program.alive else None

    def step(self, now: float, command: Callable[[], Command]) -> None:
        """Bring the worker one step nearer to being ready. ``command`` may raise; nothing starts then."""
        if self.phase is Phase.STOPPING:
            self.stop(now, 0.0)  # it was told to go: let it, then begin anew
        elif self._program.alive:
            self._ask(now)
        elif self.phase is not Phase.DOWN:
            self._crashed(now)
        elif now >= self._start_at:
            self._start(now, command())

    def stop(self, now: float, kill_after: float) -> bool:
        """Ask the worker to finish and go, and kill it ``kill_after`` seconds later. True: gone."""
        if not self._program.alive:
            self._program.sweep()
            self._go_down()
            return True
        if self.phase is not Phase.STOPPING:
            self.phase, self._kill_at = Phase.STOPPING, now + kill_after
            self._drop_probe()
            self._program.signal(signal.SIGTERM)
        elif self._kill_at is not None and now >= self._kill_at:
            logs.note(self.log, f"worker {self.number} did not end in time and is killed")
            self._program.signal(signal.SIGKILL)
            self._kill_at = now + 1.0
        return False

    def _start(self, now: float, command: Command) -> None:
        make_socket_folder(self.socket.parent)  # in case somebody tidied up in /tmp
        self.socket.unlink(missing_ok=True)
        self._program.start(command, log=self.log, cwd=self._work)
        self.phase, self._probe_at, self._silent_since = Phase.STARTING, now, None

    def _crashed(self, now: float) -> None:
        how = self._program.end()
        pause = self.crashes.add(now)
        self._go_down()
        self._start_at = now + pause
        self.message = f"worker {self.number} {how}"
        logs.note(self.log, f"{self.message}; starts again in {pause:g} s")

    def _go_down(self) -> None:
        self._drop_probe()
        self.phase, self._kill_at, self._silent_since = Phase.DOWN, None, None

    def _ask(self, now: float) -> None:
        if self._probe is not None:
            answer = self._probe.poll(now)
            if answer is not None:
                self._probe = None
                self._heard(answer, now)
        elif now >= self._probe_at:
            self._probe = Probe(self.socket, deadline=now + _PROBE_TIMEOUT)

    def _heard(self, answer: Answer, now: float) -> None:
        was_up = self.phase in {Phase.READY, Phase.UNREADY}
        if answer.ready:
            self.phase, self.message = Phase.READY, ""
        else:
            self.phase = Phase.UNREADY if was_up else Phase.STARTING
            self.message = f"worker {self.number}: /readyz {answer}"
        self._probe_at = now + _PROBE_EVERY[self.phase.value]
        self._note_silence(answer, now, was_up=was_up)

    def _note_silence(self, answer: Answer, now: float, *, was_up: bool) -> None:
        if answer.status is not None or not was_up:
            self._silent_since = None
        elif self._silent_since is None:
            self._silent_since = now
        elif now - self._silent_since >= HANGS_AFTER:
            logs.note(self.log, f"worker {self.number} gave no answer for {HANGS_AFTER:g} s and is killed")
            self._program.signal(signal.SIGKILL)

    def _drop_probe(self) -> None:
        if self._probe is not None:
            self._probe.close()
        self._probe = None
