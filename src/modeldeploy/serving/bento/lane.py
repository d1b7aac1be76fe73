"""The lane of a user's own Bento: its plain methods by themselves, everything else by BentoML's own app."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from ..exchange import Response, Route, Routes
from ..lane import App, Lane
from ..observe.base import Meter
from ..observe.exposition import merge
from ..settings import settings
from ..spec import load_if_there
from .application import Built, deploy, load_service, remember_mime_type
from .call import House
from .endpoint import Endpoint
from .fitness import method_reason, service_reason
from .surroundings import surroundings
from .threads import Threads
from .through import through

log = logging.getLogger("mdeploy_serving")

_HEALTH = ("/livez", "/healthz", "/readyz")


def lane(bundle: Path, *, meter: Meter) -> Lane:
    """The lane of any Bento. Imports the service, and changes into its folder.

    Raises what the service's module raises, and ValueError for nonsense in the environment.
    """
    chosen = settings(load_if_there(bundle / "src"))
    service = load_service(bundle, workers=chosen.workers)
    deploy(service)
    made = _Service(service)
    max_body = chosen.max_body
    made.add_endpoints(meter, max_body)
    for method in service.apis.values():
        remember_mime_type(method.output_spec)
    made.add_health(max_body)
    made.add_metrics(meter, max_body)
    return Lane(
        routes=made.routes,
        app=made.built.app,
        ready=lambda: made.running,
        start=_nothing,
        stop=_nothing,
        refuses_methods=False,
    )


async def _nothing() -> None:
    """The app's lifespan starts and stops the service."""


class _Service:
    """A user's service and its routes."""

    def __init__(self, service: Any) -> None:
        self.routes = Routes()
        self.running = False
        self.built = Built(service, started=self._started, stopped=self._stopped)
        self._service = service
        self._endpoints: list[Endpoint] = []
        self._threads = Threads(self.built.config.get("threads") or 1)
        self._app: App = self.built.app

    def add_endpoints(self, meter: Meter, max_body: int) -> None:
        """A route for each method that is fit."""
        house = House(
            service=self._service.name,
            timeout=self.built.timeout,
            threads=self._threads,
            around=surroundings(),
            meter=meter,
            elsewhere=through(self._app),
        )
        for path, name, method in self._fit():
            counts = self.built.counts.path(path) if self.built.counts else None
            endpoint = Endpoint(house, name, method, counts)
            self._endpoints.append(endpoint)
            self.routes.add(Route("POST", path, endpoint, path, max_body))

    def _fit(self) -> Iterator[tuple[str, str, Any]]:
        from bentoml._internal.utils.uri import join_paths

        reason = service_reason(self._service, self.built.config)
        for name, method in self._service.apis.items():
            path = join_paths(self._service.path_prefix, method.route)
            why = reason or method_reason(method, self.built.app.router, path, name)
            if why:
                log.info("%s is answered by BentoML itself (%s)", path, why)
            else:
                yield path, name, method

    def add_health(self, max_body: int) -> None:
        """BentoML's own health checks: a service may have its say in them."""
        for path in _HEALTH:
            self.routes.add(Route("GET", path, through(self._app), path, max_body, counted=False))

    def add_metrics(self, meter: Meter, max_body: int) -> None:
        """BentoML's metrics and the user's, and after them ours."""
        if self.built.counts is None:
            return
        ours: Callable[[], bytes] = getattr(meter, "exposition", bytes)

        def merged(theirs: Response) -> Response:
            theirs.body = merge(ours(), bytes(theirs.body))
            return theirs

        handler = through(self._app, merged)
        self.routes.add(Route("GET", "/metrics", handler, "/metrics", max_body, counted=False))

    def _started(self, instance: Any) -> None:
        for endpoint in self._endpoints:
            endpoint.bind(instance)
        self.running = True

    def _stopped(self) -> None:
        self.running = False
        for endpoint in self._endpoints:
            endpoint.unbind()
        self._threads.close()
