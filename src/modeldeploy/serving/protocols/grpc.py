"""gRPC: the Open Inference Protocol with health checks and reflection, beside HTTP on the same event loop.

`Grpc` is the lane's companion. A request for a prediction becomes an `Exchange` like any other, so timeouts,
metrics, access log and traces are those of HTTP. gRPC's library is imported when it starts: only in
services whose project asks for ``protocols = ["grpc"]``, and in the worker's own process, after it was made.
"""

from __future__ import annotations

import asyncio
import logging
import os
import time
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from ..engine.job import Engine
from ..exchange import Exchange, Handler, Request, Response, Route
from ..observe.base import Meter
from ..observe.watch import Watch
from ..problems import ModelFailed, NotFound, Problem
from ..server.context import Room
from ..server.head import accepted_id
from ..server.places import remove_stale
from ..settings import ServiceSettings
from ..spec import ServiceSpec
from . import v2_metadata
from .base import endpoint
from .grpc_calls import Calls
from .grpc_infer import INTERNAL, STATUS, Infer, check_model, refusal
from .grpc_messages import HEALTH, INFERENCE, REFLECTION, REFLECTION_ALPHA, Messages
from .grpc_reflection import Reflected, reflected
from .identity import Identity

REQUIREMENTS = ("grpcio>=1.62,<2", "protobuf>=5.26,<8")
"""What a bundle needs for it."""
log = logging.getLogger("mdeploy_serving")

_INFER = f"/{INFERENCE}/ModelInfer"
_REQUEST_ID = "x-request-id"
_SERVING, _NOT_SERVING, _SERVICE_UNKNOWN = 1, 2, 3
_LOOK = 0.5
"""Seconds between two looks at the engine for those who watch its health."""
_IDENTITY_ONLY = 1
"""Bit set of the compressions that we read: a compressed message may hide one of any size."""
_MOST_CALLS = 2048
"""Predictions at once; their messages are bounded by the room for bodies."""
_MOST_TOLD = 256
"""Other calls at once: health and its watchers, metadata, reflection."""
_ASIDE = 2
"""Messages of those that are read at once: what is asked of health does not wait for large bodies."""
_PATIENCE = 1.0
"""Seconds that a call waits for room to be read in, and that a message other than a prediction's may take."""
_LONGER = 3.0
"""Seconds that those wait for room: whoever has it and sends nothing has lost it by then."""
_GOODBYE = 1.0
"""Seconds in which clients without a call may close, when we stop."""


def call_id(headers: Mapping[str, str]) -> str:
    """A call's id: the client's, if it gives one that can stand in a log, else a new one."""
    given = accepted_id(headers.get(_REQUEST_ID, ""))
    return given.decode() if given else os.urandom(12).hex()


class GrpcExchange(Exchange):
    """A call that waits for its answer."""

    __slots__ = ("_id", "_loop", "_waiter", "response")

    def __init__(self, request: Request, began: float, loop: asyncio.AbstractEventLoop) -> None:
        super().__init__(request, began)
        self.response: Response | None = None
        self._loop = loop
        self._waiter: asyncio.Future[None] | None = None
        self._id = ""

    @property
    def request_id(self) -> str:
        self._id = self._id or call_id(self.request.headers)
        return self._id

    def reply(self, response: Response) -> None:
        if self.response is None:
            self.response = response
            if self._waiter is not None and not self._waiter.done():
                self._waiter.set_result(None)

    async def answer(self) -> Response:
        """The answer, as soon as it is there."""
        if self.response is None:
            self._waiter = self._loop.create_future()
            await self._waiter
        return self.response  # type: ignore[return-value]  # `reply` has set it

    def leave(self) -> None:
        """Nobody waits any more."""
        self.gone = True
        if self.on_gone is not None:
            self.on_gone()


class Grpc:
    """The gRPC server of a service; made without gRPC's library, which `start` needs."""

    def __init__(
        self, spec: ServiceSpec, engine: Engine, who: Identity, settings: ServiceSettings, meter: Meter
    ) -> None:
        self._spec, self._engine, self._who, self._settings = spec, engine, who, settings
        self._meter = meter
        self._watch = meter if isinstance(meter, Watch) else None
        self._messages: Any = None
        self._server: Any = None
        self._codes: dict[int, Any] = {}
        self._stopping = asyncio.Event()
        body = settings.max_body
        self._told, self._mirrors = (
            Calls(Room(_ASIDE * body), body, _MOST_TOLD, _LONGER, _PATIENCE) for _ in range(2)
        )
        self._calls = self._told
        self.port = 0
        """Where it listens, once it does; 0 on a unix socket."""

    async def start(self, address: str, room: Room) -> None:
        """Listen on ``host:port`` or ``unix:PATH``. Raises OSError if taken, ImportError without grpcio."""
        os.environ.setdefault("GRPC_VERBOSITY", "NONE")  # what goes wrong, we say ourselves, in JSON
        import grpc
        import grpc.aio

        self._codes = {code.value[0]: code for code in grpc.StatusCode}
        self._messages = Messages()
        body, timeout = self._settings.max_body, self._settings.timeout
        self._calls = Calls(room, body, _MOST_CALLS, min(_PATIENCE, timeout), timeout)
        most = _MOST_CALLS + 2 * _MOST_TOLD
        server = grpc.aio.server(options=self._options(), maximum_concurrent_rpcs=most)
        server.add_generic_rpc_handlers(tuple(self._services(grpc)))
        self.port = _bound(server, address)
        await server.start()
        self._server = server
        log.info("gRPC on %s", address if address.startswith("unix:") else f"port {self.port}")

    async def stop(self, grace: float) -> None:
        """Take no new calls, tell watchers of our health, and let calls in flight end within ``grace`` s.

        gRPC's library would wait for clients that hang, too, though they ask nothing. It must not be stopped
        a second time while it stops: whoever comes first frees what the other still uses.
        """
        self._stopping.set()
        if self._server is None:
            return
        ending = asyncio.ensure_future(self._server.stop(grace))
        if in_flight := self._calls.tasks | self._told.tasks:
            await asyncio.wait(in_flight, timeout=grace)
        await asyncio.wait([ending], timeout=min(grace, _GOODBYE))
        if not ending.done():
            ending.cancel()
            await asyncio.wait([ending])
            await self._server.stop(None)

    def _options(self) -> list[tuple[str, int]]:
        return [
            ("grpc.max_receive_message_length", self._settings.max_body),
            ("grpc.max_send_message_length", -1),
            ("grpc.so_reuseport", int(self._settings.workers > 1)),  # else two services could share one
            ("grpc.compression_enabled_algorithms_bitset", _IDENTITY_ONLY),
            ("grpc.http2.bdp_probe", 0),
        ]

    def _services(self, grpc: Any) -> list[Any]:
        unary = grpc.stream_unary_rpc_method_handler  # as on the wire; but we say when its message is read
        told = {name: unary(self._telling(INFERENCE, name, tell)) for name, tell in self._tellers().items()}
        handler = endpoint(
            Infer(self._spec, self._who, self._messages), self._engine, timeout=self._settings.timeout
        )
        told["ModelInfer"] = unary(self._predicting(handler))
        health = {
            "Check": unary(self._telling(HEALTH, "HealthCheck", self._check)),
            "Watch": grpc.stream_stream_rpc_method_handler(self._watch_health),
        }
        services = {INFERENCE: told, HEALTH: health}
        for name in (REFLECTION, REFLECTION_ALPHA):
            info = self._reflecting(reflected(self._messages, name))
            method = grpc.stream_stream_rpc_method_handler(info)
            services[name] = {"ServerReflectionInfo": method}
        return [grpc.method_handlers_generic_handler(*service) for service in services.items()]

    # predictions

    def _predicting(self, handler: Handler) -> Callable[[AsyncIterator[bytes], Any], Any]:
        route = Route("POST", _INFER, handler, _INFER, self._settings.max_body)
        route = self._watch.seen(route) if self._watch else route
        loop = asyncio.get_running_loop()

        async def infer(_: AsyncIterator[bytes], context: Any) -> bytes:
            request = Request("POST", _INFER, dict(context.invocation_metadata()), b"")
            exchange = GrpcExchange(request, time.monotonic(), loop)
            try:
                self._calls.begin()
                async with self._calls.message(context) as request.body:
                    route.handler(exchange)
                    response = exchange.response or await exchange.answer()
            except Problem as problem:
                response = refusal(problem)
            except asyncio.CancelledError:
                left = context.time_remaining()
                exchange.leave()
                self._report(route, exchange, 504 if left is not None and left <= 0 else 499)
                raise
            except Exception:
                log.exception("%s failed; request %s", _INFER, exchange.request_id)
                response = refusal(ModelFailed("the service failed"))
            self._report(route, exchange, response.status)
            request.body = b""  # what failed would keep it, by its traceback
            if response.status != 200:
                await self._abort(context, response, exchange.request_id)
            return response.body  # type: ignore[return-value]  # `Infer.write` makes bytes

        return infer

    def _report(self, route: Route, exchange: Exchange, status: int) -> None:
        seconds = time.monotonic() - exchange.began
        self._meter.answered(route, status, seconds)
        if self._watch is not None:
            self._watch.watched(route, exchange, status, seconds)

    async def _abort(self, context: Any, response: Response, request_id: str) -> None:
        """End a call with a refusal. Always raises."""
        headers = dict(response.headers)
        code = self._codes[int(headers.pop(STATUS, INTERNAL))]
        trailers = ((_REQUEST_ID, request_id), *headers.items())
        await context.abort(code, bytes(response.body).decode(), trailers)

    # what is told of the service

    def _telling(self, service: str, name: str, tell: Callable[[Any], dict[str, Any]]) -> Any:
        """A call that is answered with the fields of a message."""
        package = service.rpartition(".")[0]
        parse = self._messages.parser(f"{package}.{name}Request")
        answer = self._messages.classes[f"{package}.{name}Response"]

        async def call(_: AsyncIterator[bytes], context: Any) -> bytes:
            try:
                self._told.begin()
                async with self._told.message(context) as body:
                    return answer(**tell(parse(body))).SerializeToString()  # type: ignore[no-any-return]  # untyped
            except Problem as problem:
                await self._refuse(context, problem)
            raise AssertionError("an aborted call goes on")

        return call

    async def _refuse(self, context: Any, problem: Problem) -> None:
        """As `_abort`."""
        await self._abort(context, refusal(problem), call_id(dict(context.invocation_metadata())))

    def _tellers(self) -> dict[str, Callable[[Any], dict[str, Any]]]:
        spec, who = self._spec, self._who
        index = [{"name": who.name, "version": who.version or "1", "state": "READY"}]
        return {
            "ServerLive": lambda _: {"live": True},
            "ServerReady": lambda _: {"ready": self._ready},
            "ModelReady": lambda asked: self._of_model(asked, {"ready": self._ready}),
            "ServerMetadata": lambda _: v2_metadata.server(who),
            "ModelMetadata": lambda asked: self._of_model(asked, v2_metadata.model(spec, who)),
            "RepositoryIndex": lambda asked: {"models": index if self._ready or not asked.ready else []},
        }

    def _of_model(self, asked: Any, told: dict[str, Any]) -> dict[str, Any]:
        check_model(self._who, asked.name, asked.version)
        return told

    @property
    def _ready(self) -> bool:
        return self._engine.ready and not self._stopping.is_set()

    def _check(self, asked: Any) -> dict[str, Any]:
        status = self._health(asked.service)
        if status == _SERVICE_UNKNOWN:
            raise NotFound(f'there is no service "{asked.service[:60]}"', expected=f'"" or {INFERENCE}')
        return {"status": status}

    def _health(self, service: str) -> int:
        if service not in {"", INFERENCE, self._who.name}:
            return _SERVICE_UNKNOWN
        return _SERVING if self._ready else _NOT_SERVING

    async def _watch_health(self, _: AsyncIterator[bytes], context: Any) -> AsyncIterator[bytes]:
        """The health now, and again whenever it changes, until the client leaves or we stop."""
        service = ""
        try:
            self._told.begin()
            async with self._told.message(context) as body:
                service = self._messages.parser("grpc.health.v1.HealthCheckRequest")(body).service
        except Problem as problem:
            await self._refuse(context, problem)
        answer = self._messages.classes["grpc.health.v1.HealthCheckResponse"]
        told = None
        while True:
            stopping = self._stopping.is_set()
            if (status := self._health(service)) != told:
                told = status
                yield answer(status=status).SerializeToString()
            if stopping:
                return
            with suppress(TimeoutError):
                await asyncio.wait_for(self._stopping.wait(), _LOOK)

    def _reflecting(self, info: Reflected) -> Reflected:
        """Reflection, of few at once: such a call reads a message whenever one comes."""

        async def call(requests: AsyncIterator[bytes], context: Any) -> AsyncIterator[bytes]:
            try:
                self._mirrors.begin()
                async with self._mirrors.place():
                    async for answer in info(requests, context):
                        yield answer
            except Problem as problem:
                await self._refuse(context, problem)

        return call


def _bound(server: Any, address: str) -> int:
    """Bind, on a path that only we may use. Raises OSError; gRPC says no more than that it failed."""
    if address.startswith("unix:"):
        remove_stale(Path(address.removeprefix("unix:")))  # gRPC takes the path even from one that lives
    before = os.umask(0o177) if address.startswith("unix:") else None
    try:
        port = server.add_insecure_port(address)
    except RuntimeError as error:
        raise OSError(f"gRPC cannot listen on {address}: is it taken?") from error
    finally:
        if before is not None:
            os.umask(before)
    if before is not None:
        Path(address.removeprefix("unix:")).chmod(0o600)
        return 0
    return int(port)
