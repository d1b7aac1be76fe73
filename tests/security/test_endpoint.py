"""What a hostile user of the endpoint tries, asked of a real Envoy with real workers behind it."""

from __future__ import annotations

import socket
from collections.abc import Iterator

import pytest

from envoy_place import ONE, Place, opened, stable_and


@pytest.fixture
def both() -> Iterator[Place]:
    with opened() as place:
        yield place.start_both()


def raw(place: Place, request: bytes) -> bytes:
    """All that comes back for these bytes on a connection of their own, until it is closed."""
    with socket.create_connection(("127.0.0.1", place.port), timeout=10) as connection:
        connection.sendall(request)
        return b"".join(iter(lambda: connection.recv(65536), b""))


@pytest.mark.parametrize(
    "headers",
    [
        {"x-envoy-upstream-rq-timeout-ms": "50"},
        {"x-envoy-upstream-rq-per-try-timeout-ms": "50"},
        {"x-envoy-retry-on": "5xx,retriable-4xx", "x-envoy-max-retries": "5"},
        {"x-envoy-original-path": "/other", "x-envoy-internal": "true"},
        {"x-model-version": "9.9.9", "x-mdeploy-config": "999"},
        {"x-forwarded-for": "10.0.0.1", "x-envoy-external-address": "10.0.0.1"},
    ],
)
def test_no_header_of_a_user_changes_how_the_router_treats_a_request(
    headers: dict[str, str], both: Place
) -> None:
    both.weigh(stable_and(0))
    worker = both.workers[ONE][0]
    worker.delay, worker.status = lambda: 0.2, lambda: 500
    seen = worker.seen
    client = both.client()
    client.request("GET", "/predict", headers=headers)
    answer = client.getresponse()
    answer.read()
    client.close()
    assert (answer.status, worker.seen - seen) == (500, 1)  # neither cut off early nor sent again
    assert answer.headers.get_all("x-model-version") == [ONE]
    assert answer.headers.get_all("x-mdeploy-config") == [str(both.generation)]


@pytest.mark.parametrize(
    "request_line_and_more",
    [
        b"POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 4\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n",
        b"POST /predict HTTP/1.1\r\nhost: a\r\ncontent-length: 4\r\ncontent-length: 5\r\n\r\nabcde",
        b"POST /predict HTTP/1.1\r\nhost: a\r\ncontent-length: -1\r\n\r\n",
        b"POST /predict HTTP/1.1\r\nhost: a\r\ntransfer-encoding : chunked\r\n\r\n0\r\n\r\n",
        b"POST /predict HTTP/1.1\r\nhost: a\r\ntransfer-encoding: xchunked\r\n\r\n0\r\n\r\n",
        b"GET /predict HTTP/1.1\r\n\r\n",
        b"GET /predict%00 HTTP/1.1\r\nhost: a\r\n\r\n",
        b"GET /predict HTTP/1.1\r\nhost: a\r\nlong: " + b"x" * 70_000 + b"\r\n\r\n",
        b"GET /predict HTTP/1.1\r\nhost: a\r\n" + b"many: x\r\n" * 200 + b"\r\n",
    ],
)
def test_a_request_of_two_meanings_reaches_no_worker(request_line_and_more: bytes, both: Place) -> None:
    both.weigh(stable_and(0))
    seen = both.workers[ONE][0].seen
    answer = raw(both, request_line_and_more)
    assert int(answer.split(b" ", 2)[1]) in (400, 431, 501)
    assert both.workers[ONE][0].seen == seen


@pytest.mark.parametrize("path", ["/../stats", "//config_dump", "/..;/server_info", "/%2e%2e/quitquitquit"])
def test_the_routers_own_pages_are_not_to_be_had(path: str, both: Place) -> None:
    both.weigh(stable_and(0))
    request = f"POST {path} HTTP/1.1\r\nhost: a\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"
    head, _, body = raw(both, request.encode()).partition(b"\r\n\r\n")
    assert b"x-model-version: " + ONE.encode() in head  # a worker has answered
    assert body == b"ok"
    assert both.router.live()
