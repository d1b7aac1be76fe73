"""What a client may take: size, time, memory, connections."""

from __future__ import annotations

import contextlib
import resource
import socket
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

import pytest

from modeldeploy.serving.exchange import Route, Routes
from modeldeploy.serving.server import connection as lane
from modeldeploy.serving.server import handed, serve
from modeldeploy.serving.server.context import room_for
from server_place import Running, is_closed, read_answer, request, running


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> Callable[[float], None]:
    """Make every limit on time so short."""

    def shorten(seconds: float) -> None:
        monkeypatch.setattr(serve, "_TICK", 0.05)
        for module in (lane, handed):
            for name in ("HEAD_TIME", "BODY_TIME"):
                monkeypatch.setattr(module, name, seconds)
        for name in ("KEEP_ALIVE", "LINGER", "STALLED"):
            monkeypatch.setattr(lane, name, seconds)

    return shorten


def test_a_head_that_is_too_long_is_a_431(server: Running) -> None:
    for data in (
        request(headers=(f"X-Long: {'a' * 70_000}",)),
        b"GET /" + b"a" * 70_000,
    ):
        status, headers, _ = server.ask(data)
        assert (status, headers["connection"]) == (431, "close")
    just_fits = request(body=b"1", headers=(f"X-Long: {'a' * 60_000}",))
    assert server.ask(just_fits)[0] == 200


def test_a_long_head_is_refused_after_a_hand_over_too(server: Running) -> None:
    with server.connect() as connection:
        with contextlib.suppress(OSError):  # it hangs up on us
            connection.sendall(b"GET / HTTP/1.0\r\nExpect: x\r\nX: \r\n\r\n")
            connection.sendall(b"GET / HTTP/1.1\r\n" + b"X: 0123456789\r\n" * 60_000)
        assert is_closed_after_reading(connection)


@pytest.mark.parametrize("length", [100_001, 10**9, 10**14])
def test_a_body_that_is_too_large_is_refused_before_it_is_read(server: Running, length: int) -> None:
    with server.connect() as connection:
        connection.sendall(f"POST /echo HTTP/1.1\r\nHost: h\r\nContent-Length: {length}\r\n\r\n".encode())
        status, headers, body = read_answer(connection)
        assert (status, headers["connection"]) == (413, "close")
        assert b"100000 bytes" in body
        assert is_closed(connection)
    assert server.handlers.seen == []


def test_a_client_that_sends_a_large_body_all_the_same_sees_the_413(server: Running) -> None:
    for data in (
        request(body=b"x" * 3_000_000),
        request(body=b"x" * 100_001),
        b"POST /echo HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n"
        + b"%b\r\n%b\r\n" % (b"8000", b"x" * 0x8000)
        + b"%b\r\n%b\r\n0\r\n\r\n" % (b"18000", b"x" * 0x18000),
    ):
        assert server.ask(data)[0] == 413
    assert server.ask(request(body=b"x" * 100_000))[2] == b"x" * 100_000
    assert len(server.handlers.seen) == 1


@pytest.mark.parametrize(
    "begin",
    [
        b"POST /echo HT",
        b"POST /echo HTTP/1.1\r\nHost: h\r\nContent-Length: 90000\r\n\r\nabc",
        b"POST /echo HTTP/1.0\r\nHost: h\r\nX: \r\n",
        b"POST /echo HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\nffff\r\nabc",
    ],
)
def test_a_slow_client_is_shown_out_while_others_are_served(
    quick: Callable[[float], None], server: Running, begin: bytes
) -> None:
    quick(0.4)
    slow = server.connect()
    with slow:
        slow.settimeout(0.05)
        slow.sendall(begin)
        ended = False
        began = time.monotonic()
        answer = b""
        while not ended and time.monotonic() < began + 5:
            assert server.ask(request(body=b"1"))[0] == 200
            with contextlib.suppress(OSError):
                slow.sendall(b"1")
            try:
                part = slow.recv(1000)
                answer += part
                ended = part == b""
            except TimeoutError:
                continue
            except ConnectionResetError:
                ended = True
        assert ended
        assert 0.2 < time.monotonic() - began < 4
        assert answer.split(b"\r\n")[0] == b"HTTP/1.1 408 Request Timeout"


def test_an_idle_connection_is_closed_after_its_time_but_not_one_that_waits(
    quick: Callable[[float], None], server: Running
) -> None:
    quick(0.3)
    with server.connect() as idle, server.connect() as fresh, server.connect() as waiting:
        waiting.sendall(request("/hold", b"1"))
        idle.sendall(request(body=b"1"))
        read_answer(idle)
        assert is_closed(idle)
        assert is_closed(fresh)
        waiting.settimeout(0.5)
        with pytest.raises(TimeoutError):
            waiting.recv(1)


def test_who_does_not_read_holds_little_memory_and_is_cut_off(
    quick: Callable[[float], None], server: Running
) -> None:
    with server.connect() as deaf:
        asked = request("/large", b"5000000")
        deaf.settimeout(0.3)
        sent = 0
        with contextlib.suppress(TimeoutError):
            while sent < 10_000_000:
                sent += deaf.send(asked)
        assert sent < 2_000_000  # it is not read any more: the rest waits at the client
        held = server.call(lambda: list(server.server.context.connections))
        assert len(held) == 1
        assert held[0]._transport.get_write_buffer_size() < 6_000_000
        assert len(held[0]._buffer) < 400_000
        quick(0.3)
        deadline = time.monotonic() + 5
        while server.call(lambda: len(server.server.context.connections)) and time.monotonic() < deadline:
            time.sleep(0.05)
        assert not server.call(lambda: len(server.server.context.connections))
    assert server.ask(request(body=b"1"))[0] == 200


def test_a_slow_reader_gets_everything(server: Running) -> None:
    with server.connect() as slow:
        slow.sendall(request("/large", b"3000000") * 3 + request(body=b"end"))
        time.sleep(0.3)
        for _ in range(3):
            assert len(read_answer(slow)[2]) == 3_000_000
        assert read_answer(slow)[2] == b"end"


def test_two_thousand_connections_are_served(server: Running) -> None:
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = min(2000, (most - 200) // 2)
    raise_files(2 * wanted + 200)
    with ExitStack() as held:
        everyone = [held.enter_context(server.connect()) for _ in range(wanted)]
        for connection in everyone:
            connection.sendall(request(body=b"1"))
        for connection in everyone:
            assert read_answer(connection)[2] == b"1"
        assert server.call(lambda: len(server.server.context.connections)) == wanted


def test_the_oldest_idle_connections_make_room_for_new_ones(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(serve, "MOST_CONNECTIONS", 40)
    with running(tmp_path) as server, ExitStack() as held:
        everyone: list[socket.socket] = []
        for _ in range(100):
            connection = held.enter_context(server.connect())
            connection.sendall(request(body=b"1"))
            assert read_answer(connection)[0] == 200
            everyone.append(connection)
        assert server.call(lambda: len(server.server.context.connections)) <= 40
        everyone[-1].sendall(request(body=b"2"))
        assert read_answer(everyone[-1])[2] == b"2"
        assert is_closed(everyone[0])


def test_when_all_connections_are_at_work_the_next_waits_its_turn(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(serve, "MOST_CONNECTIONS", 3)
    monkeypatch.setattr(serve, "_OTHER_FILES", 0)
    with running(tmp_path) as server, ExitStack() as held:
        server.server._most = 3
        at_work = []
        for _ in range(3):
            at_work.append(held.enter_context(server.connect()))
            at_work[-1].sendall(request("/hold", b"1"))
            deadline = time.monotonic() + 5
            while len(server.handlers.held) < len(at_work) and time.monotonic() < deadline:
                time.sleep(0.01)
        late = held.enter_context(server.connect())
        late.sendall(request(body=b"late"))
        late.settimeout(0.3)
        with pytest.raises(TimeoutError):
            late.recv(1)
        at_work[0].close()
        late.settimeout(5)
        assert read_answer(late)[2] == b"late"


def raise_files(wanted: int) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (min(wanted, hard), hard))


def is_closed_after_reading(connection: socket.socket) -> bool:
    try:
        while connection.recv(65536):
            pass
    except ConnectionResetError:
        return True
    return True


def test_large_bodies_of_many_clients_have_so_much_room_together(server: Running) -> None:
    room = server.server.context.room
    room.most = 150_000
    begin = b"POST /echo HTTP/1.1\r\nHost: h\r\nContent-Length: 90000\r\n\r\n"
    chunked = b"POST /echo HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n15F90\r\n"
    with server.connect() as first:
        first.sendall(begin)
        first.sendall(b"x" * 80_000)
        _until(lambda: room.held > 60_000)
        for start in (begin, chunked):
            with server.connect() as second:
                second.sendall(start)
                time.sleep(0.05)
                with contextlib.suppress(OSError):
                    second.sendall(b"x" * 89_000)
                status, headers, _ = read_answer(second)
                assert (status, headers["retry-after"]) == (503, "1")
        first.sendall(b"x" * 10_000)
        assert read_answer(first)[0] == 200
    _until(lambda: room.held == 0)
    assert server.ask(begin + b"x" * 90_000)[0] == 200
    with server.connect() as leaves:
        leaves.sendall(begin)
        leaves.sendall(b"x" * 50_000)
    _until(lambda: room.held == 0)


def test_there_is_always_room_for_two_of_the_largest_bodies() -> None:
    routes = Routes()
    routes.add(Route("POST", "/", lambda _: None, "/", 1000))
    assert room_for(routes, memory=100).most == 2000
    assert room_for(routes, memory=1_000_000).most == 250_000


def _until(holds: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 5
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.01)
