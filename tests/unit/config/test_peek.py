import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from modeldeploy.config.load import load
from modeldeploy.config.names import COMMON_KEYS
from modeldeploy.config.peek import Address, peek, target_names
from modeldeploy.config.schema import TargetTable
from modeldeploy.errors import ConfigError

Write = Callable[[str], Path]

PROJECT = '[project]\nname = "digits"\nversion = "1.0.0"\n'
LOCAL = '[targets.local]\ndriver = "process"\nport = 8080\nreplicas = 2\nenv = { A = "b" }\n'
OTHER = '[targets.other]\ndriver = "process"\nport = 8081\n'
ADDRESS = Address("digits", "local", "process", {"port": 8080})


def test_finds_the_address_of_a_target(write: Write) -> None:
    assert peek(write(PROJECT + LOCAL + OTHER), "local") == ADDRESS


def test_agrees_with_the_loaded_project(good: Path) -> None:
    assert peek(good) == load(good).address()


def test_the_only_target_needs_no_name(write: Write) -> None:
    assert peek(write(PROJECT + LOCAL), None) == ADDRESS


def test_of_several_targets_one_must_be_named(write: Write) -> None:
    with pytest.raises(ConfigError, match=r"which target\? modeldeploy.toml has local, other"):
        peek(write(PROJECT + LOCAL + OTHER))


def test_lists_the_names_of_all_targets(write: Write) -> None:
    assert target_names(write(PROJECT + OTHER + LOCAL + "[targets.'No Name']\n")) == ["other", "local"]


def test_suggests_the_nearest_target(write: Write) -> None:
    with pytest.raises(ConfigError, match="has no target 'othr'; it has local, other") as caught:
        peek(write(PROJECT + LOCAL + OTHER), "othr")
    assert caught.value.hint == "did you mean 'other'?"


def test_the_path_to_an_envoy_is_absolute_and_a_name_stays_a_name(write: Write) -> None:
    folder = write(PROJECT + LOCAL + 'envoy = "bin/envoy"')
    assert peek(folder).options["envoy"] == str(folder / "bin" / "envoy")
    assert peek(write(PROJECT + LOCAL + 'envoy = "envoy-1.40"')).options["envoy"] == "envoy-1.40"


@pytest.mark.parametrize(
    "elsewhere",
    [
        "[model]\npath = 5\n",
        "[modle]\n",
        "[targets.local.rollout]\nstratgy = 1\n",
        "[targets.other]\nprot = 1\n",
        # From here on, it is not even TOML.
        "[model]\npath = model.onnx\n",
        "[model\npath = 'x'\n",
        "[build]\ninclude = [\n  '*.py',\n",
        "[build]\npython = '3.11'\npython = '3.12'\n",
        "[targets.local.rollout]\nsteps = [5, 25\n",
        "[targets.local.rollout.gates]\np95 = 50ms\n",
        "[targets.local.env]\nA = b\n",
        "[targets.other]\nport = \n",
    ],
)
def test_a_mistake_in_another_table_does_not_stand_in_the_way(write: Write, elsewhere: str) -> None:
    local = LOCAL.replace('env = { A = "b" }\n', "")
    assert peek(write(elsewhere + PROJECT + local), "local") == ADDRESS
    assert peek(write(PROJECT + local + elsewhere), "local") == ADDRESS


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (PROJECT + LOCAL + "host = ", r"modeldeploy.toml:9: not valid TOML"),
        ("[project]\nname = digits\n" + LOCAL, r"modeldeploy.toml:2:8: not valid TOML"),
        ("x = \n" + PROJECT + LOCAL, r"modeldeploy.toml:1:5: not valid TOML"),
        (PROJECT + LOCAL + "[targets.local.network]\nx = ", r"modeldeploy.toml:10: not valid TOML"),
        (PROJECT + LOCAL + LOCAL, r"modeldeploy.toml:9:15: not valid TOML"),
        (PROJECT + LOCAL + '[targets]\nlocal.driver = "x"\n', "not valid TOML"),
        ('[project]\nname = "../../x"\n' + LOCAL, "project.name: missing or not a name"),
        (LOCAL, "project.name: missing or not a name"),
        (PROJECT, "modeldeploy.toml has no target"),
        (PROJECT + "[targets.local]\nport = 1", r"targets.local.driver: missing; expected text"),
        (PROJECT + "targets = 5", "has no target"),
    ],
)
def test_a_mistake_in_the_address_itself_does(write: Write, text: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        peek(write(text), "local")


def test_without_a_name_a_broken_target_is_not_overlooked(write: Write) -> None:
    with pytest.raises(ConfigError, match="not valid TOML"):
        peek(write(PROJECT + LOCAL + "[targets.other]\nport = \n"))


def test_the_common_keys_are_those_of_the_schema() -> None:
    assert set(TargetTable.model_fields) == COMMON_KEYS


def test_loads_nothing_heavy(good: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from modeldeploy.config.peek import peek; peek(Path('.'));"
        "print(*{'pydantic', 'tomlkit', 'difflib', 'importlib.metadata', 'asyncio', 'json',"
        " 'modeldeploy.config.syntax'}"
        " & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=good, check=True, capture_output=True, text=True)
    assert done.stdout.strip() == ""
