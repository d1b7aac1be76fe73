"""How many calls of gRPC there may be at once, and the memory that their messages take.

gRPC's library reads a message as a whole, and nobody knows how large it is before. So a call is begun
without its message, which waits at the client, but for what the connection's window lets through. It is read
when there is room for the largest allowed; what it did not need is given back at once, the rest with the
answer. Who waits for room is served in the order in which they came.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import Any

from ..problems import Overloaded, TimedOut
from ..server.context import Room

_LOOK = 0.01
"""Seconds between two looks at room that others than calls may have given back."""


@dataclass(slots=True)
class Calls:
    """Calls of one kind. For the event loop's thread."""

    room: Room
    largest: int
    """Bytes of a message; gRPC's library itself refuses a larger one."""
    most: int
    """Calls at once."""
    patience: float
    """Seconds that a call may wait for room."""
    seconds: float
    """That a message may take to come."""
    tasks: set[asyncio.Task[Any]] = field(default_factory=set)
    """Those that are not answered to the end yet."""
    _turn: asyncio.Lock = field(default_factory=asyncio.Lock)
    _given: asyncio.Event = field(default_factory=asyncio.Event)

    def begin(self) -> None:
        """Count this call until its last byte is sent. Raises `Overloaded` if there are enough."""
        task = asyncio.current_task()
        if len(self.tasks) >= self.most:
            raise Overloaded("too many calls at once")
        if task is not None:
            self.tasks.add(task)
            task.add_done_callback(self.tasks.discard)

    @asynccontextmanager
    async def message(self, context: Any) -> AsyncIterator[bytes]:
        """A call's one message, and room for it meanwhile. Raises `Overloaded` and `TimedOut`.

        It is asked of the context: the iterator of messages would keep it for as long as the call is there.
        """
        await self._take()
        held = self.largest
        try:
            async with _limit(self.seconds, TimedOut("the message did not come in time")):
                read = await context.read()
            body = read if isinstance(read, bytes) else b""  # there was none
            del read
            self._give(held - len(body))
            held = len(body)
            yield body
        finally:
            body = b""
            self._give(held)

    @asynccontextmanager
    async def place(self) -> AsyncIterator[None]:
        """Room for one message at a time, of a call that has many."""
        await self._take()
        try:
            yield
        finally:
            self._give(self.largest)

    async def _take(self) -> None:
        if not self._turn.locked() and self.room.take(self.largest):
            return
        async with _limit(self.patience, Overloaded("too many messages are being read at once")), self._turn:
            while not self.room.take(self.largest):
                self._given.clear()
                with suppress(TimeoutError):
                    await asyncio.wait_for(self._given.wait(), _LOOK)

    def _give(self, size: int) -> None:
        self.room.give(size)
        self._given.set()


@asynccontextmanager
async def _limit(seconds: float, problem: Exception) -> AsyncIterator[None]:
    """Raises ``problem`` after so many seconds."""
    limit = asyncio.timeout(seconds)
    try:
        async with limit:
            yield
    except TimeoutError:
        if limit.expired():
            raise problem from None
        raise
