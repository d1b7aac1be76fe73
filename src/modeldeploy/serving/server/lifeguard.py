"""Ends a process that is of no use any more, so that whoever supervises it starts a new one.

A model may never return, and code of somebody else's may never give the interpreter back: then no request is
answered, or not even a health check, and nothing in the process can change it. Three things are looked for:

* the event loop stands still: a model that was quick hangs on it. It is asked to stop first (`Lane.rescue`);
* a thread's run of the model is past all deadlines for long: it is too late for anybody who asked;
* Python itself stands still, in a regular expression say: the system ends the process when it has used so
  much processor time without one look of ours, and a traceback says where.

Time is counted in looks and in processor time, never by the clock: a process that was frozen for an hour,
with its container or by a debugger, is as well as it was before.
"""

from __future__ import annotations

import asyncio
import faulthandler
import logging
import os
import signal
import threading
from collections.abc import Callable
from dataclasses import dataclass

from .. import cpu
from .outlet import finish_outlets

log = logging.getLogger("mdeploy_serving")

LOOK = 1.0
"""Seconds between two looks."""
_BUDGET = 30.0
"""Seconds without a look, with all processors busy, after which Python counts as standing still."""
_MOST_PROCESSORS = 16


def patience(timeout: float) -> float:
    """Seconds past a deadline after which a run will not return; a slow one may take twice its time."""
    return max(30.0, timeout)


@dataclass(slots=True)
class Lifeguard:
    """Looks after one process, in a thread of its own."""

    loop: asyncio.AbstractEventLoop
    rescue: Callable[[], bool]
    """Asks runs that are past their deadline to end; true while there are any in threads."""
    still: float
    """Seconds that the loop may stand still."""
    late: float
    """Seconds that a thread's run may be past its deadline."""
    retire: Callable[[], None]
    """Called on the loop, to end the process in an orderly way; with exit code 1."""
    budget: float = _BUDGET * min(_MOST_PROCESSORS, cpu.processors())
    """Seconds of processor time without a look."""
    look: float = LOOK
    _done: threading.Event | None = None
    _quiet: float = 0.0
    _overdue: float = 0.0

    def start(self) -> None:
        """Begin to look; on the loop's thread."""
        self._done = done = threading.Event()
        timed = signal.getsignal(signal.SIGPROF) == signal.SIG_DFL  # else somebody measures us with it
        if timed:
            faulthandler.register(signal.SIGPROF, all_threads=True, chain=True)
        self._beat()
        args = (done, timed)
        threading.Thread(target=self._watch, args=args, name="mdeploy-lifeguard", daemon=True).start()

    def stop(self) -> None:
        """Look no more."""
        if self._done is not None:
            self._done.set()

    def _beat(self) -> None:
        self._quiet = 0.0
        if self._done is not None and not self._done.is_set():
            self.loop.call_later(self.look, self._beat)

    def _watch(self, done: threading.Event, timed: bool) -> None:  # noqa: FBT001  # a thread's arguments have no names
        while not done.is_set():
            if timed:
                signal.setitimer(signal.ITIMER_PROF, self.budget)
            self._look()
            done.wait(self.look)
        if timed:
            signal.setitimer(signal.ITIMER_PROF, 0.0)

    def _look(self) -> None:
        self._quiet += self.look
        self._overdue = self._overdue + self.look if self.rescue() else 0.0
        if self._quiet > self.still:
            log.critical(
                "the event loop has been standing still for %.0f s: the process ends, to be started anew; "
                "where it stands is below",
                self._quiet,
            )
            faulthandler.dump_traceback(all_threads=True)
            finish_outlets()
            os._exit(1)
        if self._overdue > self.late:
            log.critical(
                "a run of the model has been past its deadline for %.0f s: the process ends, to be started "
                "anew; where it stands is below",
                self._overdue,
            )
            faulthandler.dump_traceback(all_threads=True)
            self._overdue = -self.late  # once is enough
            self.loop.call_soon_threadsafe(self.retire)
