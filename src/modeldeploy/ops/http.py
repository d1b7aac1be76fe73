"""One HTTP request to an endpoint, with errors in mdeploy's words."""

from __future__ import annotations

import http.client
from urllib.parse import urlsplit

from modeldeploy.errors import ConfigError, TargetUnavailable
from modeldeploy.model import HttpResponse

TIMEOUT = 60.0
"""Seconds to wait for an answer."""


def send(endpoint: str, path: str, body: bytes) -> HttpResponse:
    """POST a JSON body and return whatever answer comes. Raises `TargetUnavailable` for none."""
    parts = urlsplit(endpoint)
    if not path.startswith("/"):
        raise ConfigError(f"the path must begin with a slash: {path!r}", hint=f"--path /{path}")
    connect = http.client.HTTPSConnection if parts.scheme == "https" else http.client.HTTPConnection
    connection = connect(parts.hostname or "", parts.port, timeout=TIMEOUT)
    try:
        connection.request("POST", parts.path + path, body, {"content-type": "application/json"})
        answer = connection.getresponse()
        headers = {name.lower(): value for name, value in answer.getheaders()}
        return HttpResponse(answer.status, answer.read(), headers)
    except (OSError, http.client.HTTPException) as error:
        raise TargetUnavailable(
            f"{endpoint} does not answer: {error or type(error).__name__}",
            hint="see what is down: mdeploy status; bring it back: mdeploy up",
        ) from error
    finally:
        connection.close()
