"""What BentoML puts around a call: the request and the answer that ``bentoml.Context()`` finds, and an id.

A method without a ``ctx`` parameter may still ask for them, but hardly ever does; so they are only made
when they are asked for.
"""

from __future__ import annotations

from collections.abc import Callable
from contextvars import Context, copy_context
from random import getrandbits
from typing import Any

from ..exchange import Request
from .through import scope_of

Made = Callable[[Request], "Surroundings"]


class Surroundings:
    """Of one call. ``context`` is what the method runs in."""

    __slots__ = ("_asked", "_response", "context", "request_id")

    def __init__(self, request: Any, response: Any, variables: tuple[Any, Any, Any]) -> None:
        self.request_id = getrandbits(64) or 1
        self.context: Context = copy_context()
        self._asked = request
        self._response = response
        for variable, value in zip(variables, (request, response, self.request_id), strict=True):
            self.context.run(variable.set, value)

    @property
    def touched(self) -> bool:
        """The method has asked for its request or its answer: there may be something to clear up."""
        return self._asked.made is not None or self._response.made is not None

    async def close(self) -> None:
        """Run what was to run after the answer, then give back the folder of this request's files."""
        from bentoml._internal.context import request_tempdir_pool

        request, response = self._asked.made, self._response.made
        if response is not None:
            await response.background()
        if request is not None and hasattr(request.state, "temp_dir"):
            request_tempdir_pool.release(request.state.temp_dir)


def surroundings() -> Made:
    """How to make them. Imports BentoML."""
    from bentoml._internal.context import ServiceContext, _request_var, _response_var, trace_context
    from starlette.requests import Request as Full

    variables = (_request_var, _response_var, trace_context._request_id_var)  # noqa: SLF001  # no other way in 1.4

    def full(request: Request) -> Any:
        made = Full(scope_of(request))
        made._body = bytes(request.body)  # noqa: SLF001  # where Starlette keeps a body that was read
        made.metadata = made.headers
        return made

    def make(request: Request) -> Surroundings:
        return Surroundings(_Late(lambda: full(request)), _Late(ServiceContext.ResponseContext), variables)

    return make


class _Late:
    """Stands for an object that is made when one of its attributes is first used."""

    __slots__ = ("_make", "made")

    def __init__(self, make: Callable[[], Any]) -> None:
        object.__setattr__(self, "_make", make)
        object.__setattr__(self, "made", None)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._full(), name)

    def __setattr__(self, name: str, value: object) -> None:
        setattr(self._full(), name, value)

    def _full(self) -> Any:
        if self.made is None:
            object.__setattr__(self, "made", self._make())
        return self.made
