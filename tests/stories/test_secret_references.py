"""Secrets that the project file only refers to: the service has them, and nothing else does."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from story_project import Story

pytestmark = pytest.mark.story

SECRETS = {"TOKEN": "hunter2-of-the-shell", "FILE": "hunter2-of-a-file", "FILLED": "hunter2-filled-in"}
CHANGED = "hunter2-of-the-next-day"
MAY_HOLD_THEM = "spec.json"

SERVICE = f"""\
import os

import bentoml


@bentoml.service(name="digits")
class Digits:
    @bentoml.api
    def predict(self, image: list[list[float]]) -> dict[str, str]:
        return {{name: os.environ[name][::-1] for name in {sorted(SECRETS)}}}
"""


def test_a_reference_is_all_that_is_ever_seen(user: Story) -> None:
    prepare(user)
    said = list(what_a_user_sees(user))
    assert [text for text in said if "hunter2" in text] == []
    assert [command for command in user.processes().values() if "hunter2" in command] == []
    found = files_with_a_secret(user)
    assert {path.name for path in found} == {MAY_HOLD_THEM}
    assert {stat.S_IMODE(path.stat().st_mode) for path in found} == {0o600}
    user.type("destroy local")
    assert files_with_a_secret(user) == []


def prepare(user: Story) -> None:
    user.init()
    user.hurry(steps="[50]", soak="500ms", requests=5)
    user.own_service("none")
    (user.folder / "service.py").write_text(SERVICE)
    user.file.write_text(user.file.read_text().replace("golden =", "# golden ="))  # it answers otherwise
    outside = user.folder.parent / "secret of the team"
    outside.write_text(SECRETS["FILE"] + "\n")
    outside.chmod(0o600)
    user.edit(
        "env",
        f'{{ TOKEN = "secret:env:STORY_TOKEN", FILE = "secret:file:../{outside.name}", '
        'FILLED = "${STORY_FILLED}" }',
    )
    with user.file.open("a") as file:
        file.write('\n[registry]\nurl = "../registry"\n')
    user.environment |= {"STORY_TOKEN": SECRETS["TOKEN"], "STORY_FILLED": SECRETS["FILLED"]}


def what_a_user_sees(user: Story) -> Iterator[str]:
    """The output of commands, for people and for programs, that succeed and that fail."""
    yield user.type("check").text
    yield user.ask("deploy local").text
    asked = user.ask("predict local --input samples.json")
    assert asked.result["body"] == {name: value[::-1] for name, value in SECRETS.items()}
    yield asked.text
    for command in ("push", "inspect", "bundles", "status", "history", "audit", "plan local", "rollback"):
        for how in (user.type, user.ask):
            yield how(command, ends_with=None).text
    # A secret that has changed is another configuration, and is rolled out as one.
    user.environment["STORY_TOKEN"] = CHANGED
    yield user.type("plan local", ends_with=8).text
    with user.users():
        yield user.type("deploy local").text
    del user.environment["STORY_TOKEN"]
    for how in (user.type, user.ask):
        missing = how("deploy local", ends_with=3)
        assert "secret:env:STORY_TOKEN" in missing.text
        yield missing.text
    for quick in ("status", "logs"):
        yield user.type(quick).text


def files_with_a_secret(user: Story) -> list[Path]:
    """Files of the user's home and of the registry that hold one of the secrets."""
    found = []
    for place in (user.home, user.folder.parent / "registry", user.folder):
        for folder, _, names in os.walk(place):
            paths = [Path(folder, name) for name in names]
            found += [path for path in paths if path.is_file() and b"hunter2" in path.read_bytes()]
    return found
