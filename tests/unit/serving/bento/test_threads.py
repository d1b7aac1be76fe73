"""Blocking methods in threads: as many as allowed, outcomes on the loop, nothing lost."""

from __future__ import annotations

import asyncio
import threading
import time

import pytest

from modeldeploy.serving.bento.threads import Threads


def test_no_more_run_at_once_than_allowed() -> None:
    running, most = 0, 0
    lock = threading.Lock()

    def work(number: int) -> int:
        nonlocal running, most
        with lock:
            running += 1
            most = max(most, running)
        time.sleep(0.002)
        with lock:
            running -= 1
        return number

    async def all_of_them() -> list[int]:
        threads = Threads(3)
        outcomes = await asyncio.gather(*(threads.run(work, number) for number in range(60)))
        threads.close()
        return outcomes

    assert asyncio.run(asyncio.wait_for(all_of_them(), 20)) == list(range(60))
    assert most == 3


def test_one_after_the_other_runs_in_one_thread() -> None:
    async def names() -> set[str]:
        threads = Threads(8)
        found = {await threads.run(lambda _: threading.current_thread().name, None) for _ in range(20)}
        threads.close()
        return found

    assert asyncio.run(names()) == {"service-0"}


@pytest.mark.parametrize("error", [ValueError("v"), SystemExit(3), StopIteration()])
def test_what_a_method_raises_comes_to_who_waits(error: BaseException) -> None:
    def fail(_: object) -> None:
        raise error

    async def ask() -> None:
        threads = Threads(1)
        try:
            await threads.run(fail, None)
        except BaseException as raised:  # noqa: BLE001  # whatever it is
            assert raised is error or "StopIteration" in str(raised)  # noqa: PT017  # of two kinds
        else:
            raise AssertionError("nothing was raised")
        finally:
            threads.close()

    asyncio.run(ask())


def test_many_outcomes_in_quick_succession_are_all_told() -> None:
    async def count() -> int:
        threads = Threads(4)
        told = await asyncio.gather(*(threads.run(lambda number: number, number) for number in range(3000)))
        threads.close()
        return sum(told)

    assert asyncio.run(asyncio.wait_for(count(), 30)) == sum(range(3000))
