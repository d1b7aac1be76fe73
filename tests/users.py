"""Users of an endpoint: threads that send requests all the time and remember what came back."""

import http.client
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from urllib.parse import urlsplit


@dataclass(frozen=True, slots=True)
class Answer:
    """``at`` and ``took`` in seconds (monotonic); ``failed`` names what went wrong, if anything did."""

    at: float
    took: float
    revision: str
    failed: str


@dataclass(slots=True)
class Users:
    """What all users saw, in no particular order."""

    answers: list[Answer] = field(default_factory=list)

    @property
    def failures(self) -> list[Answer]:
        return sorted((one for one in self.answers if one.failed), key=lambda one: one.at)

    @property
    def by_revision(self) -> Counter[str]:
        return Counter(one.revision for one in self.answers if not one.failed)

    def outage(self, since: float) -> float:
        """Seconds from a moment to the last failure after it; 0 if none failed."""
        return max(
            (one.at + one.took - since for one in self.failures if one.at + one.took >= since), default=0.0
        )

    def summary(self, since: float) -> str:
        kinds = Counter(one.failed for one in self.failures)
        return (
            f"{len(self.failures)} of {len(self.answers)} failed {dict(kinds)}, "
            f"the last {self.outage(since):.2f} s after; by revision {dict(self.by_revision)}"
        )


@contextmanager
def users(endpoint: str, *, keep_alive: int = 2, new: int = 1, path: str = "/") -> Iterator[Users]:
    """So many users with a connection each, and so many who open one for each request."""
    seen, stop = Users(), threading.Event()
    kinds = [True] * keep_alive + [False] * new
    threads = [threading.Thread(target=_use, args=(endpoint, path, kind, seen, stop)) for kind in kinds]
    for thread in threads:
        thread.start()
    try:
        yield seen
    finally:
        stop.set()
        for thread in threads:
            thread.join()


def _use(endpoint: str, path: str, keep: bool, seen: Users, stop: threading.Event) -> None:  # noqa: FBT001
    address = urlsplit(endpoint)
    connection = http.client.HTTPConnection(address.hostname or "", address.port, timeout=10)
    while not stop.is_set():
        began = time.monotonic()
        revision, failed = "", ""
        try:
            connection.request("POST", path, b"[1, 2]", {} if keep else {"connection": "close"})
            answer = connection.getresponse()
            answer.read()
            revision = answer.headers.get("x-model-version") or ""
            failed = "" if answer.status == 200 else str(answer.status)
        except (OSError, http.client.HTTPException) as error:
            failed = type(error).__name__
        seen.answers.append(Answer(began, time.monotonic() - began, revision, failed))
        if failed or not keep:
            connection.close()
        time.sleep(0.002 if not failed else 0.01)
    connection.close()
