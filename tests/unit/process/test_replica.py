"""One real worker, in time that the test makes up."""

import os
import signal
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from modeldeploy import files
from modeldeploy.targets.process.layout import RevisionLayout
from modeldeploy.targets.process.lifeline import Command
from modeldeploy.targets.process.probe import Answer, Probe, parse
from modeldeploy.targets.process.replica import HANGS_AFTER, Phase, Replica
from process_place import eventually
from tiny_supervisor import WORKER


@pytest.fixture
def layout(tmp_path: Path) -> RevisionLayout:
    layout = RevisionLayout(tmp_path / "1.0.0-0123abcd", files.private(tmp_path / "run" / "s"))
    layout.make()
    return layout


class Bench:
    """A replica, and the means to step it through time."""

    def __init__(self, layout: RevisionLayout, **env: str) -> None:
        self.layout = layout
        self.env = env
        self.now = 0.0
        self.replica = Replica(0, layout)

    def step(self) -> Phase:
        self.replica.step(self.now, self.command)
        return self.replica.phase

    def stopped(self) -> bool:
        self.now += 0.5
        return self.replica.stop(self.now, 0.0)

    def command(self) -> Command:
        argv = [sys.executable, "-S", "-E", str(WORKER), str(self.replica.socket)]
        return Command(argv, self.env)

    def until(self, phase: Phase, *, stride: float = 0.02) -> None:
        """Steps, a little real time and ``stride`` seconds of its own apart."""
        for _ in range(500):
            if self.step() is phase:
                return
            self.now += stride
            time.sleep(0.01)
        raise AssertionError(f"never {phase.value}: {self.replica.message}")


@pytest.fixture
def bench(layout: RevisionLayout) -> Iterator[Bench]:
    bench = Bench(layout)
    yield bench
    if bench.replica.pid:
        os.kill(bench.replica.pid, signal.SIGCONT)
    eventually(bench.stopped, "stopped")


def test_a_worker_becomes_ready(bench: Bench) -> None:
    assert bench.step() is Phase.STARTING
    bench.until(Phase.READY)


def test_a_worker_that_says_not_ready_is_told_so_and_left_alone(bench: Bench) -> None:
    bench.env["START_DELAY"] = "1000"
    bench.step()
    before = bench.replica.pid
    while "model is loading" not in bench.replica.message:
        bench.now += 0.1
        assert bench.step() is Phase.STARTING
        time.sleep(0.01)
    bench.now += 10_000
    bench.step()
    assert bench.replica.pid == before


def test_a_hung_worker_is_killed_after_a_while_and_started_again(bench: Bench) -> None:
    bench.until(Phase.READY)
    first = bench.replica.pid
    assert first
    os.kill(first, signal.SIGSTOP)
    bench.until(Phase.UNREADY, stride=0.5)
    assert "did not answer in time" in bench.replica.message
    began = bench.now
    bench.until(Phase.DOWN, stride=1.0)
    assert HANGS_AFTER - 1 <= bench.now - began <= HANGS_AFTER + 12
    bench.until(Phase.READY, stride=0.1)
    assert bench.replica.pid != first
    assert "gave no answer for 30 s" in bench.replica.log.read_text()


def test_a_worker_whose_socket_was_removed_is_started_again(bench: Bench) -> None:
    bench.until(Phase.READY)
    first = bench.replica.pid
    bench.replica.socket.unlink()
    bench.until(Phase.DOWN, stride=1.0)
    bench.until(Phase.READY, stride=0.1)
    assert bench.replica.pid != first


def test_a_worker_that_ignores_sigterm_is_killed_at_the_deadline(bench: Bench) -> None:
    bench.until(Phase.READY)
    assert bench.replica.pid
    os.kill(bench.replica.pid, signal.SIGSTOP)
    assert not bench.replica.stop(bench.now, kill_after=5.0)
    bench.now += 4.9
    assert not bench.replica.stop(bench.now, kill_after=5.0)
    assert bench.replica.pid
    bench.now += 0.2
    bench.replica.stop(bench.now, kill_after=5.0)
    eventually(lambda: bench.replica.stop(bench.now, 5.0), "gone")


def test_a_worker_told_to_stop_and_then_wanted_again_ends_first_and_begins_anew(bench: Bench) -> None:
    bench.until(Phase.READY)
    first = bench.replica.pid
    bench.replica.stop(bench.now, kill_after=5.0)
    bench.until(Phase.READY)
    assert bench.replica.pid != first


def test_a_successor_believes_what_was_known_until_it_has_asked(bench: Bench) -> None:
    bench.until(Phase.READY)
    assert Replica(0, bench.layout, was_ready=True).phase is Phase.READY
    assert Replica(0, bench.layout).phase is Phase.STARTING
    first, bench.replica = bench.replica, Replica(0, bench.layout)
    bench.until(Phase.READY)
    bench.replica = first


@pytest.mark.parametrize(
    ("received", "answer"),
    [
        (b"HTTP/1.1 200 OK\r\n\r\nready\nmore", Answer(200, "ready")),
        (b"HTTP/1.0 503 x\r\na: b\r\n\r\n", Answer(503, "")),
        (b"", Answer(None, "answered with something other than HTTP")),
        (b"SSH-2.0 hello", Answer(None, "answered with something other than HTTP")),
        (b"HTTP/1.1 2xx", Answer(None, "answered with something other than HTTP")),
    ],
)
def test_an_answer_is_read_or_said_to_be_none(received: bytes, answer: Answer) -> None:
    assert parse(received) == answer


def test_a_probe_of_nothing_says_that_nothing_listens(tmp_path: Path) -> None:
    answer = Probe(tmp_path / "no.sock", deadline=1.0).poll(0.0)
    assert answer == Answer(None, "not listening yet")
