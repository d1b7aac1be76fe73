"""One request to a user's method, from its arrival to its answer, whatever happens in between."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from functools import partial
from typing import Any, Protocol

from ..exchange import Exchange, Handler, Response
from ..observe.base import Meter
from .messages import FAILED, Unusual, refusal
from .metrics import PathCounts
from .surroundings import Made
from .threads import Threads

log = logging.getLogger("mdeploy_serving")

_tasks: set[asyncio.Task[None]] = set()
"""The event loop holds its tasks only weakly."""


@dataclass(frozen=True, slots=True)
class House:
    """What all calls to a service have in common."""

    service: str
    timeout: float | None
    """Seconds, as the service's ``traffic`` says; None for no limit."""
    threads: Threads
    around: Made
    meter: Meter
    elsewhere: Handler
    """BentoML's own app."""


class Callee(Protocol):
    """The method that is called."""

    house: House
    counts: PathCounts | None

    async def unusual(self, call: Call, output: Any) -> Response:
        """BentoML's own way from an odd output to its answer."""


class Call:
    """Answers its exchange exactly once: with the outcome, with 504, or not at all if the client is gone."""

    __slots__ = ("_answered", "_callee", "_house", "_task", "_timer", "around", "exchange")

    def __init__(self, callee: Callee, exchange: Exchange) -> None:
        house = callee.house
        self.exchange = exchange
        self.around = house.around(exchange.request)
        self._callee = callee
        self._house = house
        self._task: asyncio.Task[None] | None = None
        self._answered = False
        self._timer: asyncio.TimerHandle | None = None
        if house.timeout:
            left = house.timeout - (time.monotonic() - exchange.began)
            self._timer = asyncio.get_running_loop().call_later(max(0.0, left), self._expire)
        if callee.counts is not None:
            callee.counts.begin()
        exchange.on_gone = self._abandon

    @property
    def over(self) -> bool:
        """Nobody waits for an outcome any more."""
        return self._answered

    def outcome(self, work: Callable[[], Response]) -> Callable[[], None]:
        """Run this in the call's context; gives back what has to be called on the event loop's thread."""
        if self._answered:
            return _nothing
        try:
            return partial(self.answer, self.around.context.run(work))
        except Unusual as odd:
            return partial(self._answer_oddly, odd.output)
        except BaseException as error:  # noqa: BLE001  # a method that raises SystemExit ends itself, not us
            return partial(self.fail, error)

    def spawn(self, work: Callable[[], Coroutine[Any, Any, Response]]) -> None:
        """Run this in a task, which is cancelled when nobody waits for its outcome any more."""
        self._task = spawn(self._awaited(work), self)

    async def _awaited(self, work: Callable[[], Coroutine[Any, Any, Response]]) -> None:
        try:
            response = await work()
        except Unusual as odd:
            self._answer_oddly(odd.output)
        except BaseException as error:  # noqa: BLE001  # as in `outcome`
            self.fail(error)
        else:
            self.answer(response)

    def answer(self, response: Response) -> None:
        """The outcome, with the headers that BentoML gives all of them."""
        if self._answered:
            return
        identity = f"{self.around.request_id:016x}"
        given = (("server", f"BentoML Service/{self._house.service}"), ("x-bentoml-request-id", identity))
        response.headers = (*response.headers, *given)
        self._reply(response)

    def fail(self, error: BaseException) -> None:
        """The method, or what comes before or after it, has raised."""
        if self._answered:
            return
        response = refusal(error)
        request = self.exchange.request
        if response.status >= 500:
            self._house.meter.failed(1)
            text = "Exception on %s [%s], request %s"
            log.error(text, request.path, request.method, self.exchange.request_id, exc_info=error)
        else:
            log.debug("refused %s with %d: %s", request.path, response.status, error)
        self.answer(response)

    def _answer_oddly(self, output: object) -> None:
        if not self._answered:
            self.spawn(lambda: self._callee.unusual(self, output))

    def _expire(self) -> None:
        if self._answered:
            return
        text = f"Not able to process the request in {self._house.timeout} seconds"
        self._reply(Response(504, b'{"error":"%b"}' % text.encode()))
        self._cancel()

    def _abandon(self) -> None:
        """The client hung up. A thread cannot be stopped; a task and what has not begun can."""
        if not self._answered:
            self._reply(Response(499))
            self._cancel()

    def _cancel(self) -> None:
        if self._task is not None:
            self._task.cancel()

    def _reply(self, response: Response) -> None:
        self._answered = True
        self.exchange.on_gone = None
        if self._timer is not None:
            self._timer.cancel()
        if self._callee.counts is not None:
            self._callee.counts.end(response.status, time.monotonic() - self.exchange.began)
        self.exchange.reply(response)
        if self.around.touched:
            spawn(self.around.close(), self)


def spawn(work: Coroutine[Any, Any, None], call: Call) -> asyncio.Task[None]:
    """A task in the context of a call: in a copy, since a thread may be in that very one."""
    task = asyncio.get_running_loop().create_task(work, context=call.around.context.copy())
    _tasks.add(task)
    task.add_done_callback(_tasks.discard)
    return task


def not_ready() -> Response:
    """Before the service is there, and after it was put away."""
    return Response(503, b'{"error":"%b"}' % FAILED["error"].encode())


def _nothing() -> None:
    """Of a call that is over, nothing is left to do."""
