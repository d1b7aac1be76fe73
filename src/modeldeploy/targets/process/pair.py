"""Two supervisors per target: one at work, one standing by.

Both are the same program. Whoever starts first stands by (holds the standby lock), then waits for
the active lock. The kernel gives it the lock at the very moment the one at work dies, however it
dies; it lets go of the standby lock, starts a new standby and goes to work.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

from modeldeploy import files
from modeldeploy.targets.process import locks
from modeldeploy.targets.process.crashes import Crashes
from modeldeploy.targets.process.layout import Layout

_SOUND_AFTER = 0.3
_STARTS_WITHIN = 5.0
_TRIES = 5


class Active:
    """The right to supervise a target, held until this process ends; and the care for a standby."""

    def __init__(self, layout: Layout, lock: int) -> None:
        self._layout = layout
        self._lock = lock
        self._standby: subprocess.Popen[bytes] | None = None
        self._starts = Crashes()
        # Not at once: a supervisor that cannot even begin must not start its like without end.
        self._look_at = time.monotonic() + _SOUND_AFTER

    def keep_standby(self, now: float) -> None:
        """Start a standby if there is none."""
        if now < self._look_at or files.is_locked(self._layout.standby_lock):
            return
        if self._standby is not None:
            if self._standby.poll() is None and now < self._look_at + _STARTS_WITHIN:
                return
            self._standby = None
        self._look_at = now + self._starts.add(now)
        with self._layout.supervisor_log.open("ab") as log:
            self._standby = subprocess.Popen(
                [sys.executable, *(part for part in sys.orig_argv[1:] if part != DETACH)],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    def dismiss_standby(self) -> None:
        """End the standby, whoever started it, so that nobody takes over from here."""
        if self._standby is not None:
            self._standby.terminate()
            self._standby.wait()
        pid = locks.pid_in(self._layout.standby_lock)
        if pid and files.is_locked(self._layout.standby_lock):
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGTERM)
            for _ in range(_TRIES):
                if files.is_locked(self._layout.standby_lock):
                    time.sleep(0.02)

    def forget_locks(self) -> None:
        """Remove the names of the locks, which are held to the end: only right before that."""
        for path in (self._layout.standby_lock, self._layout.active_lock):
            path.unlink(missing_ok=True)


DETACH = "--detach"


def detach() -> None:
    """Go on as an orphan in a session of its own, whatever becomes of the terminal and the parent."""
    if os.fork():
        os._exit(0)
    os.setsid()


def stand_by(layout: Layout) -> Active | None:
    """Wait until this process is the one to supervise; None if it isn't needed.

    Returns at once where nobody is at work.
    """
    standby = _try_to_hold(layout.standby_lock)
    if standby is None:
        return None
    active = locks.hold(layout.active_lock)
    os.close(standby)
    return Active(layout, active) if active is not None else None


def _try_to_hold(path: Path) -> int | None:
    """A few tries: whoever asks whether a lock is held holds it himself for some microseconds."""
    for _ in range(_TRIES):
        descriptor = locks.hold(path, wait=False)
        if descriptor is not None:
            return descriptor
        time.sleep(0.02)
    return None
