"""One HTTP request over a worker's unix socket: how a bundle under `launch.command` is spoken to."""

from __future__ import annotations

import os
import socket
from pathlib import Path

from modeldeploy.model import HttpRequest, HttpResponse


def ask(place: Path, request: HttpRequest) -> HttpResponse:
    """Send a request on a connection of its own, return the answer whatever its status.

    Raises OSError where nobody answers, or where the answer breaks off.
    """
    from http.client import HTTPConnection, HTTPException  # 20 ms that no quick command needs

    connection = HTTPConnection("worker", timeout=request.timeout)
    connection.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        connection.sock.settimeout(request.timeout)
        connection.sock.connect(os.fspath(place))
        connection.request(request.method, request.path, request.body or None, dict(request.headers))
        answer = connection.getresponse()
        headers = {name.lower(): value for name, value in answer.getheaders()}
        return HttpResponse(answer.status, answer.read(), headers)
    except HTTPException as error:
        raise ConnectionError(f"the worker broke off its answer: {error or type(error).__name__}") from error
    finally:
        connection.close()
