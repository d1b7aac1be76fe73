"""BentoML's own counts of a service's requests, kept for those that its own middleware does not see."""

from __future__ import annotations

import time
from typing import Any


class Counts:
    """Of one service. ``middleware`` is BentoML's, which counts the requests that its own app answers."""

    def __init__(self, middleware: Any) -> None:
        from bentoml._internal.context import server_context

        middleware._setup()  # noqa: SLF001  # it would do so at its first request
        self._middleware = middleware
        self._named = {
            "service_name": server_context.bento_name,
            "service_version": server_context.bento_version,
            "runner_name": server_context.service_name,
        }

    def path(self, path: str) -> PathCounts:
        """The counts of one path."""
        return PathCounts(self._middleware, {"endpoint": path, **self._named}, self._named)


class PathCounts:
    """Of one path. Finding a metric by its labels takes longer than adding to it, so they are kept."""

    __slots__ = ("_by_status", "_labels", "_last", "_middleware", "_running")

    def __init__(self, middleware: Any, labels: dict[str, Any], service: dict[str, Any]) -> None:
        self._middleware = middleware
        self._labels = labels
        self._by_status: dict[int, tuple[Any, Any]] = {}
        self._running = middleware.metrics_request_in_progress.labels(**labels)
        self._last = middleware.metrics_last_request_timestamp.labels(**service)

    def begin(self) -> None:
        """A request came."""
        self._last.set(time.time())
        self._running.inc()

    def end(self, status: int, seconds: float) -> None:
        """It was answered."""
        found = self._by_status.get(status)
        if found is None:
            labels = {**self._labels, "http_response_code": status}
            found = self._by_status[status] = (
                self._middleware.metrics_request_total.labels(**labels),
                self._middleware.metrics_request_duration.labels(**labels),
            )
        self._running.dec()
        found[0].inc()
        found[1].observe(seconds)
