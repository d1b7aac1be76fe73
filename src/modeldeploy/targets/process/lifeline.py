"""Programs that outlive whoever started them, and that a successor can find again.

Each program inherits a descriptor on which a lock is held. The kernel drops the lock when the
program dies, so "is the lock held?" answers "does it live?" for any process, at any time, whatever
became of process ids since. The lock file holds the process id, to send signals to.
"""

from __future__ import annotations

import fcntl
import os
import signal
import subprocess
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from modeldeploy import files
from modeldeploy.targets.process import locks

_TELL_PID_AND_BECOME = 'echo "$$" > "$0"; exec "$@"'
"""The shell writes its own process id, then turns into the program: at no time is the lock held by
a process whose id nobody knows, even if the supervisor is killed at once."""


@dataclass(frozen=True, slots=True)
class Command:
    """A program with its arguments and its whole environment."""

    argv: Sequence[str]
    env: Mapping[str, str]


class Lifeline:
    """At most one living program, started by this process or by a predecessor of it."""

    def __init__(self, lock: Path) -> None:
        self._lock = lock
        self._own: subprocess.Popen[bytes] | None = None

    @property
    def alive(self) -> bool:
        """True while the program runs."""
        if self._own is not None:
            return self._own.poll() is None
        pid = self.pid
        return files.is_locked(self._lock) and (pid is None or _exists(pid))

    @property
    def own(self) -> bool:
        """True if this process started it and has not called `end`: only then is its exit code known."""
        return self._own is not None

    @property
    def pid(self) -> int | None:
        """Its process id, as last known."""
        if self._own is not None:
            return self._own.pid
        return locks.pid_in(self._lock)

    def start(self, command: Command, *, log: Path, cwd: Path) -> None:
        """Run a program in a session of its own, its output appended to a log.

        What an earlier one left behind (processes that it started) is killed first. Raises
        BlockingIOError as long as that is still there, another OSError if nothing can be started.
        """
        self.sweep()
        descriptor = os.open(self._lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            _lock(descriptor)
            os.ftruncate(descriptor, 0)  # an id from before must not be taken for this program's
            with log.open("ab") as output:
                self._own = subprocess.Popen(
                    ["/bin/sh", "-c", _TELL_PID_AND_BECOME, str(self._lock), *command.argv],
                    env=dict(command.env),
                    cwd=cwd,
                    stdin=subprocess.DEVNULL,
                    stdout=output,
                    stderr=subprocess.STDOUT,
                    pass_fds=(descriptor,),
                    start_new_session=True,
                )
        finally:
            os.close(descriptor)

    def end(self) -> str:
        """How the program that has ended did end, for people. What it left behind is killed."""
        code = self._own.poll() if self._own is not None else None
        self.sweep()
        self._own = None
        return describe_exit(code)

    def signal(self, number: signal.Signals) -> None:
        """Send a signal to the program and to all that it started."""
        pid = self.pid
        if pid is not None and pid > 1 and self.alive:
            _signal_group(pid, number)

    def sweep(self) -> None:
        """Kill what a program that is gone has left behind, if anything."""
        pid = self.pid
        if not self.alive and pid is not None and pid > 1 and files.is_locked(self._lock):
            _signal_group(pid, signal.SIGKILL)


def describe_exit(code: int | None) -> str:
    """An exit code in words.

    >>> describe_exit(3), describe_exit(-9)
    ('exited with code 3', 'was killed by SIGKILL')
    """
    if code is None:
        return "ended (its exit code went to an earlier supervisor)"
    if code >= 0:
        return f"exited with code {code}"
    try:
        return f"was killed by {signal.Signals(-code).name}"
    except ValueError:
        return f"was killed by signal {-code}"


def _lock(descriptor: int) -> None:
    """Several tries: whoever asks whether it is locked holds it himself for some microseconds."""
    for _ in range(4):
        with suppress(BlockingIOError):
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return
        time.sleep(0.005)
    fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)


def _signal_group(pid: int, number: signal.Signals) -> None:
    try:
        os.killpg(pid, number)
    except (ProcessLookupError, PermissionError):  # macOS says the latter of a zombie
        return


def _exists(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
