"""One revision under supervision: its environment is prepared, then its workers are kept running."""

from __future__ import annotations

import signal
from collections.abc import Sequence
from functools import partial
from pathlib import Path

from modeldeploy.errors import ModelDeployError
from modeldeploy.logline import told
from modeldeploy.model import RevisionSpec, RevisionState
from modeldeploy.targets.process import logs
from modeldeploy.targets.process.crashes import LOOP, Crashes
from modeldeploy.targets.process.layout import RevisionLayout
from modeldeploy.targets.process.lifeline import Command, Lifeline
from modeldeploy.targets.process.probe import Probe
from modeldeploy.targets.process.provisioning import Provisioning
from modeldeploy.targets.process.records import RevisionReport
from modeldeploy.targets.process.replica import Phase, Replica

_TOLD_LINES = 3
_ALIVE = {RevisionState.READY, RevisionState.DEGRADED}


class Revision:
    """A revision that should run.

    It gives up when it cannot be prepared, or when a worker crashes in a loop before the revision
    was ever ready; `retry` with a higher attempt begins anew. One that has been ready is never
    given up: users may depend on it, and what broke it may pass.
    """

    def __init__(
        self,
        spec: RevisionSpec,
        layout: RevisionLayout,
        provisioning: Provisioning,
        last: RevisionReport | None = None,
    ) -> None:
        self.spec = spec
        self.been_ready = last is not None and last.been_ready
        self._layout = layout
        self._provisioning = provisioning
        self._attempt = last.attempt if last else 0
        self._restarts_before = last.restarts if last else 0
        self._gave_up = last.message if last and last.state is RevisionState.FAILED else ""
        self._preparation = Lifeline(layout.preparation_lock())
        self._preparing = self._preparation.alive
        self._prepared = False
        self._prepare_at = 0.0
        self._failed_preparations = Crashes()
        self._trouble = ""
        layout.make()
        self._workers = self._find_workers(last)
        self._was_up = bool(last and last.state in _ALIVE and any(one.pid for one in self._workers))

    @property
    def addresses(self) -> tuple[Path, ...]:
        """The sockets of all its workers, whether they live or not."""
        return tuple(worker.socket for worker in self._workers)

    @property
    def probes(self) -> Sequence[Probe]:
        """Probes that wait for an answer."""
        return [worker.probe for worker in self._workers if worker.probe is not None]

    @property
    def busy(self) -> bool:
        """True while something is about to change: worth looking again soon."""
        return not self._gave_up and any(one.phase is not Phase.READY for one in self._workers)

    @property
    def logs(self) -> list[Path]:
        return [self._layout.preparation_log(), *(worker.log for worker in self._workers)]

    def retry(self, attempt: int) -> None:
        """Begin anew if this attempt is later than the one that failed."""
        if attempt > self._attempt:
            self._attempt, self._gave_up, self._trouble = attempt, "", ""
            self._failed_preparations, self._prepare_at = Crashes(), 0.0
            for worker in self._workers:
                self._restarts_before += worker.crashes.total
                worker.crashes = Crashes()

    def step(self, now: float) -> None:
        """Do what is next."""
        if self._gave_up:
            self._stop_workers(now, 0.0)
            return
        try:
            if self._prepared or self._prepare(now):
                self._step_workers(now)
        except BlockingIOError:
            return  # what a dead program left behind is still ending
        except (ModelDeployError, OSError) as error:
            self._cannot(now, error.message if isinstance(error, ModelDeployError) else str(error))

    def stop(self, now: float, kill_after: float) -> bool:
        """Stop all that runs; True when nothing does."""
        self._preparation.signal(signal.SIGKILL)
        return self._stop_workers(now, kill_after) and not self._preparation.alive

    def report(self, now: float) -> RevisionReport:
        """How it is now."""
        ready = tuple(one.number for one in self._workers if one.phase is Phase.READY)
        state, message = self._state(now, len(ready))
        return RevisionReport(
            state,
            ready,
            self._restarts_before + sum(one.crashes.total for one in self._workers),
            message,
            self.been_ready,
            self._attempt,
        )

    def _state(self, now: float, ready: int) -> tuple[RevisionState, str]:
        unready = next((one.message for one in self._workers if one.phase is not Phase.READY), "")
        if self._gave_up:
            return RevisionState.FAILED, self._gave_up
        if not self._prepared and not ready:
            return RevisionState.PENDING, self._trouble or "its environment is being prepared"
        if ready == len(self._workers):
            return RevisionState.READY, ""
        if not ready and self.been_ready and self._looping(now):
            return RevisionState.FAILED, f"crash loop, tried again every few seconds: {unready}"
        state = RevisionState.DEGRADED if self._was_up else RevisionState.STARTING
        return state, self._trouble or unready

    def _find_workers(self, last: RevisionReport | None) -> list[Replica]:
        ready = last.ready if last else ()
        count = max(1, self.spec.replicas)
        return [Replica(number, self._layout, was_ready=number in ready) for number in range(count)]

    def _prepare(self, now: float) -> bool:
        if self._preparing and self._preparation.alive:
            return False
        ended, self._preparing = self._preparing, False
        code_known = self._preparation.own
        how = self._preparation.end() if ended else ""
        if not ended and now < self._prepare_at:
            return False
        command = self._provisioning.preparation(self.spec)
        if command is None:
            self._prepared, self._trouble = True, ""
        elif ended and code_known:
            self._cannot(now, f"preparing its environment {how}{self._last_lines(self.logs[0])}")
        else:
            self._run_preparation(command)
        return self._prepared

    def _run_preparation(self, command: Command) -> None:
        self._preparation.start(command, log=self._layout.preparation_log(), cwd=self._layout.work)
        self._preparing = True

    def _step_workers(self, now: float) -> None:
        for worker in self._workers:
            worker.step(now, partial(self._provisioning.worker, self.spec, worker.socket))
        if all(one.phase is Phase.READY for one in self._workers):
            self.been_ready, self._was_up, self._trouble = True, True, ""
        elif not self.been_ready:
            self._give_up_on_a_loop()

    def _give_up_on_a_loop(self) -> None:
        worker = max(self._workers, key=lambda one: one.crashes.total)
        if worker.crashes.total >= LOOP:
            self._gave_up = (
                f"{worker.message}, {LOOP} times before it was ready{self._last_lines(worker.log)}"
            )

    def _cannot(self, now: float, why: str) -> None:
        logs.note(self._layout.preparation_log(), why)
        if self.been_ready:
            self._trouble = why
            self._prepare_at = now + self._failed_preparations.add(now)
        else:
            self._gave_up = why

    def _last_lines(self, log: Path) -> str:
        lines = [
            told(line).strip() for line in logs.tail(log, 30) if line.strip() and " mdeploy: " not in line
        ]
        # A worker that was tried again wrote the same lines again.
        return f": {' | '.join(list(dict.fromkeys(lines))[-_TOLD_LINES:])}" if lines else ""

    def _looping(self, now: float) -> bool:
        return any(one.crashes.looping(now) for one in self._workers)

    def _stop_workers(self, now: float, kill_after: float) -> bool:
        gone = [worker.stop(now, kill_after) for worker in self._workers]
        return all(gone)
