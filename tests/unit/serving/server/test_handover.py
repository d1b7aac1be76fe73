"""What the lane leaves is uvicorn's, from its first byte on, with the same answers."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from modeldeploy.serving.exchange import Exchange, Response, Route
from modeldeploy.serving.server.asgi import as_app
from server_place import Running, TestRoutes, app, is_closed, read_answer, request, running

CHUNKED = (
    b"POST /echo HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n"
)


def test_the_app_answers_every_other_path(server: Running) -> None:
    assert server.ask(request("/other?x", b"123"))[2] == b"app POST /other 3"
    assert server.ask(request("/%65cho", b"123"))[2] == b"123"
    assert server.ask(request("//echo", b"123"))[2] == b"app POST //echo 3"


@pytest.mark.parametrize(
    "data",
    [
        CHUNKED,
        b"POST /echo HTTP/1.0\r\nContent-Length: 5\r\n\r\nabcde",
        b"POST /echo HTTP/1.1\r\nContent-Length: 5\r\n\r\nabcde",
        b"\r\nPOST /echo HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\n\r\nabcde",
        b"POST http://h/echo HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\n\r\nabcde",
        b"POST /echo HTTP/1.1\r\nHost: h\r\nContent-Length: 005\r\n\r\nabcde",
        b"POST /echo HTTP/1.1\r\nHost: h\r\nHost: i\r\nContent-Length: 5\r\n\r\nabcde",
    ],
)
def test_odd_but_good_requests_of_a_lane_get_the_lanes_answer(server: Running, data: bytes) -> None:
    status, headers, body = server.ask(data)
    assert (status, body) == (200, b"abcde")
    assert headers["content-type"] == "application/octet-stream"
    assert {"date", "x-request-id"} <= set(headers)
    assert bytes(server.handlers.seen[-1].request.body) == b"abcde"


def test_a_connection_that_was_handed_over_serves_both_ways_on(server: Running) -> None:
    with server.connect() as connection:
        for data, answer in (
            (request(body=b"1"), b"1"),
            (CHUNKED, b"abcde"),
            (request(body=b"2"), b"2"),
            (request("/other"), b"app POST /other 0"),
            (request("/fail"), None),
            (request(body=b"3"), b"3"),
        ):
            connection.sendall(data)
            status, headers, body = read_answer(connection)
            assert body == answer or (answer is None and status == 500 and b"secret" not in body)
            if answer is None or not answer.startswith(b"app"):
                assert headers["x-request-id"]


def test_a_client_that_waits_for_100_continue_gets_it(server: Running) -> None:
    with server.connect() as connection:
        head = b"POST /echo HTTP/1.1\r\nHost: h\r\nExpect: 100-continue\r\nContent-Length: %d\r\n\r\n"
        connection.sendall(head % 3)
        assert connection.recv(100) == b"HTTP/1.1 100 Continue\r\n\r\n"
        connection.sendall(b"abc")
        assert read_answer(connection)[2] == b"abc"
        connection.sendall(head % 200_000)
        status, headers, _ = read_answer(connection)
        assert (status, headers["connection"]) == (413, "close")
        assert is_closed(connection)


@pytest.mark.parametrize(
    "data",
    [
        b"POST /echo HTTP/1.1\r\nHost: h\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        b"POST /echo HTTP/1.1\r\nHost: h\r\nContent-Length: 3\r\nContent-Length: 4\r\n\r\nabcd",
        b"POST /echo HTTP/1.1\r\nHost: h\r\nContent-Length: -3\r\n\r\nabc",
        b"POST /echo HTTP/1.1\r\nHost: h\r\nContent-Length: 99999999999999999999999\r\n\r\nabc",
        b"POST /echo HTTP/1.1\r\nHost: h\r\nContent-Length: 3;\r\n\r\nabc",
        b"POST /echo HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: identity, chunked, x\r\n\r\n0\r\n\r\n",
        b"POST /echo HTTP/1.1\nHost: h\nContent-Length: 3\n\nabc",
        b"POST /echo HTTP/1.1\r\nHost: h\r\nX: a\x00b\r\nContent-Length: 3\r\n\r\nabc",
        b"POST /echo HTTP/1.1\r\nHost: h\r\nContent-Length : 3\r\n\r\nabc",
        b"post /echo HTTP/1.1\r\nHost: h\r\nContent-Length: 3\r\n\r\nabc",
        b"POST /echo HTTP/9.9\r\nHost: h\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        b"\x00" * 100,
    ],
)
def test_what_could_be_read_in_two_ways_is_refused_and_the_connection_ends(
    server: Running, data: bytes
) -> None:
    with server.connect() as connection:
        connection.sendall(data + request(body=b"smuggled"))
        status, headers, body = read_answer(connection)
        assert (status, headers["connection"]) == (400, "close")
        assert b"smuggled" not in body
        assert is_closed(connection)
    assert server.handlers.seen == []


def test_bytes_after_a_request_are_the_next_request_and_nothing_else(server: Running) -> None:
    with server.connect() as connection:
        connection.sendall(request(body=b"1") + b"garbage\r\n\r\n")
        assert read_answer(connection)[2] == b"1"
        assert read_answer(connection)[0] == 400
        assert is_closed(connection)


def test_answers_of_both_ways_are_reported(tmp_path: Path) -> None:
    told: list[tuple[str, int, str]] = []

    def report(route: Route, exchange: Exchange, status: int, seconds: float) -> None:
        assert 0 <= seconds < 5
        told.append((route.name, status, exchange.request_id))

    with running(tmp_path, report=report) as server:
        mine = ("X-Request-Id: mine",)
        assert server.ask(request(body=b"1", headers=mine))[0] == 200
        assert server.ask(request(body=b"1", headers=(*mine, "Trailer: x")))[0] == 200
        assert server.ask(request(body=b"1" * 200_000, headers=mine))[0] == 413
        assert server.ask(request("/other", headers=mine))[0] == 200
    assert told == [("/echo", 200, "mine"), ("/echo", 200, "mine"), ("/echo", 413, "mine")]


def test_an_asgi_client_that_hangs_up_is_gone() -> None:
    handlers = TestRoutes()
    served = as_app(handlers.routes(), app)
    sent: list[Any] = []

    async def main() -> None:
        messages: asyncio.Queue[Any] = asyncio.Queue()

        async def send(message: Any) -> None:
            sent.append(message)

        scope = {"type": "http", "method": "POST", "path": "/api/hold", "root_path": "/api", "headers": []}
        asking = asyncio.ensure_future(served(scope, messages.get, send))
        await messages.put({"type": "http.request", "body": b"1", "more_body": False})
        while not handlers.held:  # noqa: ASYNC110  # handlers tell nobody
            await asyncio.sleep(0.001)
        assert not handlers.held[0].gone
        await messages.put({"type": "http.disconnect"})
        await asyncio.wait_for(asking, 5)
        handlers.held[0].reply(Response(200))

    asyncio.run(main())
    assert handlers.held[0].gone
    assert sent == []


def test_an_app_that_cannot_start_keeps_the_server_from_it(tmp_path: Path) -> None:
    from modeldeploy.serving.server.lifespan import Lifespan

    async def fails(_scope: Any, receive: Any, send: Any) -> None:
        await receive()
        await send({"type": "lifespan.startup.failed", "message": "no model"})

    async def raises(_scope: Any, _receive: Any, _send: Any) -> None:
        raise ValueError("no such file")

    async def returns(_scope: Any, _receive: Any, _send: Any) -> None:
        return None

    for broken, error, says in (
        (fails, RuntimeError, "no model"),
        (raises, ValueError, "no such file"),
        (returns, RuntimeError, "ended at its startup"),
    ):
        with pytest.raises(error, match=says):
            asyncio.run(Lifespan(broken).start())
