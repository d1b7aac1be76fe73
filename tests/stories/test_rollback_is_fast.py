"""The new version is bad in a way that no gate saw: one command, and nobody meets it any more."""

from __future__ import annotations

import http.client
import threading
import time
from typing import Self

import pytest

from story_project import Story

pytestmark = pytest.mark.story

TIMES = 5
GENEROUS = 5.0
"""Seconds. What it takes is printed, and measured in benchmarks; here it is only bounded."""


class Watcher:
    """Asks the endpoint all the time over a new connection each, and notes when which version answered."""

    def __init__(self, user: Story) -> None:
        self._port = user.port
        self._body = (user.folder / "samples.json").read_bytes()
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._watch)
        self.seen: list[tuple[float, float, str]] = []
        """When a request began, when its answer came (monotonic seconds), and who gave it."""

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._over.is_set():
            began = time.monotonic()
            version = ask(self._port, self._body)
            self.seen.append((began, time.monotonic(), version))

    def last_answer_of(self, version: str) -> float:
        return max(answered for _, answered, who in self.seen if who == version)

    def who_answered_requests_since(self, moment: float) -> set[str]:
        return {who for began, _, who in self.seen if began >= moment}


def ask(port: int, body: bytes) -> str:
    """Who answers a request on a new connection."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    try:
        connection.request("POST", "/predict", body, {"content-type": "application/json"})
        answer = connection.getresponse()
        answer.read()
        return answer.headers["x-model-version"]
    finally:
        connection.close()


def test_a_rollback_is_done_when_the_command_ends_and_takes_a_moment(user: Story) -> None:
    user.init()
    user.hurry(steps="[50]", soak="100ms", requests=10)
    user.deploy()
    user.second_model()
    user.build("build --bump minor")
    commands, users = [], []
    for _ in range(TIMES):
        with user.users(keep_alive=1, fresh=0):
            new = user.deploy()["revision"]
        with Watcher(user) as watcher:
            time.sleep(0.5)
            began = time.monotonic()
            back = user.ask("rollback local").result
            ended = time.monotonic()
            time.sleep(0.5)
        assert watcher.who_answered_requests_since(ended) == {back["revision"]}
        commands.append(ended - began)
        users.append(watcher.last_answer_of(new) - began)
    print(f"\nfrom the command's start to its end: {told(commands)}")
    print(f"from the command's start to the last answer of the new version: {told(users)}")
    assert max(commands) < GENEROUS


def told(seconds: list[float]) -> str:
    return ", ".join(f"{1000 * one:.0f} ms" for one in sorted(seconds))
