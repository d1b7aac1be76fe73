"""Which of a user's methods the fast lane answers, and why it leaves the others to BentoML's own app.

=================================  ==================================================================
reason                             what would be lost
=================================  ==================================================================
of a service: all of its methods
``middleware``                     it sees every request, and may answer it
``cors``                           headers on every answer, and answers to ``OPTIONS``
``max_concurrency``                the count of all requests, those of mounted apps too
``access log``, ``tracing``        a line or a span for each request, as the service has configured
``trace id``                       a header with the span's id
``custom command``                 the service is a proxy of another server
of one method
``context``                        it sets headers, cookies and the status by its ``ctx`` parameter
``task``, ``stream``               they answer in parts, or later
``files``                          a form of several parts comes in, or a file goes out
``own messages``                   its input or output reads and writes HTTP itself
``responses``                      no annotation of its output, and its code makes HTTP answers itself
``parameters in its path``         ``/items/{name}``
``path taken``                     a route or app before it answers there
=================================  ==================================================================

A request is left to BentoML's app, too, if its content type is a form's or a pickle's, or its method is
not POST. ``external_queue``, ``concurrency``, ``resources``, ``replicate_process`` and the like say nothing
to a single process; TLS ends before it.
"""

from __future__ import annotations

import types
from collections.abc import Iterator, Mapping
from typing import Any

ELSEWHERE = frozenset(
    {"multipart/form-data", "application/x-www-form-urlencoded", "application/vnd.bentoml+pickle"}
)
"""Content types that are BentoML's to read."""


def service_reason(service: Any, config: Mapping[str, Any]) -> str:
    """Why no method of a service is fit; "" if they may be. ``config``: of the service, as BentoML has it."""
    http, logs = config.get("http") or {}, config.get("logging") or {}
    reasons = {
        "custom command": service.has_custom_command(),
        "middleware": bool(service.middlewares),
        "cors": (http.get("cors") or {}).get("enabled"),
        "trace id": (http.get("response") or {}).get("trace_id"),
        "max_concurrency": (config.get("traffic") or {}).get("max_concurrency"),
        "access log": (logs.get("access") or {}).get("enabled"),
        "tracing": traced(config),
    }
    return next((reason for reason, holds in reasons.items() if holds), "")


def traced(config: Mapping[str, Any]) -> bool:
    """The service exports spans."""
    return bool((config.get("tracing") or {}).get("exporter_type"))


def method_reason(method: Any, router: Any, path: str, name: str) -> str:
    """Why a method is not fit; "" if it is. ``router``: Starlette's, with BentoML's routes and the user's."""
    reasons = {
        "context": method.ctx_param is not None,
        "task": method.is_task,
        "stream": method.is_stream,
        "files": bool(_files(method.input_spec) or _files(method.output_spec)),
        "own messages": not _common(method.input_spec) or not _common(method.output_spec),
        "responses": _makes_responses(method),
        "parameters in its path": "{" in path,
        "path taken": not _is_first(router, name, path),
    }
    return next((reason for reason, holds in reasons.items() if holds), "")


def _files(spec: Any) -> bool:
    return bool(getattr(spec, "multipart_fields", ()))


def _common(spec: Any) -> bool:
    """It reads and writes as BentoML's own base class does."""
    from _bentoml_sdk.io_models import IODescriptor, IOMixin, IORootModel

    if not issubclass(spec, IOMixin):
        return False
    names = ("from_http_request", "to_http_response", "mime_type")
    if any(getattr(spec, name).__func__ is not getattr(IOMixin, name).__func__ for name in names):
        return False
    base = IORootModel if issubclass(spec, IORootModel) else IODescriptor
    return spec.model_validate_json.__func__ is base.model_validate_json.__func__


def _makes_responses(method: Any) -> bool:
    """Its output may be anything, and its code names a class of answers: better not to put it together."""
    if "return" in getattr(method.func, "__annotations__", {}):
        return False
    code = getattr(method.func, "__code__", None)
    return code is None or any(name.endswith("Response") for name in _names(code))


def _names(code: types.CodeType) -> Iterator[str]:
    yield from code.co_names
    for constant in code.co_consts:
        if isinstance(constant, types.CodeType):
            yield from _names(constant)


def _is_first(router: Any, name: str, path: str) -> bool:
    from starlette.routing import Match

    scope = {"type": "http", "method": "POST", "path": path, "root_path": "", "headers": []}
    for route in router.routes:
        if route.matches(dict(scope))[0] == Match.FULL:
            return getattr(route, "name", None) == name and getattr(route, "path", None) == path
    return False
