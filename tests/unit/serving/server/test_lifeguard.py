"""When a process that hangs is ended, and when it is left alone."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import time

from modeldeploy.serving.server.lifeguard import Lifeguard, patience

_PROGRAM = """
import asyncio, re, sys, time
from modeldeploy import serving
from modeldeploy.serving.server.lifeguard import Lifeguard

async def serve():
    loop = asyncio.get_running_loop()
    guard = Lifeguard(loop, lambda: False, still={still}, late=60, retire=print, budget={budget}, look=0.02)
    guard.start()
    await asyncio.sleep(0.1)
    print("begun", flush=True)
    {then}

asyncio.run(serve())
"""


def _run(then: str, *, still: float = 60.0, budget: float = 60.0) -> subprocess.CompletedProcess[str]:
    program = _PROGRAM.format(then=then, still=still, budget=budget)
    return subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=30, check=False
    )


def test_a_loop_that_stands_still_ends_the_process_and_a_traceback_says_where() -> None:
    ended = _run("time.sleep(25)", still=0.3)
    assert ended.returncode == 1
    assert "the event loop has been standing still" in ended.stderr
    assert "in serve" in ended.stderr


def test_code_that_keeps_the_interpreter_to_itself_ends_the_process() -> None:
    ended = _run('re.match(r"(a+)+$", "a" * 40 + "b")', budget=0.5)
    assert ended.returncode == -signal.SIGPROF
    assert "in serve" in ended.stderr


def test_a_loop_that_moves_is_left_alone() -> None:
    ended = _run("await asyncio.sleep(1); guard.stop()", still=0.3, budget=0.5)
    assert (ended.returncode, ended.stdout) == (0, "begun\n")


def test_a_process_that_was_frozen_is_left_alone() -> None:
    then = "await asyncio.sleep(1.5); guard.stop()"
    program = _PROGRAM.format(then=then, still=0.4, budget=0.5)
    process = subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "begun\n"
    os.kill(process.pid, signal.SIGSTOP)
    time.sleep(1.0)
    os.kill(process.pid, signal.SIGCONT)
    assert process.wait(20) == 0
    process.stdout.close()


def test_a_run_in_a_thread_that_never_returns_retires_the_process_once() -> None:
    retired: list[float] = []

    async def serve() -> None:
        loop = asyncio.get_running_loop()
        guard = Lifeguard(loop, lambda: True, 60, 0.1, lambda: retired.append(loop.time()), look=0.02)
        guard.start()
        await asyncio.sleep(0.25)
        guard.stop()

    asyncio.run(serve())
    assert len(retired) == 1


def test_a_run_that_is_late_and_returns_retires_nobody() -> None:
    retired: list[bool] = []
    looks = iter([True, True, False] * 100)

    async def serve() -> None:
        loop = asyncio.get_running_loop()
        guard = Lifeguard(loop, lambda: next(looks), 60, 0.1, lambda: retired.append(True), look=0.02)
        guard.start()
        await asyncio.sleep(0.4)
        guard.stop()

    asyncio.run(serve())
    assert not retired


def test_patience_is_as_long_as_a_request_may_take() -> None:
    assert patience(0.5) == 30
    assert patience(120) == 120
