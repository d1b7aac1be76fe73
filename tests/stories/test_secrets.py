"""A secret in `env` reaches the service and nothing else: no output, log, journal, bundle or process list."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from story_project import Story

pytestmark = pytest.mark.story

SECRET = "hunter2-correct-horse"
MAY_HOLD_IT = "spec.json"
"""What a supervisor starts a worker from again; only its owner may read it."""

SERVICE = f"""\
import os

import bentoml


@bentoml.service(name="digits")
class Digits:
    def __init__(self) -> None:
        if "CRASH" in os.environ:
            raise RuntimeError("cannot reach the feature store")

    @bentoml.api
    def predict(self, image: list[list[float]]) -> dict[str, bool]:
        return {{"has_it": os.environ["API_KEY"] == "{SECRET[::-1]}"[::-1]}}
"""


def test_a_secret_is_nowhere_to_be_seen(user: Story) -> None:
    user.init()
    user.hurry(steps="[50]", soak="500ms", requests=5)
    user.own_service("none")
    (user.folder / "service.py").write_text(SERVICE)
    user.file.write_text(user.file.read_text().replace("golden =", "# golden ="))  # it answers otherwise
    user.edit("env", f'{{ API_KEY = "{SECRET}" }}')
    said = list(what_a_user_sees(user))
    said += what_a_user_sees_of_a_bad_version(user)
    assert [text for text in said if SECRET in text] == []
    assert [command for command in user.processes().values() if SECRET in command] == []
    found = files_with_the_secret(user)
    assert found, "the supervisor knows it"
    assert {path.name for path in found} == {MAY_HOLD_IT}
    assert {stat.S_IMODE(path.stat().st_mode) for path in found} == {0o600}
    user.type("destroy local")
    assert files_with_the_secret(user) == []


def what_a_user_sees(user: Story) -> Iterator[str]:
    """The output of all commands, for people and for programs, in a rollout that succeeds."""
    for command in ("check", "build", "test"):
        yield user.type(command).text
    yield user.type("plan local", ends_with=8).text
    yield user.ask("deploy local").text
    asked = user.ask("predict local --input samples.json")
    assert asked.result["body"] == {"has_it": True}
    yield asked.text
    user.edit("env", f'{{ API_KEY = "{SECRET}", ROUND = "2" }}')
    with user.users():
        yield user.type("deploy local").text
    for command in ("status", "history", "logs", "resume", "doctor", "rollback", "plan"):
        for how in (user.type, user.ask):
            yield how(command, ends_with=None).text
    yield user.type("build --bump minor").text


def what_a_user_sees_of_a_bad_version(user: Story) -> Iterator[str]:
    """The output of commands that fail."""
    user.edit("env", f'{{ API_KEY = "{SECRET}", CRASH = "yes" }}')
    yield user.type("deploy local", ends_with=10).text
    yield user.type("test", ends_with=4).text
    for wrong in (f'{{ API_KEY = "{SECRET} }}', f'{{ API_KEY = ["{SECRET}"] }}', f'"{SECRET}"'):
        user.edit("env", wrong)
        for how in (user.type, user.ask):
            yield how("deploy local", ends_with=3).text


def files_with_the_secret(user: Story) -> list[Path]:
    """Files of the user's home that hold the secret: bundles, journals, audit, logs, tracebacks, Envoy's."""
    found = []
    for folder, _, names in os.walk(user.home):
        paths = [Path(folder, name) for name in names]
        found += [path for path in paths if path.is_file() and SECRET.encode() in path.read_bytes()]
    return found
