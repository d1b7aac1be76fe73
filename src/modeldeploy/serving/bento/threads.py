"""A user's blocking methods: so many threads as the service asks for, and their outcomes back on the loop."""

from __future__ import annotations

import asyncio
import threading
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import copy_context
from functools import partial
from queue import SimpleQueue
from typing import Any

Work = Callable[[], Callable[[], None]]
"""Runs in a thread and must not raise; what it gives back is called on the event loop's thread."""


class Threads:
    """At most ``limit`` works at once, in the order they came. Used on the event loop's thread.

    The threads do not keep the process from ending: a method that never returns cannot either.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._loop: asyncio.AbstractEventLoop | None = None
        self._works: SimpleQueue[Work | None] = SimpleQueue()
        self._finished: deque[Callable[[], None]] = deque()
        self._woken = False
        self._busy = 0
        self._threads: list[threading.Thread] = []

    def submit(self, work: Work) -> None:
        """Run it as soon as a thread is free."""
        self._busy += 1
        if len(self._threads) < min(self._busy, self._limit):
            self._begin_one()
        self._works.put(work)

    async def run(self, function: Callable[[Any], Any], argument: object) -> Any:
        """What a function gives, in the caller's context; raises what it raises."""
        outcome: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        context = copy_context()

        def work() -> Callable[[], None]:
            try:
                value = context.run(function, argument)
            except BaseException as error:  # noqa: BLE001  # a method that raises SystemExit ends itself, not us
                return partial(_settle, outcome.set_exception, outcome, error)
            return partial(_settle, outcome.set_result, outcome, value)

        self.submit(work)
        return await outcome

    def close(self) -> None:
        """End the threads, once they have done what they have been given."""
        for _ in self._threads:
            self._works.put(None)
        self._threads.clear()

    def _begin_one(self) -> None:
        self._loop = self._loop or asyncio.get_running_loop()
        name = f"service-{len(self._threads)}"
        thread = threading.Thread(target=self._serve, args=(self._loop,), name=name, daemon=True)
        self._threads.append(thread)
        thread.start()

    def _serve(self, loop: asyncio.AbstractEventLoop) -> None:
        with _known_to_anyio(loop):
            while (work := self._works.get()) is not None:
                finish = work()
                del work  # it holds a request, and the next may be long in coming
                self._finished.append(finish)
                if not self._woken and not loop.is_closed():
                    self._woken = True
                    loop.call_soon_threadsafe(self._finish)

    def _finish(self) -> None:
        self._woken = False  # before looking: who comes after this wakes the loop again
        while self._finished:
            finish = self._finished.popleft()
            self._busy -= 1
            finish()


def _settle(settle: Callable[[Any], None], outcome: asyncio.Future[Any], value: object) -> None:
    if isinstance(value, StopIteration):  # which no future takes
        value = RuntimeError("the method raised StopIteration")
    if not outcome.done():
        settle(value)


@contextmanager
def _known_to_anyio(loop: asyncio.AbstractEventLoop) -> Iterator[None]:
    """Let a method use ``anyio.from_thread``, as it may in BentoML's threads, which are anyio's."""
    try:
        from anyio._backends._asyncio import AsyncIOBackend
        from anyio._core._eventloop import claim_worker_thread
    except ImportError:  # not public: without it only from_thread does not work
        yield
        return
    with claim_worker_thread(AsyncIOBackend, loop):
        yield
