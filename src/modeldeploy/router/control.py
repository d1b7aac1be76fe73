"""A running Envoy: change it by replacing files, ask it what it does. Every answer is Envoy's own.

The order of changes is the caller's: to add a revision, write clusters, wait for `warm` and `healthy`,
then write routes; to remove one, write routes, wait for `applied` and for `in_flight` to fall to 0,
then write clusters. A cluster that routes still name is answered for with 503.

Every question raises `TargetUnavailable` where Envoy does not answer, unless it says otherwise.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from modeldeploy import files
from modeldeploy.clock import Clock, SystemClock
from modeldeploy.errors import TargetDrifted, TargetUnavailable
from modeldeploy.model import RevisionId, Sample, Traffic
from modeldeploy.router import admin, render, stats
from modeldeploy.router import traffic as traffic_line
from modeldeploy.router.ingress import NAME, Document, Ingress, Layout, bootstrap, listeners
from modeldeploy.router.render import Upstream
from modeldeploy.router.stats import Endpoints

_LISTENERS = "listener_manager.lds"
_CLUSTERS = "cluster_manager.cds"
_ROUTES = f"http.{NAME}.rds.{NAME}"

_CLUSTERS_PAGE = "/clusters?format=json"
_EPOCH_PAGE = "/config_dump?mask=last_updated"

_SETTLED = 0.25
"""Seconds after which Envoy has read a file: it takes it 2 ms."""


class Router:
    """One Envoy, by the folder that holds its files and the unix socket of its admin interface.

    Keeps no state and no connection: any process that may read both can ask.
    """

    def __init__(self, folder: Path, socket: Path, *, clock: Clock | None = None) -> None:
        self.layout = Layout(folder)
        self.socket = socket
        self._clock = clock or SystemClock()

    def write_static(self, ingress: Ingress) -> None:
        """Write what Envoy starts with. It also needs clusters and routes: write empty ones at first."""
        most = ingress.max_connections
        self._write(self.layout.bootstrap, bootstrap(self.layout, self.socket, max_connections=most))
        self._write(self.layout.listeners, listeners(self.layout, ingress))

    def write_clusters(self, upstreams: Sequence[Upstream], *, fallback: Sequence[RevisionId] = ()) -> str:
        """Replace the known revisions; returns the version for `warm`. See `render.clusters`."""
        return self._write(self.layout.clusters, render.clusters(upstreams, fallback=fallback))

    def write_routes(
        self, traffic: Traffic, generation: int, *, idempotent: bool = True, timeout: float = 60.0
    ) -> str:
        """Replace the weights; `applied` tells when they hold. See `render.routes`."""
        document = render.routes(traffic, generation, idempotent=idempotent, timeout=timeout)
        return self._write(self.layout.routes, document)

    def live(self) -> bool:
        """True if Envoy accepts requests. Never raises: no answer means no."""
        try:
            found = self._values(
                r"^(server\.state|listener_manager\.(total_listeners_active|workers_started))$"
            )
        except TargetUnavailable:
            return False
        listens = found.get("listener_manager.total_listeners_active", 0) > 0
        return found.get("server.state") == 0 and listens and found["listener_manager.workers_started"] > 0

    def epoch(self) -> str:
        """When this Envoy was started: the name under which its counters may be compared."""
        with admin.session(self.socket) as session:
            return _epoch(session)

    def applied(self) -> tuple[int, Traffic] | None:
        """Generation and traffic that Envoy routes by now; None as long as it has no routes.

        Raises `TargetDrifted` for routes that mdeploy has not written.
        """
        line = self._values(rf"^{_ROUTES}\.version_text$").get(f"{_ROUTES}.version_text")
        if not line:
            return None
        try:
            return traffic_line.decode(line)
        except ValueError as error:
            raise TargetDrifted(
                f"the router has routes that mdeploy did not write: {error}",
                hint=f"see who writes {self.layout.routes}",
            ) from error

    def warm(self, version: str | None = None) -> bool:
        """True if Envoy has taken the clusters over and asked each for its health.

        ``version`` is what `write_clusters` returned, by default that of the file as it is now.
        """
        found = self._values(r"^cluster_manager\.(cds\.version_text|warming_clusters)$")
        wanted = version or _version(self.layout.clusters)
        return (
            found.get(f"{_CLUSTERS}.version_text") == wanted and not found["cluster_manager.warming_clusters"]
        )

    def endpoints(self) -> Mapping[RevisionId, Endpoints]:
        """The addresses of every revision that Envoy knows and has taken over, in one question."""
        with admin.session(self.socket) as session:
            return stats.endpoints(session.ask_json(_CLUSTERS_PAGE))

    def healthy(self, revision: RevisionId) -> int:
        """How many of the revision's own addresses Envoy would send a request to."""
        return self.endpoints().get(revision, Endpoints()).healthy

    def in_flight(self, revision: RevisionId) -> int:
        """Requests that this revision has to finish: those meant for it, and those it took over."""
        with admin.session(self.socket) as session:
            meant = stats.in_flight(session.ask_json(stats.in_flight_url(revision)))
            endpoints = stats.endpoints(session.ask_json(_CLUSTERS_PAGE))
        return meant + endpoints.get(revision, Endpoints()).lent

    def sample(self, revision: RevisionId) -> Sample:
        """Cumulative counters of a revision. Latencies lag by up to a second, the rest is as of now."""
        with admin.session(self.socket) as session:
            epoch = _epoch(session)
            page = session.ask_json(stats.answers_url(revision))
        found = stats.answers(page, revision)
        return Sample(
            at=self._clock.now(),
            epoch=epoch,
            requests=found.requests,
            errors=found.errors,
            abandoned=found.abandoned,
            in_flight=found.in_flight,
            latency=found.latency,
        )

    def connections(self) -> int:
        """Open connections of users. After `begin_drain`, wait for 0 before Envoy is ended."""
        name = f"http.{NAME}.downstream_cx_active"
        return int(self._values(rf"^http\.{NAME}\.downstream_cx_active$").get(name, 0))

    def begin_drain(self) -> None:
        """Begin to send users away: connections are closed after their next answer."""
        with admin.session(self.socket) as session:
            session.ask("/drain_listeners?graceful", method="POST")

    def rejected(self, envoy: Path) -> str | None:
        """Why Envoy does not take over a file as it is now; None if it did, or has not had the time.

        Ask when `applied` or `warm` keeps one waiting: the answer takes up to 0.3 s.
        """
        with admin.session(self.socket) as session:
            found = stats.values(
                session.ask_json(stats.stats_url(r"\.(version_text|update_rejected|update_failure)$"))
            )
            refused = [name for name, path in self._dynamic().items() if _refuses(found, name, path)]
            details = _listener_errors(session) if _LISTENERS in refused else ""
        if not refused:
            return None
        names = " and ".join(self._dynamic()[name].name for name in refused)
        reason = details or self.validate(envoy) or "no reason given"
        return f"Envoy refuses {names} and goes on with what it had: {reason}"

    def validate(self, envoy: Path) -> str | None:
        """Why Envoy would refuse the files as they are now; None if it would take them. See `validate`."""
        from modeldeploy.router.validate import problem

        paths = (self.layout.bootstrap, self.layout.listeners, self.layout.clusters, self.layout.routes)
        try:
            documents = [files.read_json(path) for path in paths]
        except ValueError as error:
            return f"not JSON: {error}"
        missing = [str(path) for path, document in zip(paths, documents, strict=True) if document is None]
        return f"not there: {', '.join(missing)}" if missing else problem(envoy, *documents)

    def _dynamic(self) -> Mapping[str, Path]:
        layout = self.layout
        return {_LISTENERS: layout.listeners, _CLUSTERS: layout.clusters, _ROUTES: layout.routes}

    def _values(self, pattern: str) -> dict[str, Any]:
        with admin.session(self.socket) as session:
            return stats.values(session.ask_json(stats.stats_url(pattern)))

    def _write(self, path: Path, document: Document) -> str:
        files.private(path.parent)
        files.write_atomic(path, render.as_bytes(document))
        return str(document.get("version_info", ""))


def _epoch(session: admin.Session) -> str:
    return str(session.ask_json(_EPOCH_PAGE)["configs"][0]["last_updated"])


def _version(path: Path) -> str | None:
    """The version of a dynamic file; None where it is not there or is not one of ours."""
    try:
        document = files.read_json(path)
    except ValueError:
        return None
    return document.get("version_info") if isinstance(document, dict) else None


def _refuses(found: Mapping[str, Any], name: str, path: Path) -> bool:
    if found.get(f"{name}.version_text") == _version(path):
        return False
    attempts = found.get(f"{name}.update_rejected", 0) + found.get(f"{name}.update_failure", 0)
    try:
        age = abs(time.time() - path.stat().st_mtime)
    except FileNotFoundError:
        return False
    return attempts > 0 and age > _SETTLED


def _listener_errors(session: admin.Session) -> str:
    """Envoy keeps the reason for a refused listener, and for nothing else: a port in use, mostly."""
    page = session.ask_json("/config_dump?resource=dynamic_listeners&mask=error_state.details")
    details = [entry.get("error_state", {}).get("details", "") for entry in page.get("configs", ())]
    return "; ".join(detail for detail in details if detail)
