"""One HTTP request over a worker's unix socket."""

from __future__ import annotations

import http.client
import socket
from pathlib import Path

from modeldeploy.errors import TargetUnavailable
from modeldeploy.model import HttpRequest, HttpResponse


class _Connection(http.client.HTTPConnection):
    def __init__(self, path: Path, timeout: float) -> None:
        super().__init__("worker", timeout=timeout)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(str(self._path))


def call(path: Path, request: HttpRequest) -> HttpResponse:
    """Send a request, return the answer whatever its status. Raises `TargetUnavailable` without one."""
    connection = _Connection(path, request.timeout)
    try:
        connection.request(request.method, request.path, request.body or None, dict(request.headers))
        answer = connection.getresponse()
        headers = {name.lower(): value for name, value in answer.getheaders()}
        return HttpResponse(answer.status, answer.read(), headers)
    except (OSError, http.client.HTTPException) as error:
        what = f"{request.method} {request.path}"
        raise TargetUnavailable(
            f"the worker did not answer {what}: {error or type(error).__name__}"
        ) from error
    finally:
        connection.close()
