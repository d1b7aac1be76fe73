"""What a protocol is: a codec between HTTP messages and arrays, and the handler that is the same for all."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from ..engine.job import Engine, Job
from ..exchange import Exchange, Handler, Request, Response
from ..problems import Problem
from ..runtimes.base import Value
from ..tensors.rules import Array


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
    """One protocol's way of asking for a prediction. Without state; called on the loop's thread."""

    def read(self, request: Request) -> Asked:
        """The arrays in a request. Raises `Problem`, usually `BadInput`, in words that name the field."""

    def write(self, asked: Asked, outputs: Mapping[str, Value]) -> Response:
        """The answer with the outputs."""

    def refuse(self, problem: Problem) -> Response:
        """The answer in place of outputs, with the problem's status, in the protocol's own form."""


def endpoint(codec: Codec, engine: Engine, *, timeout: float) -> Handler:
    """The handler of a path that asks for predictions. ``timeout`` in seconds."""

    def handle(exchange: Exchange) -> None:
        try:
            asked = codec.read(exchange.request)
        except Problem as problem:
            exchange.reply(codec.refuse(problem))
            return
        engine.submit(_Call(exchange, codec, asked, timeout))

    return handle


class _Call(Job):
    __slots__ = ("_asked", "_codec", "_exchange")

    def __init__(self, exchange: Exchange, codec: Codec, asked: Asked, timeout: float) -> None:
        super().__init__(
            asked.arrays, rows=asked.rows, began=exchange.began, deadline=exchange.began + timeout
        )
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
        try:
            answer = self._codec.write(self._asked, outputs)
        except Problem as problem:  # an output that this protocol cannot express
            answer = self._codec.refuse(problem)
        self._exchange.reply(answer)

    def fail(self, problem: Problem) -> None:
        self._exchange.reply(self._codec.refuse(problem))
