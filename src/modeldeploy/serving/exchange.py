"""A request, its answer, and who answers: what servers and protocols have in common.

A handler is called on the event loop's thread with an `Exchange`, and answers it exactly once, at once or
later, by `Exchange.reply`. No future and no task stands between the two, because for a small model those
cost more than the model does. Servers (raw connections, ASGI, gRPC) make the exchanges; protocols handle
them, and do not ask where they come from.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field

JSON = "application/json"


@dataclass(slots=True)
class Request:
    """One HTTP request, complete. Header names are in lower case; ``path`` has no query in it."""

    method: str
    path: str
    headers: Mapping[str, str]
    body: bytes | bytearray | memoryview
    query: str = ""


@dataclass(slots=True)
class Response:
    """One HTTP answer. The server adds the length, the date and the request's id."""

    status: int
    body: bytes | bytearray | memoryview = b""
    media_type: str = JSON
    headers: tuple[tuple[str, str], ...] = ()


class Exchange(ABC):
    """A request that waits for its answer."""

    __slots__ = ("began", "gone", "on_gone", "request")

    def __init__(self, request: Request, began: float) -> None:
        self.request = request
        self.began = began
        """When its first byte came, by ``time.monotonic()``."""
        self.gone = False
        """The client hung up: the answer will not be read. Set by the server."""
        self.on_gone: Callable[[], None] | None = None
        """What a handler wants to be called when the client hangs up before the answer, to stop its work."""

    @property
    def request_id(self) -> str:
        """What the answer's header ``x-request-id`` says, for logs; "" where the server gives none."""
        return ""

    @abstractmethod
    def reply(self, response: Response) -> None:
        """Answer, once, on the event loop's thread; from others by ``loop.call_soon_threadsafe``.

        Of a client that is gone, nothing comes of it.
        """


Handler = Callable[[Exchange], None]


@dataclass(frozen=True, slots=True)
class Route:
    """One path of the fast lane. ``name`` stands for it in metrics and logs."""

    method: str
    path: str
    handler: Handler
    name: str
    max_body: int
    """Bytes; a request with a larger body is answered with 413 before it is read."""
    counted: bool = True
    """False for health checks and metrics: they are no predictions, and say nothing of the model."""


@dataclass(slots=True)
class Routes:
    """The paths that the fast lane answers, each exactly as it is written; all others are the app's."""

    _routes: dict[tuple[str, str], Route] = field(default_factory=dict)

    def add(self, route: Route) -> None:
        """Raises ValueError for a method and path that is taken."""
        key = (route.method, route.path)
        if key in self._routes:
            raise ValueError(f"{route.method} {route.path} is there twice")
        self._routes[key] = route

    def find(self, method: str, path: str) -> Route | None:
        """The route of a request."""
        return self._routes.get((method, path))

    def methods(self, path: str) -> tuple[str, ...]:
        """The methods that a path has; none for a path that is not of the fast lane."""
        return tuple(sorted(known for known, place in self._routes if place == path))

    def __iter__(self) -> Iterator[Route]:
        return iter(self._routes.values())

    def __len__(self) -> int:
        return len(self._routes)
