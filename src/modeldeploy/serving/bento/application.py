"""BentoML's own ASGI application of a user's service, without what only costs time.

Left out, because the answers are the same without: OpenTelemetry's spans where no exporter is configured
(BentoML makes them for each request all the same), the access log unless the service asks for it, the
schema of the answer that it makes anew for each, and the timers of requests that were long answered.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from random import getrandbits
from typing import Any, Protocol

from ..exchange import JSON
from ..lane import App, Receive, Scope, Send
from . import quiet_bentoml
from .fitness import traced
from .metrics import Counts


class Application(Protocol):
    """Starlette's, as far as it is used here."""

    router: Any

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request, or live from start to stop."""


def load_service(bundle: Path, *, workers: int = 1) -> Any:
    """The service of a Bento, set up as BentoML's own worker does (1.4: _bentoml_impl.worker.service).

    Changes into the Bento's source folder, where the service's relative paths begin. With several
    ``workers``, their counts are kept in files, so that each of them tells of all.
    """
    quiet_bentoml()
    import bentoml  # after its environment variables are set
    from bentoml._internal.container import BentoMLContainer  # no public way in 1.4
    from bentoml._internal.context import server_context  # the same
    from bentoml._internal.utils.uri import join_paths

    BentoMLContainer.metrics_client.set(_prometheus(workers))
    service = bentoml.load(os.fspath(bundle), standalone_load=True)
    BentoMLContainer.development_mode.set(False)
    server_context.service_type = "entry_service"
    server_context.service_name = service.name
    server_context.service_routes = [
        join_paths(service.path_prefix, api.route) for api in service.apis.values()
    ]
    server_context.bento_name = service.bento.tag.name
    server_context.bento_version = service.bento.tag.version or "not available"
    return service


def _prometheus(workers: int) -> Any:
    from bentoml._internal.container import BentoMLContainer
    from bentoml._internal.server.metrics.prometheus import PrometheusClient

    if workers > 1:
        folder = Path(BentoMLContainer.prometheus_multiproc_dir.get())
        folder.mkdir(parents=True, exist_ok=True)
        os.environ["PROMETHEUS_MULTIPROC_DIR"] = os.fspath(folder)  # before prometheus_client is imported
    return PrometheusClient(multiproc=workers > 1)


class Built:
    """The application, its settings and BentoML's counts. ``started`` gets the service's object."""

    def __init__(self, service: Any, *, started: Callable[[Any], None], stopped: Callable[[], None]) -> None:
        service.inject_config()
        from bentoml._internal.container import BentoMLContainer

        self.config: Mapping[str, Any] = BentoMLContainer.config.services[service.name].get()
        self.counts: Counts | None = None
        factory = _factory(self, started, stopped)(service, is_main=True)
        self.timeout: float | None = factory.timeout
        self.app: Application = factory()


def deploy(service: Any) -> None:
    """What ``bentoml serve`` does before its workers start: models, hooks, the table of tasks' results.

    With several processes each of them does it, so a service's ``on_deployment`` runs in each.
    """
    from _bentoml_impl.tasks.result import Sqlite3Store
    from bentoml._internal.container import BentoMLContainer

    for one in service.all_services().values():
        for model in one.bento.info.all_models:
            model.to_model().resolve()
        for name in dir(one.inner):
            member = getattr(one.inner, name)
            if callable(member) and getattr(member, "__bentoml_deployment_hook__", False):
                member()
    if service.needs_task_db():
        Sqlite3Store.init_db(BentoMLContainer.result_store_file.get())


def _factory(built: Built, started: Callable[[Any], None], stopped: Callable[[], None]) -> Any:
    from _bentoml_impl.server.app import ServiceAppFactory

    class Lean(ServiceAppFactory):  # type: ignore[misc]  # bentoml is not there where types are checked
        @property
        def middlewares(self) -> list[Any]:
            return _middlewares(self, built)

        async def create_instance(self, app: Any) -> None:
            await super().create_instance(app)
            started(self._service_instance)

        async def destroy_instance(self, app: Any) -> None:
            stopped()
            await super().destroy_instance(app)

    return Lean


def _middlewares(factory: Any, built: Built) -> list[Any]:
    """BentoML's list, in its order; of those that cost, only the ones that do something."""
    from _bentoml_impl.server.app import ContextMiddleware, ServiceAppFactory
    from starlette.middleware import Middleware

    log = (built.config.get("logging") or {}).get("access") or {}
    if log.get("enabled") or traced(built.config):
        its_own: list[Any] = ServiceAppFactory.middlewares.fget(factory)
        return its_own
    found = [*_counting(factory, built, log), Middleware(_Ids)]
    if factory.timeout:
        found.append(Middleware(_Timeout, timeout=factory.timeout))
    if factory.max_concurrency:
        from bentoml._internal.server.http.traffic import MaxConcurrencyMiddleware

        limit, skipped = factory.max_concurrency, _health_paths(factory.service)
        found.append(Middleware(MaxConcurrencyMiddleware, max_concurrency=limit, skip_paths=skipped))
    found += [Middleware(kind, **options) for kind, options in factory.service.middlewares]
    if factory.enable_access_control:
        from starlette.middleware.cors import CORSMiddleware

        found.append(Middleware(CORSMiddleware, **factory.access_control_options))
    found.append(Middleware(ContextMiddleware, context=factory.service.context))
    return found


def _counting(factory: Any, built: Built, log: Mapping[str, Any]) -> list[Any]:
    if not factory.enable_metrics:
        return []
    from bentoml._internal.container import BentoMLContainer
    from bentoml._internal.server.http.instruments import RunnerTrafficMetricsMiddleware
    from starlette.middleware import Middleware

    skipped = [*log.get("skip_paths", ()), *_health_paths(factory.service)]
    namespace = BentoMLContainer.api_server_config.metrics.namespace.get()
    middleware = RunnerTrafficMetricsMiddleware(None, namespace=namespace, skip_paths=skipped)
    built.counts = Counts(middleware)
    return [Middleware(_around, middleware=middleware)]


def _around(app: App, middleware: Any) -> Any:
    """One middleware, made before its app: the fast lane counts by it too."""
    middleware.app = app
    return middleware


def _health_paths(service: Any) -> list[str]:
    endpoints = service.config.get("endpoints", {})
    ready = endpoints.get("readyz")
    return [endpoints.get("livez", "/health"), *([ready] if ready else [])]


def remember_mime_type(spec: Any) -> None:
    """BentoML makes the answer's whole schema for each answer, to see whether it is text."""
    from _bentoml_sdk.io_models import IOMixin

    if getattr(spec, "mime_type", None) and spec.mime_type.__func__ is IOMixin.mime_type.__func__:
        known = spec.mime_type()
        spec.mime_type = classmethod(lambda _: known)


class _Ids:
    """Gives each request the id that BentoML takes from its span."""

    def __init__(self, app: App) -> None:
        from bentoml._internal.context import trace_context

        self._app = app
        self._context = trace_context

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            self._context.request_id = getrandbits(64) or 1
        await self._app(scope, receive, send)


class _Timeout:
    """BentoML's answer to a request that takes too long; its timer ends with the request."""

    def __init__(self, app: App, timeout: float) -> None:
        self._app = app
        self._timeout = timeout

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] not in {"http", "websocket"}:
            await self._app(scope, receive, send)
            return
        loop = asyncio.get_running_loop()
        late: asyncio.Future[bool] = loop.create_future()
        timer = loop.call_later(self._timeout, _settle, late, True)

        async def sending(message: Any) -> None:
            _settle(late, False)
            await send(message)

        task = asyncio.ensure_future(self._app(scope, receive, sending))
        task.add_done_callback(lambda _: _settle(late, False))
        try:
            too_late = await late
        except asyncio.CancelledError:
            task.cancel()
            raise
        finally:
            timer.cancel()
        if too_late and task.cancel():
            await self._refuse(send)  # without waiting: a thread that the task waits for cannot be cancelled
        else:
            await task

    async def _refuse(self, send: Send) -> None:
        text = f"Not able to process the request in {self._timeout} seconds"
        body = b'{"error":"%b"}' % text.encode()
        headers = [(b"content-length", b"%d" % len(body)), (b"content-type", JSON.encode())]
        with contextlib.suppress(OSError):
            await send({"type": "http.response.start", "status": 504, "headers": headers})
            await send({"type": "http.response.body", "body": body})


def _settle(late: asyncio.Future[bool], value: bool) -> None:  # noqa: FBT001  # a callback's argument
    if not late.done():
        late.set_result(value)
