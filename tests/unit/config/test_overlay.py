"""Environments: tables laid over those of the project."""

from collections.abc import Callable
from pathlib import Path

import pytest

from modeldeploy.config.load import load
from modeldeploy.config.overlay import environments, merge
from modeldeploy.config.peek import peek, peek_registry, project_name, target_names
from modeldeploy.errors import ConfigError

Write = Callable[[str], Path]

BASE = """\
[project]
name = "digits"
version = "1.0.0"
[model]
path = "model.onnx"
[build]
requirements = ["a", "b"]
[registry]
url = "./registry"
[targets.local]
driver = "process"
port = 8080
replicas = 2
env = { LEVEL = "info", REGION = "x" }
"""
PROD = """\
[env.prod.registry]
url = "s3://models/team"
[env.prod.build]
requirements = ["c"]
[env.prod.targets.local]
port = 9000
env = { LEVEL = "warn" }
[env.prod.targets.far]
driver = "process"
port = 9001
"""


@pytest.fixture(autouse=True)
def no_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MDEPLOY_ENV", raising=False)


def test_without_an_environment_nothing_is_different(write: Write) -> None:
    project = load(write(BASE + PROD))
    assert project.env_name is None
    assert project.target().replicas == 2
    assert list(project.file.targets) == ["local"]
    assert peek(project.root).options == {"port": 8080}


def test_tables_are_merged_and_all_else_is_replaced(write: Write) -> None:
    folder = write(BASE + PROD)
    project = load(folder, env="prod")
    assert project.env_name == "prod"
    assert project.target("local").replicas == 2
    assert dict(project.env("local")) == {"LEVEL": "warn", "REGION": "x"}
    assert project.file.build.requirements == ("c",)
    assert project.registry().url == "s3://models/team"
    assert list(project.file.targets) == ["local", "far"]
    assert project.address("local") == peek(folder, "local", env="prod")
    assert peek(folder, "local", env="prod").options == {"port": 9000}
    assert target_names(folder, env="prod") == ["local", "far"]
    assert peek_registry(folder, env="prod") == project.registry()


def test_a_file_beside_the_project_file_does_the_same_and_holds_where_both_speak(write: Write) -> None:
    folder = write(BASE + PROD)
    (folder / "modeldeploy.prod.toml").write_text("[targets.local]\nport = 9999\n")
    (folder / "modeldeploy.test.toml").write_text("[targets.local]\nreplicas = 7\n")
    project = load(folder, env="prod")
    assert peek(folder, "local", env="prod").options == {"port": 9999}
    assert dict(project.env("local"))["LEVEL"] == "warn"
    assert load(folder, env="test").target("local").replicas == 7
    assert environments(folder) == ["prod", "test"]


def test_the_variable_chooses_where_nobody_does(write: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = write(BASE + PROD)
    monkeypatch.setenv("MDEPLOY_ENV", "prod")
    assert load(folder).env_name == "prod"
    assert peek(folder, "local").options == {"port": 9000}
    assert load(folder, env="").env_name is None
    monkeypatch.setenv("MDEPLOY_ENV", "")
    assert load(folder).env_name is None


@pytest.mark.parametrize("use", [load, peek, peek_registry, target_names])
def test_an_unknown_environment_is_told_with_the_nearest(write: Write, use: Callable[..., object]) -> None:
    with pytest.raises(ConfigError, match="has no environment 'prdo'; there are prod") as caught:
        use(write(BASE + PROD), env="prdo")
    assert caught.value.hint == "did you mean 'prod'?"


def test_a_project_without_environments_says_how_to_add_one(write: Write) -> None:
    with pytest.raises(ConfigError, match="has no environment 'prod': the project has none") as caught:
        load(write(BASE), env="prod")
    assert caught.value.hint == "add [env.prod] to it, or a file modeldeploy.prod.toml beside it"


@pytest.mark.parametrize("name", ["../../etc/x", "a/b", "A", "x\0", "."])
def test_a_name_that_leads_elsewhere_is_no_environment(write: Write, name: str) -> None:
    with pytest.raises(ConfigError, match="has no environment"):
        load(write(BASE), env=name)


def test_a_mistake_is_told_where_it_stands(write: Write) -> None:
    folder = write(BASE + PROD.replace("port = 9000", "port = 0"))
    with pytest.raises(
        ConfigError, match=r"modeldeploy\.toml:20: env\.prod\.targets\.local\.port: 0: with 0"
    ):
        load(folder, env="prod")
    (folder / "modeldeploy.test.toml").write_text("\n[targets.local]\nrplicas = 7\n")
    with pytest.raises(
        ConfigError, match=r"^modeldeploy\.test\.toml:3: targets\.local\.rplicas: unknown key"
    ):
        load(folder, env="test")


def test_mistakes_of_two_files_are_told_together(write: Write) -> None:
    folder = write(BASE.replace("port = 8080", "port = 8080\nhost = 'x'"))
    (folder / "modeldeploy.test.toml").write_text("[targets.local]\nreplicas = 0\n")
    with pytest.raises(ConfigError) as caught:
        load(folder, env="test")
    places = [(problem["file"], problem["line"]) for problem in caught.value.details["problems"]]  # type: ignore[attr-defined]  # JSON values
    assert places == [("modeldeploy.toml", 13), ("modeldeploy.test.toml", 2)]


def test_a_value_is_located_in_the_text_it_came_from(write: Write) -> None:
    folder = write(BASE + PROD)
    (folder / "modeldeploy.prod.toml").write_text("[targets.far]\nreplicas = 3\n")
    project = load(folder, env="prod")
    assert project.locate("targets.local.port") == "modeldeploy.toml:20"
    assert project.locate("targets.local.replicas") == "modeldeploy.toml:13"
    assert project.locate("targets.far.replicas") == "modeldeploy.prod.toml:2"


def test_a_typo_is_found_in_an_environment_that_is_not_chosen(write: Write) -> None:
    with pytest.raises(
        ConfigError,
        match=r"modeldeploy\.toml:16: env\.prod\.registry\.ulr: unknown key; expected one of ca",
    ):
        load(write(BASE + PROD.replace("url", "ulr")))
    with pytest.raises(ConfigError, match=r"env\.prod\.targets\.local\.rollout\.soka: unknown key"):
        load(write(BASE + PROD + '[env.prod.targets.local.rollout]\nsoka = "1s"\n'))


def test_values_of_an_environment_that_is_not_chosen_are_its_own(write: Write) -> None:
    folder = write(BASE + PROD.replace("port = 9000", 'port = "${PORT}"'))
    assert load(folder).env_name is None


def test_another_packages_target_may_have_keys_of_its_own(
    write: Write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    info = tmp_path / "site" / "acme-1.0.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: acme\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[modeldeploy.targets]\nacme = acme:Target\n")
    monkeypatch.syspath_prepend(str(tmp_path / "site"))
    base = BASE + '[targets.acme]\ndriver = "acme"\n'
    folder = write(base + '[env.prod.targets.acme]\nregion = "x"\n')
    assert peek(folder, "acme", env="prod").options == {"region": "x"}
    assert load(folder, env="prod").address("acme").options == {"region": "x"}
    load(folder)


@pytest.mark.parametrize("table", ["project", "env"])
def test_name_version_and_environments_are_not_overlaid(write: Write, table: str) -> None:
    with pytest.raises(ConfigError, match=rf"env\.prod\.{table}: no table for an environment"):
        load(write(BASE + f"[env.prod.{table}]\nversion = '2'\n"))
    folder = write(BASE)
    (folder / "modeldeploy.prod.toml").write_text(f"[{table}]\nversion = '2'\n")
    with pytest.raises(
        ConfigError, match=rf"modeldeploy\.prod\.toml:1: {table}: no table for an environment"
    ):
        load(folder, env="prod")
    assert project_name(folder) == "digits"


def test_quick_commands_bear_mistakes_elsewhere(write: Write) -> None:
    folder = write(BASE + "[env.prod.targets.local]\nport = 9\n[env.other.x\n[env.prod.model]\npath = 5\n")
    assert peek(folder, "local", env="prod").options == {"port": 9}
    with pytest.raises(ConfigError):
        load(folder, env="prod")


def test_what_an_environment_changes_in_the_bundle_is_worth_a_thought(write: Write) -> None:
    (finding,) = load(write(BASE + PROD)).findings()
    assert finding.message.startswith("env.prod.build: bundles built with --env prod are others")


def test_merging_changes_neither_side() -> None:
    below, over = {"a": {"b": 1}, "c": [1]}, {"a": {"d": 2}, "c": {"e": 3}}
    assert merge(below, over) == {"a": {"b": 1, "d": 2}, "c": {"e": 3}}
    assert (below, over) == ({"a": {"b": 1}, "c": [1]}, {"a": {"d": 2}, "c": {"e": 3}})
