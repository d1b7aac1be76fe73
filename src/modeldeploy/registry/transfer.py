"""Several transfers at once: told as they go, stopped together by the first error or by Ctrl-C."""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import BinaryIO, Generic, Self, TypeVar

from modeldeploy.events import Emit, Event
from modeldeploy.oci.descriptor import Blob
from modeldeploy.registry.base import Moved

THREADS = 4
TICK = 0.25
"""Seconds between two events of one transfer: with four threads about ten events a second."""
_JOINING = 5.0
"""Seconds that the other threads have to notice that they are to stop."""
_WINDOW = 3.0
"""Seconds over which a rate is taken."""

T = TypeVar("T")


class Stopped(Exception):
    """Another transfer has failed, or the user wants no more: this one ends."""


@dataclass(frozen=True, slots=True)
class Job(Generic[T]):
    """One transfer. ``work`` gets a function to tell of bytes, and a `Stop` to look at."""

    name: str
    """For people: a layer's name."""
    total: int
    """Bytes, if all of it must be moved."""
    work: Callable[[Moved, Stop], T]
    describe: Callable[[T], str] = field(default=lambda _: "moved")
    """How it came there, in one word: ``sent``, ``present``, ``mounted``, ``received``."""


class Stop:
    """Says whether transfers are to go on."""

    def __init__(self) -> None:
        self._event = threading.Event()

    def set(self) -> None:
        """Let all transfers end."""
        self._event.set()

    def check(self) -> None:
        """Raises `Stopped` if they are to."""
        if self._event.is_set():
            raise Stopped

    def guarding(self, blob: Blob) -> Blob:
        """The same blob, which cannot be read any more once transfers are to end."""

        def opened(start: int) -> BinaryIO:
            self.check()
            return self.watching(blob.open(start))

        return Blob(blob.descriptor, opened, blob.sources)

    def watching(self, stream: BinaryIO) -> BinaryIO:
        """The same stream, which cannot be read any more once transfers are to end."""
        return _Watched(stream, self)  # type: ignore[return-value]  # all of it that transfers use


class _Watched:
    """Passes everything on; looks at the `Stop` before each read."""

    def __init__(self, stream: BinaryIO, stop: Stop) -> None:
        self._stream, self._stop = stream, stop

    def read(self, size: int = -1) -> bytes:
        self._stop.check()
        return self._stream.read(size)

    def readinto(self, buffer: bytearray | memoryview) -> int | None:
        self._stop.check()
        return self._stream.readinto(buffer)  # type: ignore[attr-defined,no-any-return]  # where it has it

    def __getattr__(self, name: str) -> object:
        return getattr(self._stream, name)

    def __iter__(self) -> Iterator[bytes]:
        self._stop.check()
        return iter(self._stream)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._stream.close()


class _Progress:
    """What is known of one transfer. Written by its thread, read by the main one."""

    def __init__(self, number: int, job: Job[T]) -> None:
        self.id = str(number)
        self.name, self.total = job.name, job.total
        self.state = ""
        self.how = ""
        self.moved_bytes = 0
        self._told = (-1, "")
        self._seen: list[tuple[float, int]] = []
        self._lock = threading.Lock()

    def moved(self, count: int) -> None:
        with self._lock:
            self.moved_bytes += count

    def event(self, direction: str) -> Event | None:
        """What to tell; None where nothing has changed since."""
        done, state = self.moved_bytes, self.state
        if not state or self._told == (done, state):
            return None
        self._told = (done, state)
        now = time.monotonic()
        self._seen = [(at, count) for at, count in self._seen if now - at < _WINDOW] + [(now, done)]
        first_at, first = self._seen[0]
        rate = (done - first) / (now - first_at) if now - first_at > TICK / 2 else 0.0
        data = {
            "id": self.id,
            "name": self.name,
            "direction": direction,
            "state": state,
            "how": self.how,
            "done": self.total if state == "done" else done,
            "total": self.total,
            "moved": done,
            "rate": round(max(rate, 0.0)),
        }
        return Event("transfer", time.time(), f"{self.name}: {self.how or state}", data)


def transfer(jobs: Sequence[Job[T]], *, emit: Emit, direction: str) -> list[T]:
    """Do all jobs, four at a time; what each returned, in their order.

    ``direction`` is ``up`` or ``down``. Emits from the calling thread only. The first exception of a job
    stops the others and is raised; so is a KeyboardInterrupt of the caller.
    """
    told = [_Progress(number, job) for number, job in enumerate(jobs)]
    running = _Running(jobs, told)
    with running.threads():
        while not running.over():
            running.wait(TICK)
            _tell(told, emit, direction)
        _tell(told, emit, direction)
    return running.results()


def _tell(told: Sequence[_Progress], emit: Emit, direction: str) -> None:
    for progress in told:
        event = progress.event(direction)
        if event:
            emit(event)


class _Running(Generic[T]):
    def __init__(self, jobs: Sequence[Job[T]], told: Sequence[_Progress]) -> None:
        self._jobs, self._told = jobs, told
        self._waiting: queue.SimpleQueue[int] = queue.SimpleQueue()
        for number in sorted(range(len(jobs)), key=lambda number: -jobs[number].total):
            self._waiting.put(number)  # the largest first: the last thread to end has a small one
        self._results: dict[int, T] = {}
        self._failure: BaseException | None = None
        self._stop = Stop()
        self._news = threading.Event()
        self._lock = threading.Lock()

    @contextmanager
    def threads(self) -> Iterator[None]:
        """While the context lasts, threads work; at its end they are stopped."""
        # Daemons: one that hangs in a system call does not keep the process from ending.
        count = min(THREADS, len(self._jobs))
        threads = [threading.Thread(target=self._work, daemon=True) for _ in range(count)]
        for thread in threads:
            thread.start()
        try:
            yield
        finally:
            self._stop.set()
            deadline = time.monotonic() + _JOINING
            for thread in threads:
                thread.join(max(0.0, deadline - time.monotonic()))

    def over(self) -> bool:
        """True when all is done, or one has failed."""
        return self._failure is not None or len(self._results) == len(self._jobs)

    def wait(self, seconds: float) -> None:
        """Wait until it is time to tell again, or until it is over."""
        if not self._news.wait(seconds) or not self.over():
            self._news.clear()

    def results(self) -> list[T]:
        """What each job returned. Raises what the first one that failed has raised."""
        if self._failure is not None:
            raise self._failure
        return [self._results[number] for number in range(len(self._jobs))]

    def _work(self) -> None:
        while True:
            try:
                number = self._waiting.get_nowait()
                self._stop.check()
            except (queue.Empty, Stopped):
                return
            self._one(number)

    def _one(self, number: int) -> None:
        job, progress = self._jobs[number], self._told[number]
        progress.state = "running"
        try:
            result = job.work(progress.moved, self._stop)
        except Stopped:
            progress.state = "stopped"
        except BaseException as error:  # noqa: BLE001  # it is raised in the calling thread
            progress.state = "failed"
            with self._lock:
                self._failure = self._failure or error
            self._stop.set()
        else:
            progress.how, progress.state = job.describe(result), "done"
            with self._lock:
                self._results[number] = result
        if self.over():
            self._news.set()
