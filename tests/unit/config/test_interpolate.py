"""Variables of the environment in the values of a project file."""

from collections.abc import Callable
from pathlib import Path

import pytest

from config_place import GOOD
from modeldeploy.config.interpolate import Expanded
from modeldeploy.config.load import load
from modeldeploy.config.peek import peek, peek_registry
from modeldeploy.errors import ConfigError

Write = Callable[[str], Path]


@pytest.fixture(autouse=True)
def variables(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TEAM", "red")
    monkeypatch.setenv("EMPTY", "")
    monkeypatch.setenv("TRICKY", "${TEAM} $${TEAM}")
    monkeypatch.delenv("UNSET", raising=False)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("plain", "plain"),
        ("${TEAM}", "red"),
        ("a-${TEAM}-${TEAM}", "a-red-red"),
        ("${UNSET:-blue}", "blue"),
        ("${EMPTY:-blue}", "blue"),
        ("${EMPTY}", ""),
        ("${UNSET:-}", ""),
        ("${TEAM:-blue}", "red"),
        ("${UNSET:-http://x:1/y}", "http://x:1/y"),
        ("$${TEAM}", "${TEAM}"),
        ("$$TEAM $ $TEAM {TEAM}", "$$TEAM $ $TEAM {TEAM}"),
        # What a variable holds is text, and no more variables.
        ("${TRICKY}", "${TEAM} $${TEAM}"),
    ],
)
def test_variables_are_filled_in(text: str, expected: str) -> None:
    expanded = Expanded()
    assert expanded.expand({"a": [text]}) == {"a": [expected]}
    assert expanded.faults == []


def test_keys_and_other_values_are_left_alone() -> None:
    value = {"${TEAM}": 5, "x": True, "y": [1.5]}
    assert Expanded().expand(value) == value


def test_an_unset_variable_is_told_with_line_and_command(write: Write) -> None:
    with pytest.raises(ConfigError) as caught:
        load(write(GOOD + 'host = "${UNSET}"\nenv = { A = "${ALSO_UNSET}" }\n'))
    assert caught.value.message.splitlines() == [
        "modeldeploy.toml has 2 problems:",
        "  modeldeploy.toml:11: targets.local.host: the environment variable UNSET is not set",
        "  modeldeploy.toml:12: targets.local.env.A: the environment variable ALSO_UNSET is not set",
    ]
    assert caught.value.hint == "export ALSO_UNSET=... UNSET=..."


@pytest.mark.parametrize("text", ["${", "${}", "${1A}", "${A B}", "${TEAM", "${TEAM:x}", "${TEAM-x}"])
def test_what_is_no_variable_is_told(write: Write, text: str) -> None:
    with pytest.raises(ConfigError, match="'\\$\\{' begins no variable") as caught:
        load(write(GOOD + f'env = {{ A = "{text}" }}\n'))
    assert caught.value.hint == "write ${NAME} for a variable, and $${ for the characters themselves"


def test_quick_commands_need_only_the_variables_of_what_they_read(write: Write) -> None:
    folder = write(
        GOOD + 'envoy = "${TEAM}"\nenv = { A = "${UNSET}" }\n[registry]\nurl = "s3://team-${TEAM}"\n'
    )
    assert peek(folder).options == {"port": 8080, "envoy": "red"}
    assert peek_registry(folder).url == "s3://team-red"
    with pytest.raises(ConfigError, match="UNSET is not set"):
        load(folder)
    with pytest.raises(
        ConfigError, match=r"modeldeploy\.toml:11: targets\.local\.envoy: the environment variable UNSET"
    ) as caught:
        peek(write(GOOD + 'envoy = "${UNSET}"\n'))
    assert caught.value.hint == "export UNSET=..."


def test_a_value_from_the_environment_is_not_shown(write: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SECRET", "hunter2")
    for key in ('host = "${SECRET}"', 'replicas = "${SECRET}"', "[build]\ninclude = ['/${SECRET}']"):
        with pytest.raises(ConfigError, match="what the environment variable gives is not") as caught:
            load(write(GOOD + key))
        assert "hunter2" not in f"{caught.value.message}{caught.value.details}{caught.value.hint}"
