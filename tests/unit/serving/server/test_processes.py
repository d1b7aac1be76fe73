"""Several processes behind one socket: started, killed, replaced, drained under load."""

from __future__ import annotations

import ast
import http.client
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import pytest

from server_place import read_answer, request

PROGRAM = """
import asyncio, logging, os, socket, sys, time
from pathlib import Path
from modeldeploy.serving.exchange import Response, Route, Routes
from modeldeploy.serving.lane import Lane
from modeldeploy.serving.server.places import Place, bound_path, bound_port
from modeldeploy.serving.server.processes import Shares, Supervisor

where, workers, broken = sys.argv[1], int(sys.argv[2]), sys.argv[3:]
logging.basicConfig(level=logging.INFO, format="%(message)s")


async def nothing(*_):
    pass


def work(index, pair):
    import uvloop
    from modeldeploy.serving.server import process
    from server_place import app

    if "never" in broken and index == 1:
        raise OSError("no such model")
    if "once" in broken and Path(where + ".started").exists():
        sys.exit(7)
    routes = Routes()

    def who(exchange):
        exchange.reply(Response(200, str(os.getpid()).encode()))

    def slow(exchange):
        asyncio.get_running_loop().call_later(0.02, who, exchange)

    routes.add(Route("POST", "/who", who, "/who", 1000))
    routes.add(Route("POST", "/slow", slow, "/slow", 1000))
    lane = Lane(routes, app, lambda: True, nothing, nothing)

    class Tested(process.Process):
        def _lane(self, meter):
            return lane

        def _describe(self, meter):
            pass

    options = type("Options", (), {"drain": 5.0, "grpc_socket": None, "grpc_port": None})()
    from modeldeploy.serving.observe.board import Board
    from modeldeploy.serving.spec import ServiceSpec

    own, began, board = Place(place.listener), time.monotonic(), Board(max(1, workers))
    spec = ServiceSpec("tested")
    if pair is None:
        process = Tested(options, spec, place, leave=lambda: os._exit(0), began=began, board=board)
        return process.run()
    process = Tested(options, spec, own, leave=lambda: os._exit(0), began=began, board=board)
    return process.run(index=index, pair=pair, shares=shares)


shares = Shares(max(1, workers))
bound = bound_port("127.0.0.1", 0) if where.isdecimal() else bound_path(Path(where))
with bound as place:
    print("at", repr(place.listener.getsockname()), flush=True)
    if workers == 0:
        sys.exit(work(0, None))
    sys.exit(Supervisor(workers, work, place.listener, place.withdraw, 5.0, time.monotonic(), shares).run())
"""


@dataclass
class Service:
    """The program's process, and where it listens."""

    process: subprocess.Popen[bytes]
    file: Path
    address: str | tuple[str, int] = ""

    @property
    def log(self) -> list[str]:
        return self.file.read_text().splitlines()

    def connect(self) -> socket.socket:
        family = socket.AF_UNIX if isinstance(self.address, str) else socket.AF_INET
        connection = socket.socket(family, socket.SOCK_STREAM)
        connection.settimeout(10)
        try:
            connection.connect(self.address)
        except OSError:
            connection.close()
            raise
        return connection

    def who(self) -> int:
        with self.connect() as connection:
            connection.sendall(request("/who"))
            return int(read_answer(connection)[2])

    def until(self, text: str, times: int = 1) -> None:
        deadline = time.monotonic() + 20
        while sum(text in line for line in self.log) < times:
            assert time.monotonic() < deadline and self.process.poll() is None, self.log
            time.sleep(0.01)

    def stop(self) -> int:
        self.process.terminate()
        return self.process.wait(20)


Begin = Callable[..., Service]


@pytest.fixture
def begin(tmp_path: Path) -> Iterator[Begin]:
    """Start the program; what still runs at the end is killed."""
    started: list[Service] = []

    def run(where: str | None = None, *broken: str, workers: int = 2) -> Service:
        place = where or str(tmp_path / "s.sock")
        python_path = os.pathsep.join(str(Path(__file__).parents[4] / part) for part in ("src", "tests"))
        with (tmp_path / "log").open("wb") as log:
            process = subprocess.Popen(
                [sys.executable, "-c", PROGRAM, place, str(workers), *broken],
                env={**os.environ, "PYTHONPATH": python_path},
                stdout=log,
                stderr=log,
            )
        service = Service(process, tmp_path / "log")
        started.append(service)
        service.until("at ")
        said = next(line for line in service.log if line.startswith("at "))
        service.address = ast.literal_eval(said.removeprefix("at "))
        return service

    yield run
    for service in started:
        service.process.terminate()
        try:
            service.process.wait(15)
        except subprocess.TimeoutExpired:
            service.process.kill()
            service.process.wait()


def test_all_are_ready_before_anyone_is_served_and_the_connections_are_shared(begin: Begin) -> None:
    service = begin()
    service.until("ready after")
    assert sum("ready after" in line for line in service.log) == 1
    connections = [service.connect() for _ in range(20)]
    try:
        owners = []
        for connection in connections:
            connection.sendall(request("/who"))
            owners.append(read_answer(connection)[2])
            time.sleep(0.003)
    finally:
        for connection in connections:
            connection.close()
    shares = sorted(owners.count(owner) for owner in set(owners))
    assert len(shares) == 2
    assert shares[0] >= 4
    assert service.stop() == 0
    assert not Path(str(service.address)).exists()


def test_a_worker_that_is_killed_is_replaced_and_the_other_one_serves_meanwhile(begin: Begin) -> None:
    service = begin()
    service.until("ready after")
    for _ in range(3):
        victim = service.who()
        with service.connect() as victims:
            os.kill(victim, signal.SIGKILL)
            answers = {service.who() for _ in range(20)}
            assert victim not in answers
            del victims
    service.until("the next one starts in", 3)
    deadline = time.monotonic() + 10
    while len({service.who() for _ in range(20)}) < 2:
        assert time.monotonic() < deadline
        time.sleep(0.05)
    assert service.stop() == 0


def test_a_child_that_cannot_start_makes_the_parent_fail(begin: Begin) -> None:
    service = begin(None, "never")
    assert service.process.wait(20) == 1
    assert "worker 1 of 2 did not start" in "".join(service.log)
    assert "no such model" in "".join(service.log)
    assert not Path(str(service.address)).exists()


def test_when_no_worker_stays_alive_the_parent_gives_up(begin: Begin) -> None:
    service = begin(None, "once", workers=1)
    service.until("ready after")
    Path(f"{service.address}.started").touch()
    os.kill(service.who(), signal.SIGKILL)
    assert service.process.wait(20) == 1
    assert "no worker stays alive" in "".join(service.log)


def test_workers_end_when_their_parent_is_killed(begin: Begin) -> None:
    service = begin()
    service.until("ready after")
    workers = {service.who() for _ in range(20)}
    service.process.kill()
    service.process.wait()
    deadline = time.monotonic() + 10
    while any(alive(worker) for worker in workers):
        assert time.monotonic() < deadline
        time.sleep(0.05)


@pytest.mark.parametrize("where", [None, "0"], ids=["unix", "tcp"])
@pytest.mark.parametrize("workers", [0, 1, 2], ids=["alone", "one", "two"])
def test_sigterm_under_load_loses_no_request(begin: Begin, where: str | None, workers: int) -> None:
    service = begin(where, workers=workers)
    service.until("ready after")
    load = Load(service)
    load.start()
    time.sleep(0.7)
    assert service.stop() == 0
    load.join()
    assert load.lost == []
    assert load.answered > 200


class Load:
    """Clients of all kinds, each until nobody accepts any more."""

    def __init__(self, service: Service) -> None:
        self.service = service
        self.lost: list[str] = []
        self.answered = 0
        kinds = [
            (self.stay, "/who"),
            (self.stay, "/slow"),
            (self.come_anew, "/who"),
            (self.come_anew, "/slow"),
        ]
        self.threads = [threading.Thread(target=kind, args=(path,)) for kind, path in kinds * 3]

    def start(self) -> None:
        for thread in self.threads:
            thread.start()

    def join(self) -> None:
        for thread in self.threads:
            thread.join(30)
            assert not thread.is_alive()

    def stay(self, path: str) -> None:
        """Keeps its connection, and heeds "close"."""
        try:
            while (connection := self._connect()) is not None:
                with connection:
                    closing_ = False
                    while not closing_:
                        connection.sendall(request(path))
                        status, headers, _ = read_answer(connection)
                        assert status == 200
                        self.answered += 1
                        closing_ = headers.get("connection") == "close"
        except (OSError, AssertionError) as error:
            self.lost.append(f"kept, {path}: {error!r}")

    def come_anew(self, path: str) -> None:
        """A connection for each request."""
        try:
            while (connection := self._connect()) is not None:
                with connection:
                    connection.sendall(request(path))
                    assert read_answer(connection)[0] == 200
                    self.answered += 1
                time.sleep(0.002)
        except (OSError, AssertionError) as error:
            self.lost.append(f"new, {path}: {error!r}")

    def _connect(self) -> socket.socket | None:
        try:
            return self.service.connect()
        except (ConnectionRefusedError, FileNotFoundError):
            return None


def alive(pid: int) -> bool:
    """Whether there is such a process that is not a zombie that nobody collects."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except OSError:
        return False


def test_the_library_client_is_served_by_either(begin: Begin) -> None:
    service = begin("0")
    service.until("ready after")
    assert isinstance(service.address, tuple)
    with closing(http.client.HTTPConnection(*service.address, timeout=10)) as client:
        for _ in range(3):
            client.request("POST", "/who", b"x")
            answer = client.getresponse()
            assert (answer.status, answer.read().isdigit()) == (200, True)
