"""Work on bodies that is too long for the event loop: in a thread, one body after the other.

Reading some megabytes of JSON takes as long as thousands of small requests, and those, health checks among
them, should not wait for it. One thread at most works at a time, in the order of the requests, so no client
can take more of the processor than that.
"""

from __future__ import annotations

import asyncio
import threading
from collections import deque
from collections.abc import Callable
from typing import Any

Work = Callable[[], Any]
"""Called in a thread; must not raise."""
Then = Callable[[Any], None]
"""Called on the loop's thread with what the work returned."""


class Piece:
    """Some work, and what comes after it."""

    __slots__ = ("dropped", "then", "work")

    def __init__(self, work: Work, then: Then) -> None:
        self.work = work
        self.then = then
        self.dropped = False


class Aside:
    """What is to be done for one service. All state belongs to the event loop's thread.

    A thread lives as long as its piece of work: to start one takes a tenth of a millisecond.
    """

    def __init__(self) -> None:
        self._waiting: deque[Piece] = deque()
        self._busy = False

    def do(self, work: Work, then: Then) -> Piece:
        """Do the work when it is its turn, and then the rest."""
        piece = Piece(work, then)
        self._waiting.append(piece)
        self._go_on()
        return piece

    def drop(self, piece: Piece) -> None:
        """Forget it, and what it holds; if it is at work already, what comes after it."""
        piece.dropped = True
        if piece in self._waiting:
            self._waiting.remove(piece)

    def _go_on(self) -> None:
        if self._busy or not self._waiting:
            return
        self._busy = True
        piece, loop = self._waiting.popleft(), asyncio.get_running_loop()
        thread = threading.Thread(target=self._work, args=(piece, loop), name="mdeploy-bodies", daemon=True)
        try:
            thread.start()
        except RuntimeError:  # the system has no thread left: late is better than never
            loop.call_soon(self._done, piece, piece.work())

    def _work(self, piece: Piece, loop: asyncio.AbstractEventLoop) -> None:
        result = piece.work()
        try:
            loop.call_soon_threadsafe(self._done, piece, result)
        except RuntimeError:  # the loop is closed: nobody waits any more
            return

    def _done(self, piece: Piece, result: Any) -> None:
        self._busy = False
        self._go_on()
        if not piece.dropped:
            piece.then(result)
