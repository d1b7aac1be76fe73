"""Connections whose answers have to begin in time, as a whole.

A timeout of a socket begins anew with each byte. So a server that sends its headers one by one, or
``100 Continue`` again and again, would keep a command for ever: here a clock runs beside.
"""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from urllib3 import HTTPConnectionPool, HTTPSConnectionPool, PoolManager
from urllib3.connection import HTTPConnection, HTTPSConnection

_MORE = 5.0
"""Seconds on top of what the first byte may take."""


@contextmanager
def _clock(connection: Any) -> Iterator[None]:
    """Hang up on a server whose headers do not end."""
    stream, limit = connection.sock, connection.timeout
    if stream is None or not isinstance(limit, int | float):
        yield
        return
    # Not the TLS layer's own shutdown, which another thread is reading from.
    with within(limit + _MORE, lambda: socket.socket.shutdown(stream, socket.SHUT_RDWR)) as over:
        yield
    if over.is_set():  # headers that were cut off must not pass for all of them
        raise TimeoutError("its headers did not end")


@contextmanager
def within(seconds: float, hang_up: Callable[[], object]) -> Iterator[threading.Event]:
    """Call ``hang_up`` if the context lasts longer; yields what says whether it was called."""
    over = threading.Event()

    def late() -> None:
        over.set()
        with contextlib.suppress(OSError, RuntimeError, ValueError):
            hang_up()

    timer = threading.Timer(seconds, late)
    timer.daemon = True
    timer.start()
    try:
        yield over
    finally:
        timer.cancel()


class _Plain(HTTPConnection):
    def getresponse(self) -> Any:
        with _clock(self):
            return super().getresponse()


class _Encrypted(HTTPSConnection):
    def getresponse(self) -> Any:
        with _clock(self):
            return super().getresponse()


class _PlainPool(HTTPConnectionPool):
    ConnectionCls = _Plain


class _EncryptedPool(HTTPSConnectionPool):
    ConnectionCls = _Encrypted


def hurried(manager: PoolManager) -> PoolManager:
    """The same manager, with such connections."""
    manager.pool_classes_by_scheme = {"http": _PlainPool, "https": _EncryptedPool}
    return manager
