"""Wrong models and wrong project files: refused before anything happens, with the place and the remedy."""

from __future__ import annotations

import os
import pickle
from collections.abc import Callable
from pathlib import Path

import pytest

from story_project import Story

pytestmark = pytest.mark.story

CONFIG, BUNDLE, PREFLIGHT = 3, 4, 5


def nothing(model: Path) -> None:
    model.write_bytes(b"")


def half_of_it(model: Path) -> None:
    content = model.read_bytes()
    model.write_bytes(content[: len(content) // 2])


def its_first_bytes(model: Path) -> None:
    model.write_bytes(model.read_bytes()[:20])


def damaged(model: Path) -> None:
    content = bytearray(model.read_bytes())
    content[1000:2000] = b"\xff" * 1000
    model.write_bytes(content)


def an_archive(model: Path) -> None:
    model.write_bytes((model.parent / "golden.npz").read_bytes())


def a_text(model: Path) -> None:
    model.write_text("hello\n")


class Trap:
    """What runs code when somebody unpickles it."""

    def __reduce__(self) -> tuple[Callable[[str], None], tuple[str]]:
        return os.mkdir, ("sprung",)


def a_pickle(model: Path) -> None:
    model.write_bytes(pickle.dumps(Trap()))


@pytest.mark.parametrize(
    ("spoil", "told"),
    [
        (nothing, "empty"),
        (half_of_it, "breaks off"),
        (its_first_bytes, "no graph"),
        (damaged, "model.onnx"),
        (an_archive, "NumPy arrays"),
        (a_text, "no ONNX model"),
        (a_pickle, "pickle"),
    ],
)
def test_a_file_that_is_no_whole_model(user: Story, spoil: Callable[[Path], None], told: str) -> None:
    user.init()
    spoil(user.folder / "model.onnx")
    checked = user.type("check", ends_with=PREFLIGHT)
    assert "modeldeploy.toml:8" in checked.out
    for command in ("build", "deploy local"):
        refused = user.ask(command, ends_with=BUNDLE).error
        assert told in refused["message"]
        assert refused["hint"]
    assert nothing_was_made(user)
    assert not (user.folder / "sprung").exists()


def test_a_model_that_is_not_there_and_one_with_another_name_beside_it(user: Story) -> None:
    user.init()
    (user.folder / "model.onnx").rename(user.folder / "modell.onnx")
    for command in ("check", "build", "deploy local"):
        refused = user.ask(command, ends_with=CONFIG).error
        assert "modeldeploy.toml:8: model.path" in refused["message"]
        assert "did you mean 'modell.onnx'?" in refused["message"]
    assert nothing_was_made(user)


def test_a_model_under_another_extension_is_known_by_its_content(user: Story) -> None:
    user.init()
    (user.folder / "model.onnx").rename(user.folder / "model.bin")
    user.edit("path", '"model.bin"')
    assert "onnx" in user.type("check").out


@pytest.mark.parametrize(
    ("right", "wrong", "told"),
    [
        ('name = "digits"', 'name = "digits', ["modeldeploy.toml:4:", "not valid TOML"]),
        ("strategy =", "stratgy =", ["stratgy", "did you mean 'strategy'?"]),
        ("[targets.local.rollout]", "[targets.local.rolout]", ["rolout", "did you mean 'rollout'?"]),
        ("steps = [5, 25, 50]", "steps = [5, 50, 25]", ["rollout.steps", "25 comes after 50"]),
        ("steps = [5, 25, 50]", "steps = [5, 101]", ["rollout.steps", "101", "add up to 100"]),
        ("error_rate = 0.01", "error_rate = 1.5", ["gates.error_rate", "from 0 to 1"]),
        ('soak = "10s"', "soak = 10", ["rollout.soak", '"10s"']),
        ('driver = "process"', 'driver = "proces"', ["driver", "did you mean 'process'?"]),
        ("replicas = 1", "replicas = 0", ["replicas"]),
        ('version = "1.0.0"', 'version = "1.0.0 final"', ["project.version"]),
    ],
)
def test_a_mistake_in_the_project_file(user: Story, right: str, wrong: str, told: list[str]) -> None:
    user.init()
    text = user.file.read_text()
    assert right in text
    user.file.write_text(text.replace(right, wrong))
    line = 1 + text[: text.index(right)].count("\n")
    for command in ("check", "build", "plan local", "deploy local"):
        refused = user.ask(command, ends_with=CONFIG).error["message"]
        assert f"modeldeploy.toml:{line}" in refused
        assert all(part in refused for part in told), refused
    assert nothing_was_made(user)


def test_all_mistakes_are_told_at_once(user: Story) -> None:
    user.init()
    user.edit("strategy", '"canari"')
    user.edit("port", "80800")
    user.edit("error_rate", "2")
    refused = user.ask("check", ends_with=CONFIG).error
    keys = {problem["key"].rpartition(".")[2] for problem in refused["details"]["problems"]}
    assert keys == {"strategy", "port", "error_rate"}


def test_a_version_that_exists_with_other_content_says_what_differs(user: Story) -> None:
    user.init()
    first = user.build()
    user.second_model()
    refused = user.ask("build", ends_with=BUNDLE).error
    assert "digits:1.0.0 exists with other content" in refused["message"]
    assert "model.onnx changed" in refused["message"]
    assert "golden.npz changed" in refused["message"]
    assert "mdeploy build --bump" in refused["hint"]
    assert user.ask("deploy local", ends_with=BUNDLE).error["message"] == refused["message"]
    assert Path(first["path"]).is_dir()
    assert user.build("build --bump patch")["ref"] == "digits:1.0.1"


def test_commands_of_a_bad_night_work_with_a_mistake_elsewhere_in_the_project_file(user: Story) -> None:
    user.init()
    user.hurry()
    user.deploy()
    user.edit("strategy", '"canari"')
    assert user.weights() == {"1.0.0": 100}
    for command in ("history local", "logs local", "predict local --input samples.json", "resume local"):
        user.ask(command)
    user.ask("deploy local", ends_with=CONFIG)
    user.ask("destroy local")


def nothing_was_made(user: Story) -> bool:
    """No bundle is stored, and nothing runs."""
    return not list((user.home / "bundles").glob("sha256-*")) and not user.processes()
