"""Many who do the same at once, in threads and in processes, each on a registry opened anew."""

from __future__ import annotations

import json
import multiprocessing
import os
import signal
import threading
import time
import tracemalloc
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from functools import partial
from multiprocessing.connection import Connection
from multiprocessing.synchronize import Barrier
from typing import TypeVar

from modeldeploy.oci.descriptor import Descriptor
from modeldeploy.registry.base import Registry, Repository, TagMoved
from modeldeploy.testing.content import MANIFEST, Content, Notice, manifest_of

Open = Callable[[], Registry]
T = TypeVar("T")
_BASE = Content(64, seed=99)


def in_threads(count: int, act: Callable[[int], T]) -> list[T]:
    """What ``act`` returns for 0, 1, … when all begin together."""
    barrier = threading.Barrier(count, timeout=60)

    def one(number: int) -> T:
        barrier.wait()
        return act(number)

    with ThreadPoolExecutor(count) as pool:
        return list(pool.map(one, range(count)))


_start: Barrier | None = None


def _be_ready(barrier: Barrier) -> None:
    global _start  # noqa: PLW0603 - a process of the pool is told where to wait before it has any work
    _start = barrier


def _one_process(act: Callable[[int], T], number: int) -> T:
    if _start is None:
        raise RuntimeError("a process of the race was not told where to wait")
    _start.wait()
    return act(number)


def in_processes(count: int, act: Callable[[int], T]) -> list[T]:
    """The same in processes of their own; ``act`` has to be picklable."""
    spawn = multiprocessing.get_context("spawn")
    barrier = spawn.Barrier(count, timeout=120)
    pool = ProcessPoolExecutor(count, mp_context=spawn, initializer=_be_ready, initargs=(barrier,))
    with pool:
        waiting = [pool.submit(_one_process, act, number) for number in range(count)]
        return [each.result() for each in waiting]


def link(repository: Repository, **annotations: str) -> Descriptor:
    """Put a manifest that differs from all with other annotations, and say what it is called."""
    repository.push_blob(_BASE.blob(), moved=lambda _: None)
    content = manifest_of(_BASE.descriptor(), annotations=annotations)
    return repository.put_manifest(content, MANIFEST)


def create(open_: Open, name: str, number: int) -> str | None:
    """Create the tag ``first``; the digest it was given, None for whoever came too late."""
    repository = open_().repository(name)
    mine = link(repository, by=str(number))
    try:
        repository.set_tag("first", mine, was=None)
    except TagMoved:
        return None
    return mine.digest


def prepend(open_: Open, name: str, rounds: int, number: int) -> None:
    """So many times, make the tag ``head`` point to a manifest that names the one it pointed to."""
    repository = open_().repository(name)
    for round_ in range(rounds):
        _prepend(repository, by=f"{number}.{round_}")


def _prepend(repository: Repository, by: str) -> None:
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline:
        found = repository.tag("head")
        mine = link(repository, by=by, previous=found.digest if found else "")
        try:
            repository.set_tag("head", mine, was=found.digest if found else None)
        except TagMoved:
            continue
        return
    raise AssertionError(f"{by} did not get its turn within two minutes")


def push(open_: Open, name: str, content: Content, number: int) -> str:
    """Push the content; how it came there."""
    del number
    return open_().repository(name).push_blob(content.blob(), moved=lambda _: None).how


def _push_until(open_: Open, name: str, content: Content, notice: Notice) -> None:
    open_().repository(name).push_blob(content.blob(notice=notice), moved=lambda _: None)


def killed_at(open_: Open, name: str, content: Content, offset: int) -> None:
    """Push from a process that is killed, without a chance to tidy up, when it reads at that offset."""
    killed_when(partial(_push_until, open_, name, content), offset)


def killed_when(act: Callable[[Notice], None], offset: int) -> None:
    """Do it in a process that is killed when ``act`` tells of this offset or a later one. Picklable."""
    spawn = multiprocessing.get_context("spawn")
    mine, its = spawn.Pipe(duplex=False)
    process = spawn.Process(target=_act_until, args=(act, offset, its), daemon=True)
    process.start()
    its.close()
    try:
        if not mine.poll(120):
            raise AssertionError(f"it did not come to byte {offset}")
        mine.recv()
    finally:
        if process.pid:
            os.kill(process.pid, signal.SIGKILL)
        process.join()
        process.close()
        mine.close()


def _act_until(act: Callable[[Notice], None], offset: int, reached: Connection) -> None:
    def stop(position: int) -> None:
        if position >= offset:
            reached.send(position)
            time.sleep(300)

    act(stop)


def chain(repository: Repository, tag: str) -> Iterator[str]:
    """Who wrote the manifest that a tag points to, who the one that this one names, and so on."""
    found = repository.tag(tag)
    digest = found.digest if found else None
    while digest:
        told = json.loads(repository.manifest(digest))["annotations"]
        yield told["by"]
        digest = told["previous"]


def peak(open_: Open, name: str, content: Content, number: int) -> int:
    """Most bytes that Python held at once while the content was pushed and read back."""
    del number
    repository, wanted = open_().repository(name), content.descriptor()
    repository.push_blob(_BASE.blob(), moved=lambda _: None)  # loads what is loaded once
    with repository.open_blob(_BASE.descriptor()) as stream:
        stream.read()
    blob = content.blob()
    tracemalloc.start()
    repository.push_blob(blob, moved=lambda _: None)
    with repository.open_blob(wanted) as stream:
        while stream.read(1 << 16):
            pass
    return tracemalloc.get_traced_memory()[1]
