"""One method of a user's service, as a handler of the fast lane."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from functools import partial
from typing import Any

from ..exchange import JSON, Exchange, Response
from .batches import Batches
from .call import Call, House, not_ready
from .fitness import ELSEWHERE
from .messages import media_type_of, reader, writer
from .metrics import PathCounts
from .through import asked, scope_of


class Endpoint:
    """Answers requests to one method, once `bind` has told of the service that has started."""

    def __init__(self, house: House, name: str, method: Any, counts: PathCounts | None) -> None:
        self.house = house
        self.counts = counts
        self._method = method
        self._name = name
        self._read = reader(method.input_spec)
        self._write = writer(method.output_spec)
        self._begin: Callable[[Call], None] | None = None
        self._local: Callable[..., Any] = _nobody

    def bind(self, instance: Any) -> None:
        """The service has started: this object has the method."""
        from bentoml._internal.utils import get_original_func

        self._local = getattr(instance, self._name).local
        waits = inspect.iscoroutinefunction(get_original_func(self._local))
        if self._method.batchable:
            run = self._local if waits else partial(self.house.threads.run, self._local)
            batches = Batches(self._method, run, self._write, self.house.meter)
            self._begin = partial(self._join, batches)
        else:
            self._begin = self._as_task if waits else self._in_thread

    def unbind(self) -> None:
        """The service was put away."""
        self._begin = None
        self._local = _nobody

    def __call__(self, exchange: Exchange) -> None:
        """The handler."""
        headers = exchange.request.headers
        if headers.get("content-type", JSON) != JSON and media_type_of(headers) in ELSEWHERE:
            self.house.elsewhere(exchange)
        elif self._begin is None:
            exchange.reply(not_ready())
        else:
            self._begin(Call(self, exchange))

    async def unusual(self, call: Call, output: Any) -> Response:
        """BentoML's own way from an odd output to its answer."""
        from _bentoml_impl.serde import JSONSerde
        from starlette.responses import Response as Ready

        if not isinstance(output, Ready):
            output = await self._method.output_spec.to_http_response(output, JSONSerde())
        return await asked(output, scope_of(call.exchange.request))

    def _in_thread(self, call: Call) -> None:
        body = call.exchange.request.body

        def work() -> Response:
            positional, named = self._read(bytes(body))
            return self._write(self._local(*positional, **named))

        self.house.threads.submit(partial(call.outcome, work))

    def _as_task(self, call: Call) -> None:
        async def work() -> Response:
            positional, named = self._read(bytes(call.exchange.request.body))
            return self._write(await self._local(*positional, **named))

        call.spawn(work)

    def _join(self, batches: Batches, call: Call) -> None:
        try:
            positional, named = call.around.context.run(self._read, bytes(call.exchange.request.body))
            values = (*positional, *named.values())
            if len(values) != 1:
                raise TypeError("Batch inference function only accept one argument")  # noqa: TRY301  # BentoML's words
            batches.add(call, values[0])
        except Exception as error:  # noqa: BLE001  # bad input, or a value that has no rows
            call.fail(error)


def _nobody(*_: object, **__: object) -> Any:
    raise RuntimeError("the service has not started")
