"""stdout and stderr that never wait for whoever reads them.

Logs go to a pipe in a container, to a socket under systemd. Where nobody reads, the pipe fills up, and the
next line that is printed would wait for ever: with it the event loop, and every request. So what does not fit
is kept, up to a bound, beyond it dropped and counted. A reader that is only slow gets everything.
"""

from __future__ import annotations

import errno
import io
import os
import select
import socket
import stat
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer

_MOST = 1024 * 1024
"""Bytes that are kept for a reader."""
_WHOLE = 4096
"""Bytes that a pipe takes as a whole or not at all, if another process writes to it, too."""
_LAST = 1.0
"""Seconds that a reader has, when the process ends, for what is kept."""
_LOST = (
    b'{"level": "warning", "logger": "mdeploy_serving", '
    b'"message": "%d lines were lost: nobody read the log"}\n'
)


class Outlet(io.RawIOBase):
    """A descriptor to write to. Neither waits nor raises: what is lost is only the log."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._send = _sender(descriptor)
        self._kept = bytearray()
        self._lost = 0
        self._lock = threading.RLock()
        self._sending = False  # a signal's handler may write while we do
        os.register_at_fork(after_in_child=self._forget)

    def writable(self) -> bool:
        return True

    def fileno(self) -> int:
        return self._descriptor

    def write(self, data: ReadableBuffer, /) -> int:
        told = bytes(data)
        with self._lock:
            if len(self._kept) + len(told) <= _MOST:
                self._kept += told
            else:
                self._lost += told.count(b"\n")
            self._pass_on()
        return len(told)

    def flush(self) -> None:
        with self._lock:
            self._pass_on()

    def finish(self) -> None:
        """Before the process ends: give the reader a moment."""
        deadline = time.monotonic() + _LAST
        while self._kept and time.monotonic() < deadline:
            self.flush()
            if self._kept:
                time.sleep(0.01)

    def _pass_on(self) -> None:
        if not self._sending:
            self._sending = True
            try:
                self._send_kept()
            finally:
                self._sending = False

    def _send_kept(self) -> None:
        while self._kept:
            end = len(self._kept) if len(self._kept) <= _WHOLE else self._kept.rfind(b"\n", 0, _WHOLE) + 1
            try:
                sent = self._send(bytes(self._kept[: end or _WHOLE]))
            except OSError as error:
                if error.errno not in {errno.EAGAIN, errno.EINTR}:
                    self._kept.clear()  # closed, or the disk is full
                return
            del self._kept[:sent]
            if self._lost and not self._kept:
                self._kept += _LOST % self._lost
                self._lost = 0

    def _forget(self) -> None:
        self._kept.clear()  # it is the parent's to tell
        self._lock, self._sending = threading.RLock(), False


def _sender(descriptor: int) -> Callable[[bytes], int]:
    """Writes a part of some bytes; raises BlockingIOError rather than wait."""
    kind = os.fstat(descriptor).st_mode
    if stat.S_ISSOCK(kind):
        end = socket.socket(fileno=os.dup(descriptor))
        return lambda data: end.send(data, socket.MSG_DONTWAIT)
    if not stat.S_ISFIFO(kind):
        return lambda data: os.write(descriptor, data)
    _make_ours(descriptor)
    look = select.poll()
    look.register(descriptor, select.POLLOUT)

    def send(data: bytes) -> int:
        if not look.poll(0):
            raise BlockingIOError(errno.EAGAIN, "the pipe is full")
        return os.write(descriptor, data[:_WHOLE])

    return send


def _make_ours(descriptor: int) -> None:
    """Have the process itself, libraries in C included, not wait for the pipe's reader.

    Others have the same open pipe, e.g. the shell that started us, and expect to wait: it is opened anew,
    where the system lets us. Where not, we look before we write.
    """
    with suppress(OSError):
        again = os.open(f"/proc/self/fd/{descriptor}", os.O_WRONLY | os.O_NONBLOCK)
        try:
            os.dup2(again, descriptor)
        finally:
            os.close(again)


def open_outlets() -> None:
    """Let stdout and stderr of this process go by outlets. Those that are closed lead nowhere."""
    for descriptor in (0, 1, 2):
        try:
            os.fstat(descriptor)
        except OSError:
            nowhere = os.open(os.devnull, os.O_RDWR)
            if nowhere != descriptor:
                os.dup2(nowhere, descriptor)
                os.close(nowhere)
    for stream in (sys.stdout, sys.stderr):
        if stream is not None:
            with suppress(OSError):
                stream.flush()
    sys.stdout, sys.stderr = _text(1), _text(2)


def _text(descriptor: int) -> io.TextIOWrapper:
    return io.TextIOWrapper(
        Outlet(descriptor),  # type: ignore[arg-type]  # raw: nothing is held back twice
        encoding="utf-8",
        errors="backslashreplace",
        line_buffering=True,
        write_through=True,
    )


def flush_outlets() -> None:
    """Pass on what is kept, if it can be now."""
    for outlet in _outlets():
        outlet.flush()


def finish_outlets() -> None:
    """See `Outlet.finish`."""
    for outlet in _outlets():
        outlet.finish()


def _outlets() -> list[Outlet]:
    buffers = [getattr(stream, "buffer", None) for stream in (sys.stdout, sys.stderr)]
    return [buffer for buffer in buffers if isinstance(buffer, Outlet)]
