"""OpenTelemetry spans, where the standard ``OTEL_*`` variables name somebody to send them to.

For each request a server span, whose parent is the caller's (``traceparent``), and in it ``parse``,
``queue``, ``infer`` and ``encode``. They are made after the answer was sent, from times that were noted on
the way: tracing holds up no answer. They are handed to the library's own thread, which drops them when its
queue is full. Nothing of the library is imported, unless tracing is wanted.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .watch import Run, Seen

REQUIREMENTS = ("opentelemetry-exporter-otlp-proto-http>=1.27,<2", "opentelemetry-sdk>=1.27,<2")
"""What a bundle needs for it."""
EXPORTER = "OTEL_TRACES_EXPORTER"
ENDPOINTS = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT")
log = logging.getLogger("mdeploy_serving")

_PATIENCE = 3.0
"""Seconds that the last spans have to leave when the service stops."""
_GRPC_STATUS = "grpc-status"
_CODES = {499: 1, 504: 4}
"""gRPC's numbers for calls whose handler did not answer."""


def wanted(environment: Mapping[str, str]) -> bool:
    """True if the environment names an exporter: ``OTEL_TRACES_EXPORTER``, or an endpoint for OTLP."""
    if environment.get("OTEL_SDK_DISABLED", "").strip().lower() == "true":
        return False
    named = environment.get(EXPORTER, "").strip().lower()
    return named != "none" if named else any(environment.get(name, "").strip() for name in ENDPOINTS)


class Tracer:
    """Makes spans of what was seen. Without the library or its exporter it says so once, and makes none."""

    def __init__(self, environment: Mapping[str, str]) -> None:
        self._environment = environment
        self._spans: _Spans | None = None

    def start(self, name: str, version: str) -> None:
        if self._spans is not None:
            return
        try:
            self._spans = _Spans(self._environment, name, version)
        except ImportError as error:
            log.error(  # noqa: TRY400  # the traceback says no more
                "no traces: OTEL_* variables ask for them, but the bundle lacks what sends them (%s);"
                " expected tracing = true in [service] of modeldeploy.toml when it was built",
                error,
            )

    def note(self, seen: Seen) -> None:
        if self._spans is None:
            return
        epoch = time.time_ns() - time.monotonic_ns()
        attributes = _attributes(seen)
        server = self._spans.begin(_name(seen), seen.exchange.request.headers, attributes)
        if server is None:
            return
        for name, begin, end in _parts(seen):
            told = _batch(seen.run) if name == "infer" and seen.run is not None else {}
            times = _nanoseconds(begin, epoch), _nanoseconds(end, epoch)
            self._spans.add_part(server, name, told, times)
        times = _nanoseconds(seen.exchange.began, epoch), _nanoseconds(seen.ended, epoch)
        self._spans.end(server, times, failed=seen.status >= 500)

    def close(self) -> None:
        """Send what is left; a collector that does not answer is not waited for."""
        if self._spans is None:
            return
        last = threading.Thread(target=self._spans.shutdown, daemon=True)
        last.start()
        last.join(_PATIENCE)


@dataclass(frozen=True, slots=True)
class _Server:
    """A server span that has begun."""

    name: str
    context: Any
    parent: Any
    attributes: Mapping[str, Any]


class _Spans:
    """Spans that have ended when they are made: a tenth of the work of the library's, which are made to grow.

    Sampler, ids, resource and what sends them are the library's. Raises ImportError where that is not there.
    """

    def __init__(self, environment: Mapping[str, str], name: str, version: str) -> None:
        from opentelemetry import propagate, trace
        from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
        from opentelemetry.sdk.trace.export import BatchSpanProcessor
        from opentelemetry.sdk.util.instrumentation import InstrumentationScope

        exporter = _exporter(environment)
        self._provider = TracerProvider(
            resource=_resource(environment, name, version), shutdown_on_exit=False
        )
        self._processor = BatchSpanProcessor(exporter)
        self._provider.add_span_processor(self._processor)
        self._scope = InstrumentationScope("mdeploy_serving")
        self._readable: Any = ReadableSpan
        self._propagate, self._trace = propagate, trace
        self._always_extract = bool(environment.get("OTEL_PROPAGATORS"))
        self._flags = trace.TraceFlags(trace.TraceFlags.SAMPLED)
        self.shutdown: Callable[[], None] = self._provider.shutdown

    def begin(self, name: str, headers: Mapping[str, str], attributes: Mapping[str, Any]) -> _Server | None:
        """A server span under the caller's; None if it is not among the samples."""
        trace, provider = self._trace, self._provider
        context = None
        if self._always_extract or "traceparent" in headers:
            context = self._propagate.extract(headers)
        parent = trace.get_current_span(context).get_span_context()
        trace_id = parent.trace_id if parent.is_valid else provider.id_generator.generate_trace_id()
        kind = trace.SpanKind.SERVER
        result = provider.sampler.should_sample(context, trace_id, name, kind, attributes, ())
        if not result.decision.is_sampled():
            return None
        ours = self._context(trace_id, result.trace_state)
        return _Server(name, ours, parent if parent.is_valid else None, {**attributes, **result.attributes})

    def add_part(
        self, server: _Server, name: str, attributes: Mapping[str, Any], times: tuple[int, int]
    ) -> None:
        """A span within a server span. ``times`` in nanoseconds since 1970: begin and end."""
        context = self._context(server.context.trace_id, server.context.trace_state)
        kind = self._trace.SpanKind.INTERNAL
        self._send(name, context, server.context, attributes, kind, times, self._trace.StatusCode.UNSET)

    def end(self, server: _Server, times: tuple[int, int], *, failed: bool) -> None:
        """Send a server span."""
        codes = self._trace.StatusCode
        kind = self._trace.SpanKind.SERVER
        status = codes.ERROR if failed else codes.UNSET
        self._send(server.name, server.context, server.parent, server.attributes, kind, times, status)

    def _context(self, trace_id: int, state: Any) -> Any:
        span_id = self._provider.id_generator.generate_span_id()
        return self._trace.SpanContext(
            trace_id, span_id, is_remote=False, trace_flags=self._flags, trace_state=state
        )

    def _send(
        self, name: str, context: Any, parent: Any, attributes: Any, kind: Any, times: Any, status: Any
    ) -> None:
        span = self._readable(
            name,
            context,
            parent,
            self._provider.resource,
            attributes,
            kind=kind,
            status=self._trace.Status(status),
            start_time=times[0],
            end_time=times[1],
            instrumentation_scope=self._scope,
        )
        self._processor.on_end(span)


def _resource(environment: Mapping[str, str], name: str, version: str) -> Any:
    from opentelemetry.sdk.resources import Resource

    told = environment.get("OTEL_RESOURCE_ATTRIBUTES", "")
    named = environment.get("OTEL_SERVICE_NAME") or "service.name=" in told
    about = {} if named else {"service.name": name}
    if version and "service.version=" not in told:
        about["service.version"] = version
    return Resource.create(about)


def _exporter(environment: Mapping[str, str]) -> Any:
    """The exporter that the environment names. Raises ImportError for one that is not there."""
    named = environment.get(EXPORTER, "").strip().lower() or "otlp"
    if named == "console":
        from opentelemetry.sdk.trace.export import ConsoleSpanExporter

        return ConsoleSpanExporter()
    if named != "otlp":
        raise ImportError(f"{EXPORTER}={named!r}; known are otlp and console")
    protocol = environment.get("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL") or environment.get(
        "OTEL_EXPORTER_OTLP_PROTOCOL", ""
    )
    if protocol.strip().lower() == "grpc":
        from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter as ByGrpc

        return ByGrpc()
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter

    return OTLPSpanExporter()


def _parts(seen: Seen) -> list[tuple[str, float, float]]:
    """Name, begin and end of each part of a request that there was."""
    began, run = seen.exchange.began, seen.run
    if run is None:
        return [("parse", began, min(seen.parsed or seen.ended, seen.ended))]
    start = max(began, run.ended - run.seconds)
    parsed = min(seen.parsed or start, start)
    return [
        ("parse", began, parsed),
        ("queue", parsed, start),
        ("infer", start, run.ended),
        ("encode", run.ended, seen.ended),
    ]


def _name(seen: Seen) -> str:
    return seen.route.name.lstrip("/") if _is_grpc(seen) else f"{seen.route.method} {seen.route.name}"


def _is_grpc(seen: Seen) -> bool:
    return seen.route.name.startswith("/inference.")


def _attributes(seen: Seen) -> dict[str, Any]:
    """By OpenTelemetry's semantic conventions."""
    told: dict[str, Any] = {"http.request.header.x-request-id": (seen.exchange.request_id,)}
    if seen.status >= 500:
        told["error.type"] = str(seen.status)
    if _is_grpc(seen):
        service, _, method = seen.route.name.lstrip("/").partition("/")
        headers = dict(seen.response.headers) if seen.response is not None else {}
        code = int(headers.get(_GRPC_STATUS, _CODES.get(seen.status, 0)))
        told |= {"rpc.system": "grpc", "rpc.service": service, "rpc.method": method}
        return told | {"rpc.grpc.status_code": code}
    request = seen.exchange.request
    return told | {
        "http.request.method": request.method,
        "http.route": seen.route.name,
        "http.response.status_code": seen.status,
        "http.request.body.size": len(request.body),
        "url.path": request.path,
        "url.scheme": "http",
    }


def _batch(run: Run) -> dict[str, Any]:
    return {"mdeploy.batch.rows": run.rows, "mdeploy.batch.requests": run.requests}


def _nanoseconds(monotonic: float, epoch: int) -> int:
    return int(monotonic * 1e9) + epoch
