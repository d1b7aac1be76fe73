"""The access log: a JSON line on stderr for each request, where ``MDEPLOY_ACCESS_LOG=1`` asks for it.

The lines have the form of all others of a worker (`logs`). They hold no path, query, header or value of a
request: only its id, which the server has checked. All is ASCII, so nobody can write a line of their own.
"""

from __future__ import annotations

import json
import sys
from datetime import UTC, datetime
from typing import TYPE_CHECKING, TextIO

if TYPE_CHECKING:
    from .watch import Seen

LOGGER = "mdeploy_serving.access"


class AccessLog:
    """Writes the log."""

    def __init__(self, stream: TextIO | None = None) -> None:
        self._stream = stream or sys.stderr
        self._version = ""

    def start(self, name: str, version: str) -> None:  # noqa: ARG002  # an observer's signature
        self._version = version

    def note(self, seen: Seen) -> None:
        exchange, run, response = seen.exchange, seen.run, seen.response
        line = {
            "time": datetime.now(UTC).isoformat(timespec="milliseconds"),
            "level": "info",
            "logger": LOGGER,
            "message": f"{seen.route.method} {seen.route.name} {seen.status}",
            "request_id": exchange.request_id,
            "route": seen.route.name,
            "status": seen.status,
            "ms": round((seen.ended - exchange.began) * 1000, 3),
            "bytes_in": len(exchange.request.body),
            "bytes_out": len(response.body) if response is not None else 0,
            "model_version": self._version,
            "batch_rows": run.rows if run is not None else 0,
            "batch_requests": run.requests if run is not None else 0,
        }
        self._stream.write(json.dumps(line) + "\n")
        self._stream.flush()

    def close(self) -> None:
        """Nothing is held back."""
