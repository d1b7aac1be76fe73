"""The changing half of Envoy's configuration: clusters (one per revision) and routes (the weights).

Pure: plain dictionaries, and the same bytes for the same wishes. The constant half is `ingress`.

A revision's cluster holds its own addresses at priority 0 and those of the fallback revisions at
priorities 1, 2, ...: Envoy moves on to them the moment no own address is healthy, and a retry ends
up there. So a revision that dies is answered for by another one instead of by an error, and the
answer's ``x-model-version`` still names who gave it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from modeldeploy.model import RevisionId, Traffic
from modeldeploy.router import traffic as traffic_line
from modeldeploy.router.ingress import (
    GENERATION_HEADER,
    NAME,
    VERSION_HEADER,
    Document,
    document,
    pipe,
    typed,
)

Address = Path | tuple[str, int]
"""Where a worker listens: a unix socket, or host and port."""

REQUEST_BODY_LIMIT = 16 * 1024 * 1024
"""Up to this size a request can be sent a second time."""

NO_REVISION = "no revision of this model is live; deploy one: mdeploy deploy"

_NO_LIMIT = 100_000
_OWN_SHARE = 100_000
"""Percent of overprovisioning: own addresses keep all traffic as long as one in a thousand is healthy."""


@dataclass(frozen=True, slots=True)
class Upstream:
    """A revision and where its workers listen, as Envoy reaches them."""

    revision: RevisionId
    addresses: tuple[Address, ...]


def stat_name(revision: RevisionId) -> str:
    """The revision's name in statistics, where a dot separates words. Ids hold no underscore."""
    return revision.replace(".", "_")


def as_bytes(document: Document) -> bytes:
    """A file's content; equal documents give equal bytes."""
    return json.dumps(document, indent=1, sort_keys=True).encode() + b"\n"


def routes(traffic: Traffic, generation: int, *, idempotent: bool = True, timeout: float = 60.0) -> Document:
    """Who answers, by weight; a 503 that says so where nobody does.

    ``idempotent`` allows to send a request again that a worker may have begun to answer. ``timeout``
    is in seconds. Revisions of weight 0 are left out: they stay warm in their clusters.
    """
    shares = {name: share for name, share in sorted(traffic.weights.items()) if share}
    answer = _weighted(shares, idempotent=idempotent, timeout=timeout) if shares else _nobody()
    config = {
        "@type": typed("config.route.v3.RouteConfiguration"),
        "name": NAME,
        "validate_clusters": True,
        "virtual_hosts": [
            {
                "name": "all",
                "domains": ["*"],
                "request_body_buffer_limit": REQUEST_BODY_LIMIT,
                "routes": [{"match": {"prefix": "/"}, **answer}],
            }
        ],
        "response_headers_to_add": [
            _header(VERSION_HEADER, "%UPSTREAM_METADATA(mdeploy:revision)%"),
            _header(GENERATION_HEADER, str(generation)),
        ],
    }
    return {"version_info": traffic_line.encode(generation, traffic), "resources": [config]}


def clusters(upstreams: Sequence[Upstream], *, fallback: Sequence[RevisionId] = ()) -> Document:
    """One cluster per revision: its own addresses first, then those of the fallback revisions, in order.

    Raises ValueError for a fallback revision that is not among the upstreams.
    """
    known = {upstream.revision: upstream for upstream in upstreams}
    strangers = [name for name in fallback if name not in known]
    if strangers:
        raise ValueError(f"fallback revisions without an address: {', '.join(strangers)}")
    resources = []
    for name in sorted(known):
        helpers = [known[helper] for helper in fallback if helper != name]
        breaks = bool(helpers) and name not in fallback
        resources.append(_cluster([known[name], *helpers], breaks=breaks))
    return document(resources)


def _weighted(shares: Mapping[RevisionId, int], *, idempotent: bool, timeout: float) -> Document:
    clusters = [{"name": name, "weight": share} for name, share in shares.items()]
    return {
        "route": {
            "weighted_clusters": {"clusters": clusters},
            "timeout": f"{timeout:g}s",
            "retry_policy": _retry(idempotent=idempotent),
        }
    }


def _retry(*, idempotent: bool) -> Document:
    """First another worker of the same revision, then the fallback revision.

    "reset" repeats a request that may have run already; "reset-before-request" only one that has not.
    """
    again = "reset" if idempotent else "reset-before-request"
    return {
        "retry_on": f"connect-failure,refused-stream,{again}",
        "num_retries": 3,
        "retry_back_off": {"base_interval": "0.005s", "max_interval": "0.05s"},
        "host_selection_retry_max_attempts": 16,
        "retry_host_predicate": [
            {
                "name": "envoy.retry_host_predicates.previous_hosts",
                "typed_config": {
                    "@type": typed("extensions.retry.host.previous_hosts.v3.PreviousHostsPredicate")
                },
            }
        ],
        "retry_priority": {
            "name": "envoy.retry_priorities.previous_priorities",
            "typed_config": {
                "@type": typed("extensions.retry.priority.previous_priorities.v3.PreviousPrioritiesConfig"),
                "update_frequency": 2,
            },
        },
    }


def _nobody() -> Document:
    return {"direct_response": {"status": 503, "body": {"inline_string": NO_REVISION}}}


def _header(name: str, value: str) -> Document:
    return {"header": {"key": name, "value": value}, "append_action": "OVERWRITE_IF_EXISTS_OR_ADD"}


def _cluster(chain: Sequence[Upstream], *, breaks: bool) -> Document:
    name = chain[0].revision
    return {
        "@type": typed("config.cluster.v3.Cluster"),
        "name": name,
        "alt_stat_name": stat_name(name),
        "type": "STRICT_DNS" if any(_needs_dns(upstream) for upstream in chain) else "STATIC",
        "connect_timeout": "1s",
        "lb_policy": "LEAST_REQUEST",
        "common_lb_config": {
            # Without a healthy address of its own the cluster goes to the fallback, not to the dead one.
            "healthy_panic_threshold": {"value": 0},
            # By default a change of health may reach requests a second after the admin interface tells it.
            "update_merge_window": "0s",
        },
        "load_assignment": {
            "cluster_name": name,
            "policy": {"overprovisioning_factor": _OWN_SHARE},
            "endpoints": [_endpoints(upstream, priority) for priority, upstream in enumerate(chain)],
        },
        "health_checks": [_health_check()],
        "outlier_detection": _outliers(breaks=breaks),
        "circuit_breakers": {"thresholds": [_thresholds()]},
        "typed_extension_protocol_options": _http_options(),
    }


def _endpoints(upstream: Upstream, priority: int) -> Document:
    metadata = {"mdeploy": {"revision": upstream.revision, "stat": stat_name(upstream.revision)}}
    return {
        "priority": priority,
        "lb_endpoints": [
            {
                # Not resolved: it is how the admin interface tells whose address this is.
                "endpoint": {"hostname": upstream.revision, "address": _address(where)},
                "metadata": {"filter_metadata": metadata},
            }
            for where in upstream.addresses
        ],
    }


def _address(where: Address) -> Document:
    if isinstance(where, Path):
        return {"pipe": pipe(where)}
    host, port = where
    return {"socket_address": {"address": host, "port_value": port}}


def _needs_dns(upstream: Upstream) -> bool:
    return any(not isinstance(where, Path) and not _is_ip(where[0]) for where in upstream.addresses)


def _is_ip(host: str) -> bool:
    from ipaddress import ip_address

    try:
        ip_address(host)
    except ValueError:
        return False
    return True


def _health_check() -> Document:
    return {
        "http_health_check": {"path": "/readyz", "host": "mdeploy"},
        "timeout": "1s",
        "interval": "1s",
        "no_traffic_interval": "1s",
        "unhealthy_interval": "0.25s",
        "initial_jitter": "0.05s",
        "unhealthy_threshold": 2,
        "healthy_threshold": 1,
        "reuse_connection": False,
    }


def _outliers(*, breaks: bool) -> Document:
    """Leave out for a while an address that cannot be reached, or, with ``breaks``, that only answers 5xx.

    One that was left out for its answers must stay out although its health check passes, or it would
    get users again every second. One that cannot be reached is to come back with the first check that
    passes. Envoy has one switch for both, so a cluster that breaks leaves reachability to the checks.
    """
    return {
        "interval": "1s",
        "base_ejection_time": "30s",
        "max_ejection_percent": 100,
        "split_external_local_origin_errors": True,
        "consecutive_local_origin_failure": 5,
        "enforcing_consecutive_local_origin_failure": 0 if breaks else 100,
        "consecutive_5xx": 10,
        "enforcing_consecutive_5xx": 100 if breaks else 0,
        "enforcing_success_rate": 0,
        "enforcing_local_origin_success_rate": 0,
        "successful_active_health_check_uneject_host": not breaks,
    }


def _thresholds() -> Document:
    """Workers have their own queue; Envoy's default of 1024 would answer 503 ahead of them."""
    return {
        "max_connections": _NO_LIMIT,
        "max_pending_requests": _NO_LIMIT,
        "max_requests": _NO_LIMIT,
        "max_retries": 1000,
    }


def _http_options() -> Document:
    """Give up idle connections before the worker does: uvicorn closes them after 5 s."""
    kind = "extensions.upstreams.http.v3.HttpProtocolOptions"
    options = {
        "@type": typed(kind),
        "common_http_protocol_options": {"idle_timeout": "3s"},
        "explicit_http_config": {"http_protocol_options": {}},
    }
    return {f"envoy.{kind}": options}
