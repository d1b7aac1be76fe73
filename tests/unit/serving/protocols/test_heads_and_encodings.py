"""HEAD, and compressed bodies: the same answer in the fast lane and where uvicorn serves."""

from __future__ import annotations

import gzip
import json
import socket
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from server_place import is_closed, read_answer, request
from serving_bundle import plain_bundle
from serving_place import Worker

GZIP = "Content-Encoding: gzip"
JSON = "Content-Type: application/json"
BODY = gzip.compress(json.dumps({"image": [[1] * 64]}).encode())
PATHS = ("/livez", "/readyz", "/ping", "/metrics", "/openapi.json", "/docs", "/", "/v2", "/v2/models/digits")


@pytest.fixture(scope="module")
def worker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Worker]:
    bundle = plain_bundle(tmp_path_factory.mktemp("b"), protocols=[])
    running = Worker(Path(sys.executable), bundle, tmp_path_factory.mktemp("w")).ready()
    yield running
    assert running.stop() == 0


def connected(worker: Worker) -> socket.socket:
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    connection.settimeout(10)
    connection.connect(str(worker.socket))
    return connection


def chunked(path: str, body: bytes, *headers: str) -> bytes:
    lines = [f"POST {path} HTTP/1.1", "Host: here", "Transfer-Encoding: chunked", *headers, "", ""]
    return "\r\n".join(lines).encode() + b"%x\r\n%b\r\n0\r\n\r\n" % (len(body), body)


@pytest.mark.parametrize("path", ["/predict", "/invocations", "/v2/models/digits/infer"])
def test_a_compressed_body_is_a_415_that_says_what_is_read(worker: Worker, path: str) -> None:
    said = []
    for data in (request(path, BODY, headers=(JSON, GZIP)), chunked(path, BODY, JSON, GZIP)):
        with connected(worker) as connection:
            connection.sendall(data)
            said.append(read_answer(connection))
            connection.sendall(request("/livez", method="GET"))  # the connection goes on
            assert read_answer(connection)[0] == 200
    (status, headers, body), (other, others, same) = said
    assert (status, headers["accept-encoding"]) == (other, others["accept-encoding"]) == (415, "identity")
    assert body == same
    assert "compressed" in json.loads(body)["error"]
    assert b"identity" in body and b"gzip" in body


@pytest.mark.parametrize("path", PATHS)
def test_head_is_get_without_the_body(worker: Worker, path: str) -> None:
    answers = []
    for odd in ((), ("Host: again",)):  # a second Host is not for the lane
        with connected(worker) as connection:
            connection.sendall(request(path, method="HEAD", headers=odd))
            answers.append(read_answer(connection, bodiless=True))
            connection.sendall(request(path, method="GET", headers=odd))
            status, headers, body = read_answer(connection)
            assert (status, answers[-1][0]) == (200, 200)
            assert answers[-1][1]["content-type"] == headers["content-type"]
            if path != "/metrics":  # it grows
                assert int(answers[-1][1]["content-length"]) == len(body)


def test_a_refused_head_has_no_body_and_says_what_there_is(worker: Worker) -> None:
    with connected(worker) as connection:
        connection.sendall(request("/predict", method="HEAD", headers=("X-Request-Id: mine",)))
        status, headers, _ = read_answer(connection, bodiless=True)
        assert (status, headers["allow"], headers["x-request-id"]) == (405, "POST", "mine")
        assert is_closed(connection)
    with connected(worker) as connection:
        connection.sendall(request("/livez", b""))
        status, headers, _ = read_answer(connection)
        assert (status, headers["allow"]) == (405, "GET, HEAD")
