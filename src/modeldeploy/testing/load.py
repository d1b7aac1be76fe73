"""Users, for tests and demonstrations: a steady load that counts every request that was not answered.

A child process sends requests over connections that stay open and over new ones, side by side, until it
is told to stop; so the process that deploys meanwhile is not slowed down by it. As a program::

    python -m modeldeploy.testing.load http://127.0.0.1:8080 samples.json --seconds 10
"""

from __future__ import annotations

import argparse
import http.client
import json
import subprocess
import sys
import threading
import time
from collections import Counter
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Self
from urllib.parse import urlsplit

TIMEOUT = 30.0
"""Seconds after which a request counts as lost."""


@dataclass(slots=True)
class Report:
    """What became of the requests. Every one that was sent is ``ok`` or in ``failures``."""

    sent: int = 0
    ok: int = 0
    failures: dict[str, int] = field(default_factory=dict)
    """What users saw instead of a good answer, e.g. ``ConnectionRefusedError``, or ``status 500 from
    1.1.0-77aa01c2`` with the ``x-model-version`` of who gave it."""
    first_failures: list[tuple[float, str]] = field(default_factory=list)
    """Unix seconds and what was seen, for the first twenty."""
    last_failure: float | None = None
    """Unix seconds."""
    versions: dict[str, int] = field(default_factory=dict)
    """Answers by their ``x-model-version``."""
    latencies: dict[str, float] = field(default_factory=dict)
    """Seconds: ``p50``, ``p95``, ``p99``, ``max``."""
    seconds: float = 0.0

    @property
    def failed(self) -> int:
        """How many requests were not answered with 200."""
        return self.sent - self.ok


class Load:
    """A load on an endpoint while the context lasts; ``report`` afterwards says what became of it."""

    def __init__(
        self, endpoint: str, body: bytes, *, keep_alive: int = 4, fresh: int = 2, pause: float = 0.0
    ) -> None:
        self._command = [
            *(sys.executable, "-m", "modeldeploy.testing.load", endpoint, "-"),
            *("--keep-alive", str(keep_alive), "--fresh", str(fresh), "--pause", str(pause)),
        ]
        self._body = body
        self.report = Report()

    def __enter__(self) -> Self:
        self._child = subprocess.Popen(self._command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        assert self._child.stdin is not None  # noqa: S101 - for the type checker: it is a pipe
        self._child.stdin.write(self._body.replace(b"\n", b" ") + b"\n")
        self._child.stdin.flush()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def stop(self) -> Report:
        """End the load and read what became of it. Stopping twice is harmless."""
        if self._child.returncode is None:
            output, _ = self._child.communicate()  # closing its input tells it to stop
            self.report = Report(**json.loads(output))
        return self.report


class _Users:
    """Threads that send requests, and what they saw."""

    def __init__(self, endpoint: str, body: bytes, pause: float) -> None:
        parts = urlsplit(endpoint)
        self._host, self._port = parts.hostname or "127.0.0.1", parts.port or 80
        self._body = body
        self._pause = pause
        self._over = threading.Event()
        self._mutex = threading.Lock()
        self._latencies: list[float] = []
        self._failures: Counter[str] = Counter()
        self._versions: Counter[str] = Counter()
        self._report = Report()

    def run(self, *, keep_alive: int, fresh: int, until: threading.Event, seconds: float) -> Report:
        began = time.monotonic()
        threads = [
            threading.Thread(target=self._user, args=(i < keep_alive,), daemon=True)
            for i in range(keep_alive + fresh)
        ]
        for thread in threads:
            thread.start()
        with suppress(KeyboardInterrupt):
            until.wait(seconds)
        self._over.set()
        for thread in threads:
            thread.join()
        return self._finish(time.monotonic() - began)

    def _user(self, keep_alive: bool) -> None:  # noqa: FBT001 - private
        connection = self._connect()
        while not self._over.is_set():
            began = time.monotonic()
            seen, version = self._ask(connection, keep_alive)
            self._note(seen, version, time.monotonic() - began)
            if seen or not keep_alive:
                connection.close()
                connection = self._connect()
            if self._pause:
                self._over.wait(self._pause)
        connection.close()

    def _ask(self, connection: http.client.HTTPConnection, keep_alive: bool) -> tuple[str, str]:  # noqa: FBT001
        headers = {"content-type": "application/json"} | ({} if keep_alive else {"connection": "close"})
        try:
            connection.request("POST", "/predict", self._body, headers)
            answer = connection.getresponse()
            answer.read()
        except (OSError, http.client.HTTPException) as error:
            return type(error).__name__, "nobody"
        version = answer.headers.get("x-model-version") or "nobody"
        return "" if answer.status == 200 else f"status {answer.status} from {version}", version

    def _note(self, seen: str, version: str, seconds: float) -> None:
        with self._mutex:
            report = self._report
            report.sent += 1
            report.ok += not seen
            self._latencies.append(seconds)
            self._versions[version] += 1
            if seen:
                self._failures[seen] += 1
                report.last_failure = time.time()
                if len(report.first_failures) < 20:
                    report.first_failures.append((report.last_failure, seen))

    def _finish(self, seconds: float) -> Report:
        report, ranked = self._report, sorted(self._latencies)
        report.seconds = round(seconds, 3)
        report.failures, report.versions = dict(self._failures), dict(self._versions)
        if ranked:
            at = {"p50": 0.50, "p95": 0.95, "p99": 0.99, "max": 1.0}
            report.latencies = {
                name: ranked[min(len(ranked) - 1, int(q * len(ranked)))] for name, q in at.items()
            }
        return report

    def _connect(self) -> http.client.HTTPConnection:
        return http.client.HTTPConnection(self._host, self._port, timeout=TIMEOUT)


def main() -> None:
    """Send requests until standard input closes or the time is over; then print the report as JSON."""
    parser = argparse.ArgumentParser(description="A steady load that counts what was not answered.")
    parser.add_argument("endpoint")
    parser.add_argument("body", help="file with the request's body; -: the first line of standard input")
    parser.add_argument("--keep-alive", type=int, default=4, help="users who keep their connection open")
    parser.add_argument("--fresh", type=int, default=2, help="users who open a new one for each request")
    parser.add_argument("--pause", type=float, default=0.0, help="seconds between a user's requests")
    parser.add_argument("--seconds", type=float, default=3600.0, help="stop after this time at the latest")
    given = parser.parse_args()
    over = threading.Event()
    body = sys.stdin.buffer.readline() if given.body == "-" else Path(given.body).read_bytes()
    if given.body == "-":
        threading.Thread(target=_wait_for_the_end_of_input, args=(over,), daemon=True).start()
    users = _Users(given.endpoint, body, given.pause)
    report = users.run(keep_alive=given.keep_alive, fresh=given.fresh, until=over, seconds=given.seconds)
    print(json.dumps(asdict(report)))  # noqa: T201 - a program's result


def _wait_for_the_end_of_input(over: threading.Event) -> None:
    sys.stdin.buffer.read()
    over.set()


if __name__ == "__main__":
    main()
