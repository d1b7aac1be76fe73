"""Manners of the fast lane, byte by byte on a real socket."""

from __future__ import annotations

import logging
import re
import time
from email.utils import parsedate_to_datetime
from pathlib import Path

import pytest

from modeldeploy.serving.exchange import Exchange, Response, Route
from server_place import Running, is_closed, read_answer, request, running


def test_an_answer_has_length_type_date_and_id_and_the_connection_stays(server: Running) -> None:
    with server.connect() as connection:
        for body in (b"one", b"", b"three"):
            connection.sendall(request(body=body))
            status, headers, answer = read_answer(connection)
            assert (status, answer) == (200, body)
            assert set(headers) == {"content-type", "date", "x-request-id", "content-length"}
            assert headers["content-type"] == "application/octet-stream"
            assert abs(parsedate_to_datetime(headers["date"]).timestamp() - time.time()) < 3


def test_the_clients_request_id_comes_back_and_a_bad_one_does_not(server: Running) -> None:
    assert server.ask(request(headers=("X-Request-Id: a b",)))[1]["x-request-id"] == "a b"
    first, second = (server.ask(request(headers=("X-Request-Id: ä",)))[1]["x-request-id"] for _ in range(2))
    assert re.fullmatch(r"[0-9a-f]{16}-[0-9a-f]+", first)
    assert first != second
    assert server.ask(request(headers=(f"X-Request-Id: {'a' * 129}",)))[1]["x-request-id"] != "a" * 129


def test_a_handler_sees_method_path_query_headers_and_body(server: Running) -> None:
    server.ask(request("/echo?a=%20b", b"body", headers=("X-A: 1", "x-a: 2")))
    asked = server.handlers.seen[-1].request
    assert (asked.method, asked.path, asked.query, bytes(asked.body)) == ("POST", "/echo", "a=%20b", b"body")
    assert asked.headers["x-a"] == "1, 2"


def test_a_request_may_come_in_any_pieces(server: Running) -> None:
    data = request(body=b"0123456789") + request(body=b"abc")
    for size in (1, 7, 50):
        with server.connect() as connection:
            for start in range(0, len(data), size):
                connection.sendall(data[start : start + size])
                if size > 1:
                    time.sleep(0.001)
            assert [read_answer(connection)[2] for _ in range(2)] == [b"0123456789", b"abc"]


def test_pipelined_requests_are_answered_in_their_order(server: Running) -> None:
    with server.connect() as connection:
        connection.sendall(
            request("/hold", b"1")
            + request(body=b"2")
            + request("/other", b"333")  # the app's
            + request(body=b"4")
        )
        held = wait_for_held(server)
        server.call(lambda: held.reply(Response(200, b"1")))
        answers = [read_answer(connection)[2] for _ in range(4)]
        assert answers == [b"1", b"2", b"app POST /other 3", b"4"]


def test_head_gets_the_headers_of_get_without_its_body(server: Running) -> None:
    with server.connect() as connection:
        for _ in range(2):
            connection.sendall(request("/hello?q", method="HEAD"))
            status, headers, body = read_answer(connection, bodiless=True)
            assert (status, headers["content-length"], headers["x-more"], body) == (200, "7", "q", b"")
        connection.sendall(request("/hello", method="GET"))
        assert read_answer(connection)[2] == b'"hello"'


def test_close_is_heeded_and_said(server: Running) -> None:
    with server.connect() as connection:
        connection.sendall(request(body=b"last", headers=("Connection: Close",)) + request(body=b"more"))
        status, headers, body = read_answer(connection)
        assert (status, headers["connection"], body) == (200, "close", b"last")
        assert is_closed(connection)


def test_a_handler_that_raises_is_a_500_whose_cause_is_only_in_the_log(
    server: Running, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.ERROR), server.connect() as connection:
        connection.sendall(request("/fail", headers=("X-Request-Id: mine",)))
        status, headers, body = read_answer(connection)
        assert (status, headers["x-request-id"]) == (500, "mine")
        assert b"secret" not in body
        assert b"mine" in body
        connection.sendall(request(body=b"next"))
        assert read_answer(connection)[2] == b"next"
    assert "mine" in caplog.text
    assert "secret of /fail" in caplog.text


def test_a_second_reply_is_not_the_answer_to_the_next_request(server: Running) -> None:
    with server.connect() as connection:
        connection.sendall(request("/twice"))
        assert read_answer(connection)[2] == b"1"
        connection.sendall(request("/hold"))
        held = wait_for_held(server)
        server.call(lambda: held.reply(Response(200, b"held")))
        server.call(lambda: held.reply(Response(200, b"again")))
        assert read_answer(connection)[2] == b"held"
        connection.sendall(request(body=b"next"))
        assert read_answer(connection)[2] == b"next"


def test_a_header_that_would_split_the_answer_is_a_500(server: Running) -> None:
    status, headers, _ = server.ask(request("/broken"))
    assert status == 500
    assert "set-cookie" not in headers


def test_a_client_that_hangs_up_is_gone_and_the_late_answer_harms_nobody(tmp_path: Path) -> None:
    told: list[tuple[str, int]] = []

    def report(route: Route, _exchange: Exchange, status: int, _seconds: float) -> None:
        told.append((route.name, status))

    with running(tmp_path, report=report) as server:
        with server.connect() as connection:
            connection.sendall(request("/hold", b"1"))
            held = wait_for_held(server)
            assert not held.gone
            held.on_gone = lambda: told.append(("called off", 0))
        deadline = time.monotonic() + 5
        while not held.gone and time.monotonic() < deadline:
            time.sleep(0.01)
        assert held.gone
        server.call(lambda: held.reply(Response(200)))
        assert server.ask(request(body=b"1"))[0] == 200
        assert server.ask(request("/livez", method="GET"))[0] == 200
    assert told == [("/hold", 499), ("called off", 0), ("/echo", 200)]


def test_who_counts_may_fail_and_the_client_has_its_answer(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    def report(*_: object) -> None:
        raise OSError("no space left")

    with running(tmp_path, report=report) as server:
        assert server.ask(request(body=b"1"))[2] == b"1"
    assert "no space left" in caplog.text


def test_another_method_of_a_path_is_refused_or_left_to_the_app(tmp_path: Path) -> None:
    with running(tmp_path) as server:
        status, headers, _ = server.ask(request("/echo", method="GET"))
        assert (status, headers["allow"], headers["connection"]) == (405, "POST", "close")
        assert server.ask(request("/echo", method="OPTIONS"))[2] == b"app OPTIONS /echo 0"
        chunked = b"PUT /echo HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"
        assert server.ask(chunked)[0] == 405
    (tmp_path / "s.sock").unlink()
    with running(tmp_path, refuses_methods=False) as server:
        assert server.ask(request("/echo", method="GET"))[2] == b"app GET /echo 0"
        assert server.ask(chunked)[2] == b"app PUT /echo 0"


def test_health_is_answered_by_the_server(server: Running) -> None:
    for path in ("/livez", "/healthz", "/readyz"):
        assert server.ask(request(path, method="GET"))[0] == 200
    server.ready[0] = False
    assert server.ask(request("/livez", method="GET"))[0] == 200
    status, headers, _ = server.ask(request("/readyz", method="GET"))
    assert (status, headers["retry-after"]) == (503, "1")


def wait_for_held(server: Running) -> Exchange:
    deadline = time.monotonic() + 5
    while not server.handlers.held:
        assert time.monotonic() < deadline
        time.sleep(0.005)
    return server.handlers.held.pop()
