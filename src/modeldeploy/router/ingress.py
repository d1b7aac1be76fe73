"""The constant half of Envoy's configuration: bootstrap and listener. Written once, before Envoy starts.

The listener counts every answer by who was meant to give it and who did: with fallback addresses in a
cluster, Envoy's own per-cluster statistics would count a stand-in's answer as the revision's.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from modeldeploy.errors import ConfigError

Document = dict[str, Any]
"""A JSON object for Envoy."""

NAME = "ingress"
"""Name of the listener, of its routes and of its statistics."""

STATS = "mdeploy"
"""First word of the statistics that are counted per answer."""

ANSWERS, LATENCY, WAITED = "rq", "rq_us", "gone_ms"
"""Second word: answers; microseconds to the end of one; milliseconds until a client left without one."""

VERSION_HEADER = "x-model-version"
GENERATION_HEADER = "x-mdeploy-config"

SOCKET_PATH_LIMIT = 103
"""Bytes that the path of a unix socket may have on macOS; Linux allows 107."""

_LATENCY_BUCKETS_US = tuple(
    step * 10**power for power in range(2, 8) for step in (1.0, 1.5, 2.0, 3.0, 5.0, 7.0)
)
_MILLISECOND_BUCKETS = (0.5, 1, 2, 3, 5, 7, 10, 15, 20, 30, 50, 70, 100, 150, 200, 300, 500, 700, 1000, 1500)
_SECOND_BUCKETS = (2, 3, 5, 7, 10, 15, 20, 30, 60)


@dataclass(frozen=True, slots=True)
class Layout:
    """Where Envoy finds its files. Each dynamic one has a folder of its own, as Envoy watches folders."""

    folder: Path

    @property
    def bootstrap(self) -> Path:
        return self.folder / "bootstrap.json"

    @property
    def listeners(self) -> Path:
        return self.folder / "lds" / "listeners.json"

    @property
    def clusters(self) -> Path:
        return self.folder / "cds" / "clusters.json"

    @property
    def routes(self) -> Path:
        return self.folder / "rds" / "routes.json"


@dataclass(frozen=True, slots=True)
class Ingress:
    """Where users reach the router, and what it takes from them."""

    host: str = "127.0.0.1"
    port: int = 8080
    max_connections: int = 20_000
    access_log: Path | None = None
    """A file for one JSON line per request. Envoy reopens it when asked to (``/reopen_logs``)."""
    share_port: bool = False
    """Let a second Envoy listen on the same port, to replace the first without a refused connection.

    Off, because two targets that were given the same port would then split each other's requests.
    """


def typed(kind: str) -> str:
    """The type URL of one of Envoy's messages."""
    return f"type.googleapis.com/envoy.{kind}"


def pipe(path: Path) -> Document:
    """A unix socket in Envoy's form. Raises `ConfigError` for a path that is too long for a kernel."""
    if len(bytes(path)) > SOCKET_PATH_LIMIT:
        raise ConfigError(
            f"the path of a unix socket has at most {SOCKET_PATH_LIMIT} bytes: {path}",
            hint="set MDEPLOY_HOME to a folder with a shorter path",
        )
    return {"path": str(path)}


def bootstrap(layout: Layout, admin: Path, *, max_connections: int = 20_000) -> Document:
    """What Envoy is started with. ``admin`` is the unix socket through which it is read and drained."""
    monitor = {
        "name": "envoy.resource_monitors.global_downstream_max_connections",
        "typed_config": {
            "@type": typed(
                "extensions.resource_monitors.downstream_connections.v3.DownstreamConnectionsConfig"
            ),
            "max_active_downstream_connections": max_connections,
        },
    }
    return {
        "node": {"id": "mdeploy", "cluster": "mdeploy"},
        "admin": {"address": {"pipe": {**pipe(admin), "mode": 0o600}}},
        "dynamic_resources": {"lds_config": _file(layout.listeners), "cds_config": _file(layout.clusters)},
        # Histograms are as old as the last flush; flushing on request would make them one request old.
        "stats_flush_interval": "1s",
        "stats_config": {"histogram_bucket_settings": _buckets()},
        "overload_manager": {"resource_monitors": [monitor]},
    }


def listeners(layout: Layout, ingress: Ingress) -> Document:
    """The one listener. It takes its routes from a file and never changes itself while Envoy runs."""
    filters = [{"name": "http", "typed_config": _connection_manager(layout, ingress)}]
    resource = {
        "@type": typed("config.listener.v3.Listener"),
        "name": NAME,
        "address": {"socket_address": {"address": ingress.host, "port_value": ingress.port}},
        "enable_reuse_port": ingress.share_port,
        "per_connection_buffer_limit_bytes": 1024 * 1024,
        "tcp_backlog_size": 1024,
        "filter_chains": [{"filters": filters}],
    }
    return document([resource])


def document(resources: list[Document]) -> Document:
    """A dynamic file whose version is the digest of its content: applied version, applied content."""
    from hashlib import sha256

    content = json.dumps(resources, sort_keys=True).encode()
    return {"version_info": sha256(content).hexdigest()[:16], "resources": resources}


def _file(path: Path) -> Document:
    return {"resource_api_version": "V3", "path_config_source": {"path": str(path)}}


def _buckets() -> list[Document]:
    """What Prometheus sees. mdeploy itself reads Envoy's own bins, ninety to a power of ten."""
    milliseconds = [*_MILLISECOND_BUCKETS, *(1000 * seconds for seconds in _SECOND_BUCKETS)]
    return [
        {"match": {"prefix": f"{STATS}.{LATENCY}"}, "buckets": list(_LATENCY_BUCKETS_US)},
        {"match": {"prefix": f"{STATS}.{WAITED}"}, "buckets": milliseconds},
        {"match": {"prefix": "cluster."}, "buckets": milliseconds},
    ]


def _connection_manager(layout: Layout, ingress: Ingress) -> Document:
    manager = "extensions.filters.network.http_connection_manager.v3.HttpConnectionManager"
    router = typed("extensions.filters.http.router.v3.Router")
    return {
        "@type": typed(manager),
        "stat_prefix": NAME,
        "codec_type": "AUTO",
        "server_name": "mdeploy",
        "rds": {"route_config_name": NAME, "config_source": _file(layout.routes)},
        "http_filters": [
            {
                "name": "envoy.filters.http.router",
                "typed_config": {"@type": router, "suppress_envoy_headers": True},
            }
        ],
        "access_log": _access_logs(ingress),
        "local_reply_config": {"body_format": {"json_format": {"error": "%LOCAL_REPLY_BODY%"}}},
        **_request_ids(),
        **_limits(),
    }


def _request_ids() -> Document:
    return {
        "generate_request_id": True,
        "preserve_external_request_id": True,
        "always_set_request_id_in_response": True,
        "use_remote_address": True,
        "normalize_path": True,
        "merge_slashes": True,
    }


def _limits() -> Document:
    return {
        "request_headers_timeout": "10s",
        "request_timeout": "300s",
        "stream_idle_timeout": "300s",
        "drain_timeout": "10s",
        "common_http_protocol_options": {"idle_timeout": "3600s"},
        "http2_protocol_options": {"max_concurrent_streams": 100},
    }


def _access_logs(ingress: Ingress) -> list[Document]:
    by = [_tag("rev", "%UPSTREAM_METADATA(mdeploy:stat)%"), _tag("intended", "%UPSTREAM_CLUSTER%")]
    outcome = [
        _tag("code", "%RESPONSE_CODE%"),
        _tag("attempts", "%UPSTREAM_REQUEST_ATTEMPT_COUNT%"),
        _tag("flags", "%RESPONSE_FLAGS%"),
    ]
    counter = {"stat": {"name": ANSWERS, "tags": [*by, *outcome]}, "value_fixed": 1}
    logs = [
        {"name": "answers", "typed_config": _stats(counters=[counter])},
        # Of a client that left there is no time of the last byte, only how long it stayed.
        {
            "name": "latency",
            "filter": _when("GE", 100),
            "typed_config": _stats(
                histograms=[_timed(LATENCY, "Microseconds", "%COMMON_DURATION(DS_RX_BEG:DS_TX_END:us)%", by)]
            ),
        },
        {
            "name": "waited",
            "filter": _when("EQ", 0),
            "typed_config": _stats(histograms=[_timed(WAITED, "Milliseconds", "%DURATION%", by)]),
        },
    ]
    return [*logs, _json_lines(ingress.access_log)] if ingress.access_log else logs


def _stats(**what: Sequence[Document]) -> Document:
    kind = typed("extensions.access_loggers.stats.v3.Config")
    return {"@type": kind, "stats_scope": {"prefix": STATS}, **what}


def _tag(name: str, value: str) -> Document:
    return {"name": name, "value_format": value}


def _timed(name: str, unit: str, value: str, tags: Sequence[Document]) -> Document:
    return {"stat": {"name": name, "tags": tags}, "unit": unit, "value_format": value}


def _when(operator: str, code: int) -> Document:
    """Only answers whose status compares so; a request without an answer has status 0."""
    value = {"default_value": code, "runtime_key": f"mdeploy.{operator.lower()}"}
    return {"status_code_filter": {"comparison": {"op": operator, "value": value}}}


def _json_lines(path: Path) -> Document:
    line = {
        "at": "%START_TIME(%Y-%m-%dT%H:%M:%S.%6fZ)%",
        "method": "%REQ(:METHOD)%",
        "path": "%PATH(NQ)%",
        "status": "%RESPONSE_CODE%",
        "flags": "%RESPONSE_FLAGS%",
        "detail": "%RESPONSE_CODE_DETAILS%",
        "microseconds": "%COMMON_DURATION(DS_RX_BEG:DS_TX_END:us)%",
        "intended": "%UPSTREAM_CLUSTER_RAW%",
        "revision": "%UPSTREAM_METADATA(mdeploy:revision)%",
        "attempts": "%UPSTREAM_REQUEST_ATTEMPT_COUNT%",
        "request_id": "%REQ(X-REQUEST-ID)%",
    }
    kind = typed("extensions.access_loggers.file.v3.FileAccessLog")
    config = {"@type": kind, "path": str(path), "log_format": {"json_format": line}}
    return {"name": "lines", "typed_config": config}
