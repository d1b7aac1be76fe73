"""What wakes the supervisor: the driver's doorbell, a child's end, a probe's answer, or time."""

from __future__ import annotations

import os
import select
import signal
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path

from modeldeploy.targets.process.probe import Probe


def ring(doorbell: Path) -> None:
    """Wake the supervisor. Where nobody listens nothing happens: it looks by itself every second."""
    with suppress(OSError):
        descriptor = os.open(doorbell, os.O_WRONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        try:
            os.write(descriptor, b"!")
        finally:
            os.close(descriptor)


class Bells:
    """Waits until something happens, a given time at the most."""

    def __init__(self, doorbell: Path) -> None:
        self._doorbell = doorbell
        self._fds: list[int] = []

    def listen(self, on_terminate: Callable[[], None]) -> None:
        """Begin to hear the doorbell and signals. ``on_terminate`` is called at SIGTERM."""
        reader, writer = os.pipe()
        os.set_blocking(reader, False)
        os.set_blocking(writer, False)
        signal.set_wakeup_fd(writer, warn_on_full_buffer=False)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        signal.signal(signal.SIGTERM, lambda *_: on_terminate())
        signal.signal(signal.SIGHUP, signal.SIG_IGN)
        self._fds.append(reader)
        with suppress(OSError):  # no named pipes on this file system: time will do
            if not self._doorbell.is_fifo():
                self._doorbell.unlink(missing_ok=True)
                os.mkfifo(self._doorbell, 0o600)
            self._fds.append(os.open(self._doorbell, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC))
            # Our own writer keeps the pipe from reporting its end for ever after the first ring.
            os.open(self._doorbell, os.O_WRONLY | os.O_NONBLOCK | os.O_CLOEXEC)

    def wait(self, seconds: float, probes: Sequence[Probe]) -> bool:
        """Wait; True if the doorbell or a signal woke us."""
        ready, _, _ = select.select([*self._fds, *(probe.fileno() for probe in probes)], [], [], seconds)
        rung = [descriptor for descriptor in self._fds if descriptor in ready]
        for descriptor in rung:
            with suppress(BlockingIOError):
                os.read(descriptor, 65536)
        return bool(rung)
