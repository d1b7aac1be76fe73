"""The load generator: sends requests over raw sockets, as a program of its own with a small, known cost.

``python -I -S client.py JOB`` with a JSON file that says what to send and how. Prints JSON lines: progress
a few times a second, then the result; the latencies go to a file. Imports the standard library alone.

Closed loop: each connection sends its next request when the last one is answered. Open loop: requests are
due at a steady rate whatever the server does, and a latency begins when its request was due.
"""

from __future__ import annotations

import errno
import json
import os
import re
import select
import socket
import struct
import sys
import time
from array import array
from collections import Counter, deque
from pathlib import Path
from typing import Any, NamedTuple

TICKS = 100
"""Nanoseconds in one unit of a kept latency: 32 bits of them are seven minutes."""
_MOST = (1 << 32) - 1
_SLICE = 250_000_000
_LONGEST_WAIT = 100_000
"""Microseconds for which receiving waits where there is one connection."""
_LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)
_CHUNKED = re.compile(rb"\r\ntransfer-encoding: *chunked", re.IGNORECASE)


class Job(NamedTuple):
    """What to send, where, and how."""

    address: Any
    """Path of a unix socket, or a list of host and port."""
    requests: str
    """File with the requests, one after the other."""
    sizes: list[int]
    latencies: str
    """File to write them to, `TICKS` nanoseconds each, 32 bits."""
    connections: int
    seconds: float
    warm: float
    """Seconds before the measured ones."""
    rate: float | None = None
    """Requests a second that are due; None: closed loop."""
    timeout: float = 30.0


class Link:
    """One connection and its request in flight."""

    __slots__ = ("got", "sock", "want", "when")

    def __init__(self, sock: socket.socket) -> None:
        self.sock = sock
        self.got = b""
        self.want = 0
        self.when = 0
        """When the request in flight was sent (or due), in nanoseconds; 0: none is in flight."""


class Client:
    """All connections of one process."""

    def __init__(self, job: Job) -> None:
        self.job = job
        self.requests = _cut(Path(job.requests).read_bytes(), job.sizes)
        self.links: dict[int, Link] = {}
        self.free: list[Link] = []
        self.latencies = array("I")
        self.errors: Counter[str] = Counter()
        self.slices: list[int] = []
        self._view = memoryview(bytearray(1 << 18))  # `recv` would allocate as much for each answer
        self._next = 0
        self._lost = 0
        self._poller = select.epoll() if hasattr(select, "epoll") else select.poll()
        self._unit = 1.0 if hasattr(select, "epoll") else 1000.0
        self._interval = 1e9 / job.rate if job.rate else 0.0
        self._due: deque[int] = deque()
        self._alone = job.connections == 1 and not job.rate

    def run(self) -> dict[str, Any]:
        """Send for the job's time. Returns what was counted in the measured part of it."""
        for _ in range(self.job.connections):
            self._connect()
        self._drive(self.job.warm)
        self.latencies, self.slices = array("I"), []
        self.errors.clear()
        began, cpu, wait = time.perf_counter(), time.process_time(), _waited()
        self._drive(self.job.seconds)
        seconds = time.perf_counter() - began
        told = {"cpu": time.process_time() - cpu, "waited": _waited() - wait, "behind": self._behind()}
        with Path(self.job.latencies).open("wb") as file:
            self.latencies.tofile(file)
        return {"seconds": seconds, "slices": self.slices, "errors": dict(self.errors), **told}

    def _connect(self) -> None:
        try:
            sock = _open(self.job.address, self.job.timeout)
        except OSError as error:
            if error.errno in (errno.EMFILE, errno.ENFILE):
                raise  # it is ours, and no answer of the server's
            self.errors[f"no connection: {error.strerror or error}"] += 1
            self._lost += 1
            return
        link = self.links[sock.fileno()] = Link(sock)
        self._poller.register(sock.fileno(), select.POLLIN)
        self.free.append(link)

    def _drive(self, seconds: float) -> None:
        """Send and receive for so long. The loop that every request passes twice."""
        now = time.perf_counter_ns()
        over = now + int(seconds * 1e9)
        self._due.clear()
        first, sent, tick, before = now, 0, now + _SLICE, len(self.latencies)
        while now < over:
            if self._interval:
                while (due := first + int(sent * self._interval)) <= now:
                    self._due.append(due)
                    sent += 1
                while self._due and self.free:
                    self._send(self.free.pop(), self._due.popleft())
                pause = max(0, min(due, tick) - now)
            else:
                while self.free:
                    self._send(self.free.pop(), time.perf_counter_ns())
                pause = max(0, tick - now)
            for descriptor in self._ready(pause):
                self._receive(self.links[descriptor])
            now = time.perf_counter_ns()
            if now >= tick:
                self.slices.append(len(self.latencies) - before)
                before, tick = len(self.latencies), tick + _SLICE
                self._look_after(now)

    def _ready(self, nanoseconds: int) -> list[int]:
        """Descriptors with something to read, waiting at most so long for the first."""
        if not self.links:
            time.sleep(nanoseconds / 1e9)
            return []
        if self._alone:
            return list(self.links)  # receiving waits by itself: one system call less for each request
        if self._interval and hasattr(self._poller, "fileno"):
            # epoll counts in milliseconds, which is too coarse for requests that are due; select does not.
            select.select([self._poller], [], [], nanoseconds / 1e9)
            nanoseconds = 0
        return [descriptor for descriptor, _ in self._poller.poll(nanoseconds / 1e9 * self._unit)]

    def _send(self, link: Link, when: int) -> None:
        request = self.requests[self._next]
        self._next = (self._next + 1) % len(self.requests)
        link.when = when
        try:
            done = link.sock.send(request)
            if done != len(request):
                link.sock.sendall(request[done:])
        except OSError as error:
            self._lose(link, f"broken: {error.strerror or error}")

    def _receive(self, link: Link) -> None:
        try:
            part = self._view[: link.sock.recv_into(self._view)].tobytes()
        except BlockingIOError:
            return  # nothing came within `_LONGEST_WAIT`
        except OSError as error:
            self._lose(link, f"broken: {error.strerror or error}")
            return
        if not part:
            if link.when:
                self._lose(link, "the server closed the connection")
            else:
                self._renew(link)
            return
        link.got = got = link.got + part if link.got else part
        if not link.want:
            link.want = _whole(got)
        if not link.want or (len(got) < link.want if link.want > 0 else not got.endswith(b"0\r\n\r\n")):
            return
        if got[9:12] == b"200":
            self.latencies.append(min((time.perf_counter_ns() - link.when) // TICKS, _MOST))
        else:
            self.errors[f"status {got[9:12].decode('latin1')}"] += 1
        link.got, link.want, link.when = b"", 0, 0
        if got.find(b"onnection: close", 0, 1000) < 0:
            self.free.append(link)
        else:
            self._renew(link)

    def _renew(self, link: Link) -> None:
        """Another connection for one that the server ended in good order."""
        self._drop(link)
        self._connect()

    def _lose(self, link: Link, why: str) -> None:
        self.errors[why] += 1
        self._drop(link)
        self._lost += 1

    def _drop(self, link: Link) -> None:
        self._poller.unregister(link.sock.fileno())
        del self.links[link.sock.fileno()]
        if link in self.free:
            self.free.remove(link)
        link.sock.close()

    def _look_after(self, now: int) -> None:
        """Tell how it goes, give up what takes too long, and connect anew what was lost."""
        for link in list(self.links.values()):
            if link.when and now - link.when > self.job.timeout * 1e9:
                self._lose(link, f"no answer within {self.job.timeout:g} s")
        lost, self._lost = self._lost, 0
        for _ in range(lost):
            self._connect()
        _say({"answered": self.slices[-1], "errors": self.errors.total(), "seconds": _SLICE / 1e9})

    def _behind(self) -> int:
        """Requests of an open loop that were due and are not answered; their age so far counts."""
        if not self._interval:
            return 0
        now = time.perf_counter_ns()
        late = [*self._due, *(link.when for link in self.links.values() if link.when)]
        behind = [age for age in (now - when for when in late) if age > _SLICE]
        self.latencies.extend(min(age // TICKS, _MOST) for age in behind)
        return len(behind)


def _whole(got: bytes) -> int:
    """Length of the answer that begins so; 0 while its head is not whole, -1 for one in chunks."""
    end = got.find(b"\r\n\r\n")
    if end < 0:
        return 0
    at = got.find(b"\r\ncontent-length: ", 0, end)  # several times as quick as the expression
    if at > 0:
        return end + 4 + int(got[at + 18 : got.find(b"\r", at + 18, end + 2)])
    length = _LENGTH.search(got, 0, end + 2)
    if length:
        return end + 4 + int(length[1])
    return -1 if _CHUNKED.search(got, 0, end + 2) else end + 4


def _open(address: Any, timeout: float) -> socket.socket:
    family = socket.AF_UNIX if isinstance(address, str) else socket.AF_INET
    if family == socket.AF_INET:
        sock = socket.create_connection(tuple(address), timeout=timeout)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    else:
        sock = socket.socket(family, socket.SOCK_STREAM)
        sock.settimeout(timeout)
        sock.connect(address)
    sock.settimeout(None)  # a timeout of Python's costs one more system call for each of ours
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, struct.pack("ll", int(timeout) or 1, 0))
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, struct.pack("ll", 0, _LONGEST_WAIT))
    return sock


def _cut(content: bytes, sizes: list[int]) -> list[bytes]:
    parts, at = [], 0
    for size in sizes:
        parts.append(content[at : at + size])
        at += size
    return parts


def _waited() -> float:
    """Seconds for which this process wanted a processor and had none. 0 where the system does not tell."""
    try:
        return int(Path("/proc/self/schedstat").read_bytes().split()[1]) / 1e9
    except (OSError, ValueError, IndexError):
        return 0.0


def _say(told: dict[str, Any]) -> None:
    os.write(1, json.dumps(told).encode() + b"\n")


if __name__ == "__main__":
    _say({"result": Client(Job(**json.loads(Path(sys.argv[1]).read_bytes()))).run()})
