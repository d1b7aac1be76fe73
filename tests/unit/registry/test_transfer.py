"""Several transfers at once: in parallel, told with measure, stopped together."""

from __future__ import annotations

import io
import threading
import time
from typing import BinaryIO, cast

import pytest

from modeldeploy.errors import RegistryUnavailable
from modeldeploy.events import Event
from modeldeploy.oci.descriptor import Blob, Descriptor
from modeldeploy.registry.base import Moved
from modeldeploy.registry.transfer import THREADS, Job, Stop, Stopped, transfer


def nothing(event: Event) -> None:
    del event


def job(name: str, seconds: float = 0.0, total: int = 100) -> Job[str]:
    def work(moved: Moved, stop: Stop) -> str:
        for _ in range(10):
            stop.check()
            time.sleep(seconds / 10)
            moved(total // 10)
        return name

    return Job(name, total, work, lambda _: "sent")


def test_results_come_in_the_order_of_the_jobs() -> None:
    names = [str(number) for number in range(20)]
    assert transfer([job(name, 0.01) for name in names], emit=nothing, direction="up") == names


def test_nothing_to_do_is_done_at_once() -> None:
    assert transfer([], emit=nothing, direction="up") == []


def test_several_run_at_once() -> None:
    barrier = threading.Barrier(THREADS, timeout=10)

    def meet(moved: Moved, stop: Stop) -> int:
        del moved, stop
        return barrier.wait()

    met = transfer([Job("x", 1, meet) for _ in range(THREADS)], emit=nothing, direction="up")
    assert sorted(met) == list(range(THREADS))


def test_progress_is_told_with_measure_and_ends_with_what_came_of_it() -> None:
    told: list[Event] = []
    began = time.monotonic()
    transfer([job(str(number), 1.0, total=1000) for number in range(4)], emit=told.append, direction="down")
    seconds = time.monotonic() - began
    assert {event.kind for event in told} == {"transfer"}
    assert len(told) <= 4 * (seconds / 0.25 + 2)
    first = [event.data for event in told if event.data["id"] == "0"]
    done = [cast("int", data["done"]) for data in first]
    assert done == sorted(done)
    assert first[-1]["state"] == "done"
    assert (first[-1]["how"], first[-1]["done"], first[-1]["moved"]) == ("sent", 1000, 1000)
    assert any(cast("int", data["rate"]) > 100 for data in first)
    assert {data["direction"] for data in first} == {"down"}


def test_the_first_error_stops_the_others_and_is_raised() -> None:
    def fail(moved: Moved, stop: Stop) -> str:
        del moved, stop
        time.sleep(0.1)
        raise RegistryUnavailable("the registry did not answer")

    told: list[Event] = []
    jobs = [
        job("slow", 60),
        Job("bad", 1000, fail),
        job("slow too", 10),
        *(job(f"waits {n}", 60) for n in range(9)),
    ]
    began = time.monotonic()
    with pytest.raises(RegistryUnavailable, match="did not answer"):
        transfer(jobs, emit=told.append, direction="up")
    assert time.monotonic() - began < 20
    assert "failed" in {event.data["state"] for event in told if event.data["name"] == "bad"}
    begun = {str(event.data["name"]) for event in told}
    assert begun == {"bad", "slow", "slow too", "waits 0"}  # as many as there are threads


def test_ctrl_c_stops_all() -> None:
    running = threading.Event()

    def endless(moved: Moved, stop: Stop) -> str:
        running.set()
        while True:
            stop.check()
            moved(1)
            time.sleep(0.01)

    def interrupt(event: Event) -> None:
        del event
        if running.is_set():
            raise KeyboardInterrupt

    before = threading.active_count()
    with pytest.raises(KeyboardInterrupt):
        transfer([Job(str(number), 1, endless) for number in range(4)], emit=interrupt, direction="up")
    assert threading.active_count() == before


def test_a_blob_cannot_be_read_once_all_is_to_end() -> None:
    content = bytes(1000)
    blob = Blob(Descriptor.of(content, ""), lambda start: io.BytesIO(content[start:]))
    stop = Stop()
    watched = stop.guarding(blob)
    with watched.open(10) as stream:
        assert len(stream.read(100)) == 100
        buffer = bytearray(5)
        assert cast("io.BytesIO", stream).readinto(buffer) == 5
        stop.set()
        for act in (lambda: stream.read(1), lambda: cast("io.BytesIO", stream).readinto(buffer)):
            with pytest.raises(Stopped):
                act()

    def again() -> BinaryIO:
        return watched.open(0)

    with pytest.raises(Stopped):
        again()
