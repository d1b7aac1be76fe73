"""Several workers of one service, and the process that watches over them.

The parent binds the socket and forks its workers before anything heavy is imported: a child begins as a
small copy that has the socket, the shared memory and nothing else (no threads, no loop, no locks held),
imports and loads for itself, and can be forked anew from the same state whenever one dies. All accept
from the one socket, so that a connection waits for whichever worker is free, and none is lost with a
worker that had not taken it.

Parent and child hold the two ends of a socket pair. A child says ``r`` when it is ready, and accepts when
the parent says ``g``; the end of either is the end of the pair, which the other sees at once.
"""

from __future__ import annotations

import faulthandler
import logging
import mmap
import os
import selectors
import signal
import socket
import struct
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from types import FrameType

from .outlet import finish_outlets

log = logging.getLogger("mdeploy_serving")

_STOP = (signal.SIGTERM, signal.SIGINT)
BACKLOG = 2048
"""Connections that wait to be accepted; the system may allow fewer."""
READY = b"r"
GO = b"g"
_FIRST_WAIT = 0.1
_LONGEST_WAIT = 10.0
"""Seconds before a worker that died is started again: doubled with each time that it did not live long."""
_LONG = 30.0
"""Seconds that a worker has to be ready for before its death is a new one."""
_GIVE_UP = 6
"""Starts in a row that failed, while no other worker is ready: whoever started us has to see to it."""
_AFTER_DRAIN = 4.0
"""Seconds beyond the drain before a worker that does not end is killed: it ends itself after two."""

Work = Callable[[int, socket.socket], int]
"""What a child does, given its index and its end of the pair; its result is the child's exit code."""


class Shares:
    """How many connections each worker has, in memory that they share: so that none takes them all."""

    _NOBODY = 2**31 - 1

    def __init__(self, workers: int) -> None:
        self._memory = mmap.mmap(-1, workers * 4)
        self._workers = workers
        for worker in range(workers):
            self.forget(worker)

    def forget(self, worker: int) -> None:
        """This worker is not there (any more): nobody waits for it."""
        self._write(worker, self._NOBODY)

    def more_than_others(self, worker: int, connections: int) -> bool:
        """Whether another worker has fewer connections. Tells the others how many this one has."""
        self._write(worker, connections)
        counts: tuple[int, ...] = struct.unpack_from(f"{self._workers}i", self._memory)
        return connections > min(counts)

    def _write(self, worker: int, connections: int) -> None:
        struct.pack_into("i", self._memory, worker * 4, connections)


@dataclass(slots=True)
class _Child:
    index: int
    pid: int = 0
    """0: not running."""
    pair: socket.socket | None = None
    ready_at: float | None = None
    failures: int = 0
    """Deaths in a row, each soon after a start."""
    due: float = 0.0
    """When to start it again."""
    ended: bool = False
    """It ended, and nobody has seen to it yet."""
    code: int = 0


@dataclass(slots=True)
class Supervisor:
    """Runs workers until SIGTERM. It sleeps until one of them or a signal says something."""

    workers: int
    work: Work
    listener: socket.socket
    withdraw: Callable[[], None]
    """Let nobody find the socket any more."""
    drain: float
    began: float
    shares: Shares
    check: Callable[[], None] = lambda: None
    """Raises OSError where clients would find somebody else; called before they are let in."""
    _children: list[_Child] = field(default_factory=list)
    _selector: selectors.BaseSelector = field(default_factory=selectors.DefaultSelector)
    _opened: bool = False
    _told: bool = False
    """SIGTERM came."""

    def run(self) -> int:
        """0 after SIGTERM, 1 if a worker did not start or none can be kept alive."""
        woken, waker = socket.socketpair()
        with woken, waker:
            for end in (woken, waker):
                end.setblocking(False)
            before = signal.set_wakeup_fd(waker.fileno(), warn_on_full_buffer=False)
            for sig in _STOP:
                signal.signal(sig, self._tell)
            signal.signal(signal.SIGCHLD, lambda *_: None)  # only to wake us
            self._selector.register(woken, selectors.EVENT_READ)
            try:
                self._children = [_Child(index) for index in range(self.workers)]
                return self._watch(woken)
            finally:
                signal.set_wakeup_fd(before)

    def _tell(self, _signal: int, _frame: FrameType | None) -> None:
        self._told = True

    def _watch(self, woken: socket.socket) -> int:
        while not self._told:
            self._start_those_due()
            for key, _ in self._selector.select(self._next_due()):
                if key.fileobj is woken:
                    woken.recv(64)
                elif key.data.pid:
                    self._hear(key.data)
            ended = [child for child in self._children if self._ended(child)]
            if not all(self._buried(child) for child in ended):
                self._stop()
                return 1
        log.info("stopping" if self._opened else "stopped before it was ready")
        self._stop()
        if self._opened:
            log.info("stopped")
        return 0

    # starting

    def _start_those_due(self) -> None:
        for child in self._children:
            if not child.pid and child.due <= time.monotonic():
                self._start(child)

    def _next_due(self) -> float | None:
        """Seconds until a worker is to be started."""
        due = [child.due for child in self._children if not child.pid]
        return max(0.0, min(due) - time.monotonic()) if due else None

    def _start(self, child: _Child) -> None:
        ours, theirs = socket.socketpair()
        sys.stdout.flush()
        sys.stderr.flush()
        signal.pthread_sigmask(signal.SIG_BLOCK, _STOP)  # until the child has handlers of its own
        pid = os.fork()
        if pid == 0:
            ours.close()
            self._be(child.index, theirs)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, _STOP)
        theirs.close()
        child.pid, child.pair, child.ready_at = pid, ours, None
        self._selector.register(ours, selectors.EVENT_READ, child)

    def _be(self, index: int, pair: socket.socket) -> None:
        """Be the child. Never returns: what the parent has to put away is not the child's to touch."""
        code = 1
        try:
            signal.set_wakeup_fd(-1)
            for sig in (*_STOP, signal.SIGCHLD):
                signal.signal(sig, signal.SIG_DFL)
            signal.pthread_sigmask(signal.SIG_UNBLOCK, _STOP)
            self._selector.close()
            for other in self._children:
                if other.pair is not None:
                    other.pair.close()
            faulthandler.enable()
            code = self.work(index, pair)
        except SystemExit as left:
            code = left.code if isinstance(left.code, int) else 1
        except BaseException:
            log.exception("worker %d failed", index)
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
            finish_outlets()
            os._exit(code)

    # what children say

    def _hear(self, child: _Child) -> None:
        pair = child.pair
        try:
            said = pair.recv(16) if pair is not None else b""
        except ConnectionResetError:
            said = b""
        if not said:
            self._collect(child, 0)  # its end is closed only by its own
        elif self._opened:
            child.ready_at = time.monotonic()
            self._go(child)
        else:
            child.ready_at = time.monotonic()
            if all(one.ready_at is not None for one in self._children):
                self._open()

    def _open(self) -> None:
        self.check()
        self._opened = True
        self.listener.listen(BACKLOG)
        for child in self._children:
            self._go(child)
        log.info("ready after %.1f s, %d workers", time.monotonic() - self.began, self.workers)

    def _go(self, child: _Child) -> None:
        self.shares.more_than_others(child.index, 0)
        try:
            if child.pair is not None:
                child.pair.sendall(GO)
        except OSError:  # it died in between; its end of the pair will tell
            log.debug("worker %d did not hear", child.index)

    def _ended(self, child: _Child) -> bool:
        """Whether it ended since we last looked."""
        if child.pid:
            self._collect(child, os.WNOHANG)
        ended, child.ended = child.ended, False
        return ended

    def _collect(self, child: _Child, flags: int) -> None:
        """Take the exit code of a child that ended, negative for a signal."""
        pid, status = os.waitpid(child.pid, flags)
        if not pid:
            return
        if child.pair is not None:
            self._selector.unregister(child.pair)
            child.pair.close()
        child.pid, child.pair = 0, None
        child.ended, child.code = True, os.waitstatus_to_exitcode(status)
        self.shares.forget(child.index)

    def _buried(self, child: _Child) -> bool:
        """See to the next one. False if there is no use in it."""
        if not self._opened:
            log.error("worker %d of %d did not start: exit code %d", child.index, self.workers, child.code)
            return False
        lived = time.monotonic() - child.ready_at if child.ready_at is not None else 0.0
        child.failures = 0 if lived > _LONG else child.failures + 1
        wait = min(_LONGEST_WAIT, _FIRST_WAIT * 2 ** max(0, child.failures - 1))
        child.due, child.ready_at = time.monotonic() + wait, None
        log.error("worker %d ended with %d; the next one starts in %.1f s", child.index, child.code, wait)
        if child.failures < _GIVE_UP or any(one.ready_at is not None for one in self._children):
            return True
        log.error("no worker stays alive")
        return False

    # the end

    def _stop(self) -> None:
        """Let all workers finish what they have; kill those that do not come to an end."""
        self.withdraw()
        self.listener.close()  # the workers have it still, and the last one that drains it closes it
        deadline = time.monotonic() + self.drain + _AFTER_DRAIN
        self._send(signal.SIGTERM)
        while self._left() and time.monotonic() < deadline:
            time.sleep(0.01)
        self._send(signal.SIGKILL)
        for child in self._children:
            if child.pid:
                log.error("worker %d did not end and was killed", child.index)
                self._collect(child, 0)

    def _left(self) -> bool:
        for child in self._children:
            if child.pid:
                self._collect(child, os.WNOHANG)
        return any(child.pid for child in self._children)

    def _send(self, sig: signal.Signals) -> None:
        for child in self._children:
            if child.pid:
                os.kill(child.pid, sig)
