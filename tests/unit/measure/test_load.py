"""The load generator against small servers that do what servers do: answer, refuse, close, stall."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from modeldeploy.measure.load import Plan, drive, percentile
from modeldeploy.measure.messages import Requests

QUICK = Plan(seconds=0.3, warm=0.05)
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
BUSY = b"HTTP/1.1 503 Service Unavailable\r\ncontent-length: 0\r\nretry-after: 1\r\n\r\n"
CHUNKS = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n"
LAST = b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nok"
REQUEST = b"POST /predict HTTP/1.1\r\nhost: x\r\ncontent-length: 2\r\n\r\n{}"
REQUESTS = Requests((REQUEST,), 3, "made up")
Answer = Callable[[int], tuple[bytes, ...]]
"""From the number of a connection's request to the parts of its answer."""


class Server:
    """A thread for each connection."""

    def __init__(self, place: Path, answer: Answer) -> None:
        self.place = place
        self.asked = 0
        self._answer = answer
        self._socket = socket.socket(socket.AF_UNIX)
        self._socket.bind(str(place))
        self._socket.listen(64)
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        self._socket.close()

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._socket.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        with connection:
            number = 0
            try:
                while connection.recv(65536):
                    number += 1
                    self.asked += 1
                    parts = self._answer(number)
                    for part in parts:
                        connection.sendall(part)
                        if len(parts) > 1:
                            time.sleep(0.001)
                    if not parts or b"Connection: close" in parts[0]:
                        return
            except OSError:
                return


Serve = Callable[[Answer], Server]


@pytest.fixture
def serve(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Serve]:
    """Starts a server on a short unix socket."""
    monkeypatch.chdir(tmp_path)
    running: list[Server] = []

    def start(answer: Answer) -> Server:
        running.append(Server(Path(f"s{len(running)}"), answer))
        return running[-1]

    yield start
    for server in running:
        server.close()


def nobody(_rate: float, _errors: int) -> None:
    """Listens to no tick."""


def test_a_server_that_answers_is_counted_and_timed(serve: Serve) -> None:
    server = serve(lambda _: (OK,))
    ticks: list[float] = []

    level = drive(
        server.place, REQUESTS, 4, QUICK, server=os.getpid(), tick=lambda rate, _: ticks.append(rate)
    )

    assert level.requests > 30
    assert level.rate == pytest.approx(level.requests / level.seconds, rel=0.01)
    assert level.rows == pytest.approx(3 * level.rate)
    assert not level.errors
    assert level.p50 is not None and level.p99 is not None and level.max is not None
    assert 0 < level.p50 <= level.p99 <= level.max
    assert len(level.timeline) == 1
    assert ticks
    assert level.rss
    assert level.cpu is not None


@pytest.mark.parametrize("answer", [(CHUNKS,), (OK[:20], OK[20:]), (LAST,)])
def test_answers_in_chunks_in_parts_and_on_new_connections_are_answers(
    serve: Serve, answer: tuple[bytes, ...]
) -> None:
    level = drive(serve(lambda _: answer).place, REQUESTS, 2, QUICK, server=None, tick=nobody)

    assert level.requests > 10
    assert not level.errors


def test_other_statuses_are_errors_and_no_latencies(serve: Serve) -> None:
    server = serve(lambda number: (OK if number % 2 else BUSY,))

    level = drive(server.place, REQUESTS, 2, QUICK, server=None, tick=nobody)

    assert set(level.errors) == {"status 503"}
    assert level.errors["status 503"] == pytest.approx(level.requests, abs=3)


def test_connections_that_break_are_errors_and_made_anew(serve: Serve) -> None:
    server = serve(lambda number: (OK,) if number < 5 else ())

    level = drive(server.place, REQUESTS, 2, QUICK, server=None, tick=nobody)

    assert set(level.errors) == {"the server closed the connection"}
    assert level.requests > 8, "it went on after the first connection was lost"


@pytest.mark.parametrize("connections", [1, 2])
def test_a_server_that_never_answers_gives_errors_in_time(serve: Serve, connections: int) -> None:
    release = threading.Event()
    server = serve(lambda _: (OK,) if release.wait(5) else ())

    plan = Plan(seconds=1.2, warm=0.0, timeout=0.4)
    level = drive(server.place, REQUESTS, connections, plan, server=None, tick=nobody)
    release.set()

    assert level.requests == 0
    assert level.p50 is None
    assert set(level.errors) == {"no answer within 0.4 s"}


@pytest.mark.parametrize("connections", [1, 2])
def test_nobody_who_listens_is_an_error_and_no_crash(tmp_path: Path, connections: int) -> None:
    level = drive(tmp_path / "nobody", REQUESTS, connections, QUICK, server=None, tick=nobody)

    assert level.requests == 0
    assert all(kind.startswith("no connection") for kind in level.errors)


def test_an_open_loop_asks_at_the_rate_whatever_the_server_does(serve: Serve) -> None:
    server = serve(lambda _: (OK,))

    level = drive(server.place, REQUESTS, 8, Plan(seconds=1.0, warm=0.2, rate=200), server=None, tick=nobody)

    assert level.rate == pytest.approx(200, rel=0.15)
    assert not level.behind


def test_an_open_loop_counts_the_time_for_which_a_request_was_due(serve: Serve) -> None:
    """A stall of 0.4 s makes one answer of a closed loop slow; of 200 requests due a second it makes 80."""

    def stalls(number: int) -> tuple[bytes, ...]:
        if number == 60:
            time.sleep(0.4)
        return (OK,)

    closed = drive(serve(stalls).place, REQUESTS, 1, Plan(1.0, 0.0), server=None, tick=nobody)
    opened = drive(serve(stalls).place, REQUESTS, 1, Plan(1.2, 0.0, rate=200), server=None, tick=nobody)

    assert closed.p90 is not None and opened.p90 is not None
    assert closed.p90 < 0.1
    assert opened.p90 > 0.1


def test_what_is_due_and_never_answered_is_told_and_counts_as_slow(serve: Serve) -> None:
    def slow(_number: int) -> tuple[bytes, ...]:
        time.sleep(0.02)
        return (OK,)

    level = drive(serve(slow).place, REQUESTS, 1, Plan(1.0, 0.0, rate=500), server=None, tick=nobody)

    assert level.behind > 100
    assert level.p50 is not None and level.p50 > 0.2


def test_a_load_generator_without_time_left_is_told(serve: Serve) -> None:
    """Here server and client share what there is; whether it was enough must be what the numbers say."""
    level = drive(serve(lambda _: (OK,)).place, REQUESTS, 16, QUICK, server=None, tick=nobody)

    assert level.saturated == (level.client >= 0.9)
    assert level.client > 0


WITH_FEW_FILES = """
import resource, sys
from pathlib import Path
from modeldeploy.errors import ModelDeployError
from modeldeploy.measure.load import Plan, drive
from modeldeploy.measure.messages import Requests

resource.setrlimit(resource.RLIMIT_NOFILE, (40, 40))
requests, plan = Requests((sys.argv[2].encode(),), 3, "made up"), Plan(seconds=0.3, warm=0.05)
try:
    drive(Path(sys.argv[1]), requests, 100, plan, server=None, tick=lambda *_: None)
except ModelDeployError as error:
    print(error, error.hint)
"""


def test_more_connections_than_the_system_allows_is_an_error_with_a_hint(serve: Serve) -> None:
    server = serve(lambda _: (OK,))

    command = [sys.executable, "-c", WITH_FEW_FILES, str(server.place), REQUEST.decode()]
    told = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60).stdout

    assert "Too many open files" in told
    assert "ulimit" in told


def test_a_percentile_that_too_few_values_decide_is_none() -> None:
    assert percentile(list(range(999)), 0.999) is None
    assert percentile([10_000] * 1000, 0.999) == 0.001
    assert percentile([], 0.5) is None
    assert percentile([10_000, 20_000, 30_000], 0.5) == 0.002
