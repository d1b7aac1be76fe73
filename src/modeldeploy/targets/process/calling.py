"""One HTTP request to a worker, past the router."""

from __future__ import annotations

from pathlib import Path

from modeldeploy.bundle.asking import ask
from modeldeploy.errors import TargetUnavailable
from modeldeploy.model import HttpRequest, HttpResponse


def call(path: Path, request: HttpRequest) -> HttpResponse:
    """Send a request, return the answer whatever its status. Raises `TargetUnavailable` without one."""
    try:
        return ask(path, request)
    except OSError as error:
        what = f"{request.method} {request.path}"
        raise TargetUnavailable(
            f"the worker did not answer {what}: {error or type(error).__name__}"
        ) from error
