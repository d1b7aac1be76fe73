"""Asking a worker whether it is ready, without waiting: a hung worker must not hang its supervisor."""

from __future__ import annotations

import socket
from dataclasses import dataclass
from pathlib import Path

_REQUEST = b"GET /readyz HTTP/1.1\r\nHost: worker\r\nConnection: close\r\n\r\n"
_ENOUGH = 8192


@dataclass(frozen=True, slots=True)
class Answer:
    """What a probe found. ``status`` is None where no HTTP answer came."""

    status: int | None
    text: str = ""
    """The body's first line, or what happened instead."""

    @property
    def ready(self) -> bool:
        return self.status == 200

    def __str__(self) -> str:
        if self.status is None:
            return self.text
        return f"answered {self.status}{': ' + self.text if self.text else ''}"


class Probe:
    """One ``GET /readyz`` over a unix socket: sent at once, answered when `poll` says so."""

    def __init__(self, path: Path, *, deadline: float) -> None:
        self._deadline = deadline
        self._received = b""
        self._early: Answer | None = None
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._socket.setblocking(False)
        try:
            self._socket.connect(str(path))
            self._socket.send(_REQUEST)
        except BlockingIOError:
            self._early = Answer(None, "its queue of connections is full")
        except OSError:
            self._early = Answer(None, "not listening yet")

    def fileno(self) -> int:
        """For `select`."""
        return self._socket.fileno()

    def poll(self, now: float) -> Answer | None:
        """The answer, as soon as there is one; the probe is over then."""
        answer = self._early or self._read(now)
        if answer is not None:
            self.close()
        return answer

    def close(self) -> None:
        self._socket.close()

    def _read(self, now: float) -> Answer | None:
        try:
            while part := self._socket.recv(4096):
                self._received += part
                if len(self._received) > _ENOUGH:
                    break
        except BlockingIOError:
            return Answer(None, "did not answer in time") if now >= self._deadline else None
        except OSError:
            return Answer(None, "closed the connection without an answer")
        return parse(self._received)


def parse(received: bytes) -> Answer:
    """The answer in the bytes of an HTTP response."""
    head, _, body = received.partition(b"\r\n\r\n")
    parts = head.split(b" ", 2)
    if len(parts) < 2 or not parts[0].startswith(b"HTTP/") or not parts[1].isdigit():
        return Answer(None, "answered with something other than HTTP")
    lines = body.decode(errors="replace").strip().splitlines()
    return Answer(int(parts[1]), lines[0][:200] if lines else "")
