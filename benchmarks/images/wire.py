"""A proxy that counts what clients send through it."""

from __future__ import annotations

import socket
import threading
from contextlib import suppress
from types import TracebackType
from typing import Self

_CHUNK = 1 << 18


class CountingProxy:
    """Passes connections on to a port of this machine."""

    def __init__(self, upstream: int) -> None:
        self._upstream = upstream
        self._sent = 0
        self._lock = threading.Lock()

    def __enter__(self) -> Self:
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._listener.close()

    def sent(self) -> int:
        """Bytes that clients have sent since this was asked last."""
        with self._lock:
            count, self._sent = self._sent, 0
        return count

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                server = socket.create_connection(("127.0.0.1", self._upstream))
                threading.Thread(target=self._pump, args=(client, server, True), daemon=True).start()
                threading.Thread(target=self._pump, args=(server, client, False), daemon=True).start()

    def _pump(self, source: socket.socket, sink: socket.socket, count: bool) -> None:  # noqa: FBT001 - a thread's
        with suppress(OSError):
            while chunk := source.recv(_CHUNK):
                sink.sendall(chunk)
                if count:
                    with self._lock:
                        self._sent += len(chunk)
        with suppress(OSError):
            sink.shutdown(socket.SHUT_WR)
