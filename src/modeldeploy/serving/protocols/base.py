"""What a protocol is: a codec between HTTP messages and arrays, and the handler that is the same for all."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, Protocol

import numpy as np

from ..engine.job import Engine, Job
from ..exchange import Exchange, Handler, Request, Response
from ..problems import Problem, TimedOut
from ..runtimes.base import Value
from ..tensors.pieces import LARGE
from ..tensors.rules import Array
from .aside import Aside

log = logging.getLogger("mdeploy_serving")

_MANY_VALUES = 100_000
"""Of an array in an answer, which take about as long to write."""
_MANY_ENTRIES = 5000
"""Of a list in an answer: each may be a map with a number for each class."""
_BINARY = ("application/x-npy", "application/vnd.apache.arrow.stream", "application/grpc")
"""What begins so is read at once, however large: the bytes are the array."""
_TEXT_LENGTH = "inference-header-content-length"
"""What V2 says of its JSON; on other paths nobody reads it, so it must not count."""


@dataclass(slots=True)
class Asked:
    """A request that was read: arrays as the service takes them, and what its codec wants to remember."""

    arrays: Mapping[str, Array]
    rows: int
    """Size of the batch dimension; 0 where the inputs have none."""
    single: bool = False
    """One sample came without its batch dimension; the answer goes back without it too."""
    context: Any = None
    """The codec's own: the names of the outputs that are wanted, the form of the answer."""


class Codec(Protocol):
    """One protocol's way of asking for a prediction. No state: what is long is read in a thread."""

    def read(self, request: Request) -> Asked:
        """The arrays in a request. Raises `Problem`, usually `BadInput`, in words that name the field."""

    def write(self, asked: Asked, outputs: Mapping[str, Value]) -> Response:
        """The answer with the outputs."""

    def refuse(self, problem: Problem) -> Response:
        """The answer in place of outputs, with the problem's status, in the protocol's own form."""


def endpoint(codec: Codec, engine: Engine, *, timeout: float, aside: Aside | None = None) -> Handler:
    """The handler of a path that asks for predictions. ``timeout`` in seconds.

    ``aside`` is where long bodies are read and written; paths of one service share it.
    """
    beside = Aside() if aside is None else aside

    def handle(exchange: Exchange) -> None:
        request = exchange.request
        if len(request.body) > LARGE and _text_in(request) > LARGE:
            _Reading(exchange, codec, engine, timeout, beside).begin()
            return
        try:
            asked = codec.read(request)
        except Problem as problem:
            exchange.reply(codec.refuse(problem))
            return
        engine.submit(_Call(exchange, codec, asked, timeout, beside))

    return handle


def _text_in(request: Request) -> int:
    """Bytes of a body that have to be parsed."""
    size = len(request.body)
    told = request.headers.get(_TEXT_LENGTH, "") if request.path.startswith("/v2/") else ""
    if told.isascii() and told.isdecimal() and len(told) < 20:
        return min(int(told), size)
    return 0 if request.headers.get("content-type", "").startswith(_BINARY) else size


class _Reading:
    """A long body on its way to the engine. Its client may leave, and its deadline may pass, meanwhile."""

    __slots__ = ("_alarm", "_aside", "_codec", "_engine", "_exchange", "_piece", "_timeout")

    def __init__(
        self, exchange: Exchange, codec: Codec, engine: Engine, timeout: float, aside: Aside
    ) -> None:
        self._exchange = exchange
        self._codec = codec
        self._engine = engine
        self._timeout = timeout
        self._aside = aside

    def begin(self) -> None:
        exchange = self._exchange
        self._piece = self._aside.do(self._read, self._submit)
        left = exchange.began + self._timeout - time.monotonic()
        self._alarm = asyncio.get_running_loop().call_later(max(0.0, left), self._late)
        exchange.on_gone = self._leave

    def _read(self) -> Asked | Problem:
        try:
            return self._codec.read(self._exchange.request)
        except Problem as problem:
            return problem
        except Exception:
            log.exception("%s failed; request %s", self._exchange.request.path, self._exchange.request_id)
            return Problem("the request could not be read; the service's log has more")

    def _submit(self, asked: Asked | Problem) -> None:
        exchange = self._exchange
        self._alarm.cancel()
        exchange.on_gone = None
        if isinstance(asked, Problem):
            exchange.reply(self._codec.refuse(asked))
        else:
            self._engine.submit(_Call(exchange, self._codec, asked, self._timeout, self._aside))

    def _late(self) -> None:
        self._leave()
        self._exchange.on_gone = None
        late = TimedOut(f"the request was not read within {self._timeout:.3g} s")
        self._exchange.reply(self._codec.refuse(late))

    def _leave(self) -> None:
        self._alarm.cancel()
        self._aside.drop(self._piece)


class _Call(Job):
    __slots__ = ("_aside", "_asked", "_codec", "_exchange")

    def __init__(self, exchange: Exchange, codec: Codec, asked: Asked, timeout: float, aside: Aside) -> None:
        super().__init__(
            asked.arrays, rows=asked.rows, began=exchange.began, deadline=exchange.began + timeout
        )
        self._aside = aside
        self._asked = asked
        self._codec = codec
        self._exchange = exchange

    @property
    def gone(self) -> bool:
        return self._exchange.gone

    @property
    def request_id(self) -> str:
        return self._exchange.request_id

    def finish(self, outputs: Mapping[str, Value]) -> None:
        if any(map(_is_long, outputs.values())):
            self._aside.do(partial(self._written_safely, outputs), self._exchange.reply)
        else:
            self._exchange.reply(self._written(outputs))

    def _written(self, outputs: Mapping[str, Value]) -> Response:
        try:
            return self._codec.write(self._asked, outputs)
        except Problem as problem:  # an output that this protocol cannot express
            return self._codec.refuse(problem)

    def _written_safely(self, outputs: Mapping[str, Value]) -> Response:
        try:
            return self._written(outputs)
        except Exception:
            log.exception("an answer could not be written; request %s", self.request_id)
            return self._codec.refuse(Problem("the answer could not be written; the service's log has more"))

    def fail(self, problem: Problem) -> None:
        self._exchange.reply(self._codec.refuse(problem))


def _is_long(value: Value) -> bool:
    """True for an output that takes long to write."""
    if isinstance(value, np.ndarray):
        return value.size > _MANY_VALUES
    return isinstance(value, list | dict) and len(value) > _MANY_ENTRIES
