"""A lane, served on a socket: accepts, keeps time, and stops without losing a request."""

from __future__ import annotations

import asyncio
import resource
import socket
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, cast

from .. import cpu
from ..lane import Lane
from .asgi import as_app
from .connection import Connection
from .context import Context, Report, log, room_for
from .health import with_health
from .lifespan import Lifespan
from .outlet import flush_outlets
from .processes import BACKLOG

if TYPE_CHECKING:
    from .handed import Fallback

MOST_CONNECTIONS = 8192
"""Open connections of one process. Idle ones cost little, so this is far above what a proxy keeps, and
below what takes a second to go through; where the process may open fewer files, it is fewer."""
_OTHER_FILES = 256
"""Open files that are no connections: libraries, logs, the model."""
_TICK = 1.0
"""Seconds between two looks at clients that are past a limit, and at the date."""
_GRACE = 1.0
"""Seconds after SIGTERM in which a client's next request on an idle connection is still answered."""
_RECOVERY = 0.05
"""Seconds before we accept again after there was no room for it."""
_COURTESY = 0.005
"""Seconds that another worker, with fewer connections than we, has to accept first."""
_EVICTED = 32
"""Idle connections that are closed at once to make room, oldest first."""


class Server:
    """Serves a lane on a listening socket, in this process, on the running loop."""

    def __init__(
        self,
        lane: Lane,
        listener: socket.socket,
        *,
        report: Report | None = None,
        crowded: Callable[[int], bool] = lambda _: False,
        workers: int = 1,
    ) -> None:
        """``crowded`` is asked, with the number of connections here, whether others shall take the next.

        So many ``workers`` share the machine's memory.
        """
        routes = with_health(lane.routes, lambda: lane.ready() and not self.context.draining)
        room = room_for(routes, memory=cpu.memory() // workers)
        self.context = Context(routes, self._hand_over, report, lane.refuses_methods, room)
        self._lane = lane
        self._listener = listener
        self._crowded = crowded
        self._lifespan = Lifespan(lane.app)
        self._fallback: Fallback | None = None
        self._most = _connections()
        self._loop = asyncio.get_running_loop()
        self._accepting: set[asyncio.Task[Any]] = set()
        self._ticking: asyncio.TimerHandle | None = None
        self._waited = False

    async def start(self) -> None:
        """Start the service. Raises what keeps it from starting."""
        await self._lifespan.start()
        await self._lane.start()

    def listen(self) -> None:
        """From now on clients are served."""
        self._listener.setblocking(False)
        self._listener.listen(BACKLOG)
        self._loop.add_reader(self._listener.fileno(), self._accept)
        self._tick()

    async def drain(self, seconds: float, *, closed: Callable[[], None] = lambda: None) -> None:
        """Stop accepting, and answer what was accepted, for so many seconds at most.

        Connections that wait to be accepted are so already, as their clients see it: they are served.
        ``closed`` is called when there can be no more of them, to put away the socket's path.
        """
        deadline = time.monotonic() + seconds
        self.context.draining = True
        closed()
        self._loop.remove_reader(self._listener.fileno())
        while self._accept():
            pass
        self._listener.close()
        if self._fallback:
            self._fallback.shutdown()
        await self._until(min(deadline, time.monotonic() + _GRACE))
        self._close_idle()
        await self._until(deadline)
        await self._abort()

    async def stop(self) -> None:
        """Stop the service, after the last answer."""
        if self._ticking is not None:
            self._ticking.cancel()
        await self._lane.stop()
        await self._lifespan.stop()

    @property
    def in_flight(self) -> int:
        """Requests that are being answered."""
        ours = sum(connection.idle_since() is None for connection in self._ours())
        return ours + (self._fallback.in_flight if self._fallback else 0)

    # accepting

    def _accept(self) -> bool:
        """Accept one connection: other processes on this socket get theirs, too. False if there is none."""
        if not self.context.draining and not self._may_accept():
            return False
        try:
            accepted, _ = self._listener.accept()
        except (BlockingIOError, InterruptedError, ConnectionAbortedError):
            return False
        except OSError as error:  # no files or no memory left
            log.warning("no connection can be accepted: %s", error)
            self._pause(_RECOVERY)
            return False
        accepted.setblocking(False)
        self._waited = False
        taking = self._loop.create_task(self._loop.connect_accepted_socket(self._connection, accepted))
        self._accepting.add(taking)
        taking.add_done_callback(self._accepted)
        return True

    def _connection(self) -> Connection:
        return Connection(self.context)

    def _accepted(self, task: asyncio.Task[Any]) -> None:
        self._accepting.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            log.warning("a connection was lost while it was accepted: %s", error)

    def _may_accept(self) -> bool:
        """Whether it is for us to accept, and there is room. If not, others or the system's queue have it."""
        count = self._count()
        if not self._waited and self._crowded(count):
            self._waited = True  # if nobody takes it in a moment, we do
            self._pause(_COURTESY)
            return False
        if count < self._most:
            return True
        idle = self._idle()
        for connection in idle[:_EVICTED]:
            connection.close()
        if not idle:
            self._pause(_RECOVERY)
        return bool(idle)

    def _count(self) -> int:
        handed = self._fallback.connections if self._fallback else 0
        return len(self.context.connections) + len(self._accepting) + handed

    def _idle(self) -> list[Connection]:
        """The connections that nothing happens on, the oldest first."""
        idle = [connection for connection in self._ours() if connection.idle_since() is not None]
        return sorted(idle, key=lambda connection: connection.idle_since() or 0.0)

    def _pause(self, seconds: float) -> None:
        if not self.context.draining:
            self._loop.remove_reader(self._listener.fileno())
            self._loop.call_later(seconds, self._resume)

    def _resume(self) -> None:
        if not self.context.draining:
            self._loop.add_reader(self._listener.fileno(), self._accept)

    # time

    def _tick(self) -> None:
        self._ticking = self._loop.call_later(_TICK, self._tick)
        self.context.answers.tick()
        flush_outlets()
        now = time.monotonic()
        for connection in list(self.context.connections):
            connection.expire(now)
        if self._fallback:
            self._fallback.tick()

    # the other way

    def _hand_over(self, transport: asyncio.Transport, data: bytes) -> None:
        if self._fallback is None:
            from .handed import Fallback  # uvicorn, which most services never need

            context = self.context
            app = as_app(
                context.routes,
                self._lane.app,
                report=context.report,
                refuses_methods=context.refuses_methods,
                room=context.room,
            )
            self._fallback = Fallback(app, self._lifespan.state, context)
        self._fallback.take(transport, data)

    # the end

    async def _until(self, deadline: float) -> None:
        """Wait for the last connection's end, or the deadline."""
        while self._busy() and time.monotonic() < deadline:  # noqa: ASYNC110  # uvicorn's tell nobody
            await asyncio.sleep(0.01)

    def _busy(self) -> bool:
        return self._count() > 0 or (self._fallback is not None and self._fallback.in_flight > 0)

    def _close_idle(self) -> None:
        for connection in self._idle():
            connection.close()
        if self._fallback:
            self._fallback.close_idle()

    async def _abort(self) -> None:
        for connection in self._ours():
            connection.abort()
        if self._fallback:
            self._fallback.abort()
        await asyncio.sleep(0)

    def _ours(self) -> list[Connection]:
        return [cast("Connection", connection) for connection in self.context.connections]


def _connections() -> int:
    """How many connections this process can have, after raising its limit of open files if it may."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = MOST_CONNECTIONS + _OTHER_FILES
    if soft != resource.RLIM_INFINITY and soft < wanted:
        soft = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    if soft == resource.RLIM_INFINITY:
        return MOST_CONNECTIONS
    return max(16, min(MOST_CONNECTIONS, soft - _OTHER_FILES))
