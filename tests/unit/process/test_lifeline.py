"""Programs that outlive their supervisor, and are found again."""

import os
import signal
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from modeldeploy.targets.process.lifeline import Command, Lifeline, describe_exit
from modeldeploy.targets.process.locks import hold, pid_in
from process_place import eventually

SLEEP = Command(["/bin/sleep", "30"], {})


@pytest.fixture
def started(tmp_path: Path) -> Iterator[Lifeline]:
    program = Lifeline(tmp_path / "program.lock")
    program.start(SLEEP, log=tmp_path / "log", cwd=tmp_path)
    yield program
    program.signal(signal.SIGKILL)
    eventually(lambda: not program.alive, "ended")
    program.end()


def test_nothing_lives_before_a_start(tmp_path: Path) -> None:
    program = Lifeline(tmp_path / "program.lock")
    assert not program.alive
    assert program.pid is None
    program.signal(signal.SIGTERM)


def test_a_successor_finds_the_program_and_can_end_it(started: Lifeline, tmp_path: Path) -> None:
    eventually(lambda: pid_in(tmp_path / "program.lock"), "told its id")
    successor = Lifeline(tmp_path / "program.lock")
    assert successor.alive
    assert successor.pid == started.pid
    successor.signal(signal.SIGTERM)
    eventually(lambda: not started.alive and not successor.alive, "ended")
    assert "earlier supervisor" in successor.end()


def test_the_id_in_the_lock_is_that_of_the_program_itself(started: Lifeline, tmp_path: Path) -> None:
    eventually(lambda: pid_in(tmp_path / "program.lock") == started.pid, "told its id")


def test_how_a_program_ended_is_told(tmp_path: Path) -> None:
    program = Lifeline(tmp_path / "program.lock")
    program.start(Command(["/bin/sh", "-c", "echo bye; exit 7"], {}), log=tmp_path / "log", cwd=tmp_path)
    eventually(lambda: not program.alive, "ended")
    assert program.end() == "exited with code 7"
    assert (tmp_path / "log").read_text() == "bye\n"


def test_a_program_that_is_not_there_ends_and_says_so_in_the_log(tmp_path: Path) -> None:
    program = Lifeline(tmp_path / "program.lock")
    program.start(Command(["/no/such/program"], {}), log=tmp_path / "log", cwd=tmp_path)
    eventually(lambda: not program.alive, "ended")
    assert program.end() == "exited with code 127"
    assert "/no/such/program" in (tmp_path / "log").read_text()


def test_what_a_killed_program_has_started_is_killed_too(tmp_path: Path) -> None:
    program = Lifeline(tmp_path / "program.lock")
    forks = "import os, time; os.fork(); print(os.getpid(), flush=True); time.sleep(30)"
    program.start(Command([sys.executable, "-S", "-c", forks], {}), log=tmp_path / "log", cwd=tmp_path)
    eventually(lambda: (tmp_path / "log").read_text().count("\n") == 2, "both started")
    assert program.pid
    os.kill(program.pid, signal.SIGKILL)
    eventually(lambda: not program.alive, "ended")
    assert program.end() == "was killed by SIGKILL"
    program.start(SLEEP, log=tmp_path / "log", cwd=tmp_path)  # the lock is free again
    program.signal(signal.SIGKILL)
    eventually(lambda: not program.alive, "ended")
    program.end()


def test_arguments_and_environment_arrive_as_they_are(tmp_path: Path) -> None:
    program = Lifeline(tmp_path / "pro gram ü.lock")
    script = 'printf "%s|" "$1" "$GREETING"; env'
    odd = "a b\"c$d'é"
    command = Command(["/bin/sh", "-c", script, "sh", odd], {"GREETING": odd})
    program.start(command, log=tmp_path / "log", cwd=tmp_path)
    eventually(lambda: not program.alive, "ended")
    program.end()
    text = (tmp_path / "log").read_text()
    assert text.startswith(f"{odd}|{odd}|")
    assert "HOME=" not in text


@pytest.mark.parametrize(
    ("code", "words"),
    [(0, "exited with code 0"), (-11, "was killed by SIGSEGV"), (-63, "was killed by signal 63")],
)
def test_exit_codes_are_put_in_words(code: int, words: str) -> None:
    assert describe_exit(code) == words


def test_a_lock_whose_name_went_while_waiting_is_taken_on_the_new_file(tmp_path: Path) -> None:
    path = tmp_path / "a.lock"
    first = hold(path)
    assert first is not None
    assert hold(path, wait=False) is None
    path.unlink()
    second = hold(path, wait=False)
    assert second is not None
    assert pid_in(path) == os.getpid()
    os.close(first)
    os.close(second)
    assert hold(tmp_path / "gone" / "a.lock") is None


def test_a_question_at_the_same_time_does_not_hinder_a_start(tmp_path: Path) -> None:
    other, program = Lifeline(tmp_path / "program.lock"), Lifeline(tmp_path / "program.lock")
    for _ in range(5):
        program.start(Command(["/bin/sh", "-c", ":"], {}), log=tmp_path / "log", cwd=tmp_path)
        deadline = time.monotonic() + 5
        while program.alive and time.monotonic() < deadline:
            assert other.alive in {True, False}
        program.end()
