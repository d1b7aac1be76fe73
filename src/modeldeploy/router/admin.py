"""Envoy's admin interface over its unix socket, and nothing more of HTTP than that takes.

`status` runs through here, so the standard library's HTTP client (14 ms to import, more than half of
what the command may take) is left alone.
"""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

from modeldeploy.errors import TargetUnavailable


class Session:
    """One connection. All its answers come from the same Envoy process."""

    def __init__(self, connection: socket.socket, stream: BinaryIO) -> None:
        self._connection = connection
        self._stream = stream

    def ask(self, path: str, *, method: str = "GET") -> str:
        """Send a request, return the answer's body. Raises ConnectionError for a status other than 200."""
        head = f"{method} {path} HTTP/1.1\r\nhost: envoy\r\ncontent-length: 0\r\n\r\n"
        self._connection.sendall(head.encode("ascii"))
        status = self._line().split(" ", 2)[1:2]
        body = self._body(self._headers()).decode()
        if status != ["200"]:
            raise ConnectionError(f"{method} {path} was answered with {body.strip()[:200]!r}")
        return body

    def ask_json(self, path: str) -> Any:
        """`ask` for an answer in JSON."""
        return json.loads(self.ask(path))

    def _headers(self) -> dict[str, str]:
        headers = {}
        while line := self._line():
            name, _, value = line.partition(":")
            headers[name.strip().lower()] = value.strip().lower()
        return headers

    def _body(self, headers: dict[str, str]) -> bytes:
        if headers.get("transfer-encoding") != "chunked":
            return self._exactly(int(headers["content-length"]))
        chunks = []
        while size := int(self._line(), 16):
            chunks.append(self._exactly(size))
            self._line()
        self._line()
        return b"".join(chunks)

    def _line(self) -> str:
        line = self._stream.readline()
        if not line.endswith(b"\n"):
            raise ConnectionError("the connection ended inside an answer")
        return line.rstrip(b"\r\n").decode("latin-1")

    def _exactly(self, size: int) -> bytes:
        content = self._stream.read(size)
        if len(content) != size:
            raise ConnectionError("the connection ended inside an answer")
        return content


@contextmanager
def session(path: Path, *, timeout: float = 2.0) -> Iterator[Session]:
    """Connect to the admin socket. Raises `TargetUnavailable` for whatever goes wrong inside.

    ``timeout`` is in seconds, for each read and write.
    """
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
            connection.settimeout(timeout)
            connection.connect(str(path))
            with connection.makefile("rb") as stream:
                yield Session(connection, stream)
    except (OSError, ValueError, KeyError, IndexError) as error:
        raise TargetUnavailable(
            f"the router does not answer on {path}: {error or type(error).__name__}",
            hint="see what is running: mdeploy status",
        ) from error
