from collections.abc import Callable
from pathlib import Path

import pytest

from modeldeploy.config.load import load
from modeldeploy.config.peek import Address
from modeldeploy.config.schema import GatesTable, ProcessTargetTable, RolloutTable
from modeldeploy.errors import ConfigError
from modeldeploy.model import Gates, Policy

ISSUE = """\
[project]
name = "digits"
version = "1.0.0"

[model]
path = "model.onnx"
golden = "golden.npz"
tolerance = { rtol = 1e-3, atol = 0 }

[build]
python = "3.11"
requirements = ["onnxruntime>=1.20"]
include = ["*.py"]

[targets.local]
driver = "process"
port = 8080
replicas = 1
env = { LOG_LEVEL = "info" }

[targets.local.rollout]
strategy = "canary"
steps = [5, 25, 50]
soak = "10s"
keep = 1

[targets.local.rollout.gates]
error_rate = 0.01
p95 = "50ms"
min_requests = 100
patience = "60s"
"""


def test_loads_a_project_file_as_people_write_it(write: Callable[[str], Path], folder: Path) -> None:
    (folder / "golden.npz").touch()
    project = load(write(ISSUE))
    assert (project.root, project.path) == (folder, folder / "modeldeploy.toml")
    assert project.file.project.name == "digits"
    assert (project.file.model.tolerance.rtol, project.file.model.tolerance.atol) == (1e-3, 0)
    assert project.file.build.include == ("*.py",)
    target = project.target("local")
    assert isinstance(target, ProcessTargetTable)
    assert (target.host, target.port, target.replicas) == ("127.0.0.1", 8080, 1)
    assert dict(project.env("local")) == {"LOG_LEVEL": "info"}
    assert project.policy("local") == Policy(gates=Gates(p95=0.05))


def test_what_holds_without_a_key_is_what_the_engine_takes_for_granted() -> None:
    assert RolloutTable().policy() == Policy()
    assert GatesTable().gates() == Gates()


def test_each_key_of_a_rollout_reaches_the_engine(write: Callable[[str], Path]) -> None:
    rollout = """
[targets.local.rollout]
strategy = "blue-green"
steps = [1, 99]
soak = "1s"
keep = 3
ready_timeout = "4s"
drain_timeout = "5s"
on_interrupt = "hold"
gates = { error_rate = 0, p50 = "1ms", p95 = "2ms", p99 = "3ms", max_error_increase = 1,\
 max_p95_ratio = 2, min_requests = 7, patience = "8s", golden = false }
"""
    head = ISSUE.partition("[targets.local.rollout]")[0].replace('golden = "golden.npz"\n', "")
    assert load(write(head + rollout)).policy() == Policy(
        "blue-green", (1, 99), 1, 3, 4, 5, "hold", Gates(0, 0.001, 0.002, 0.003, 1, 2, 7, 8, golden=False)
    )


def test_says_where_a_key_stands(good: Path) -> None:
    project = load(good)
    assert project.locate("model.path") == "modeldeploy.toml:6"
    assert project.locate(("targets", "local", "port")) == "modeldeploy.toml:10"
    assert project.locate("targets.local.replicas") == "modeldeploy.toml:8"


def test_the_only_target_needs_no_name(good: Path) -> None:
    project = load(good)
    assert project.target() is project.target("local")
    assert project.address() == Address("digits", "local", "process", {"port": 8080})


def test_a_target_that_is_not_there_is_refused_with_the_nearest_name(good: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        load(good).target("lokal")
    assert caught.value.message == "modeldeploy.toml has no target 'lokal'; it has local"
    assert caught.value.hint == "did you mean 'local'?"


def test_a_project_without_targets_can_be_built(write: Callable[[str], Path]) -> None:
    project = load(write('[project]\nname = "a"\nversion = "1"\n[model]\npath = "model.onnx"\n'))
    with pytest.raises(ConfigError, match="has no target"):
        project.target()


def test_a_golden_file_may_be_missing_while_it_is_recorded(
    write: Callable[[str], Path], folder: Path
) -> None:
    assert load(write(ISSUE), may_be_missing={"model.golden"}).file.model.golden == "golden.npz"
    with pytest.raises(
        ConfigError, match=r"modeldeploy.toml:7: model.golden: there is no file golden.npz: record it"
    ):
        load(folder)


def test_a_folder_with_spaces_and_letters_of_any_language_is_fine(
    good: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    odd = tmp_path / "Größe und 数字"
    odd.mkdir()
    for name in ("modeldeploy.toml", "model.onnx"):
        (good / name).rename(odd / name)
    assert load(odd).locate("model") == "Größe und 数字/modeldeploy.toml:5"
    monkeypatch.chdir(odd)
    assert load(Path()).root == odd


def test_line_ends_of_windows_are_fine(folder: Path, good: Path) -> None:
    path = folder / "modeldeploy.toml"
    path.write_bytes(path.read_bytes().replace(b"\n", b"\r\n"))
    assert load(folder).locate("targets.local.port") == "modeldeploy.toml:10"


def test_a_driver_of_another_package_gets_its_own_keys_unchecked(
    write: Callable[[str], Path], installed_driver: str
) -> None:
    text = ISSUE.partition("[targets.local]")[0].replace('golden = "golden.npz"\n', "")
    project = load(
        write(
            text + f'[targets.far]\ndriver = "{installed_driver}"\nregion = "x"\n[targets.far.net]\na = [1]\n'
        )
    )
    assert project.address("far").options == {"region": "x", "net": {"a": [1]}}
    assert project.target("far").replicas == 1


def test_the_common_keys_of_such_a_target_are_checked(
    refused: Callable[[str], ConfigError], installed_driver: str
) -> None:
    text = ISSUE.partition("[targets.local]")[0].replace('golden = "golden.npz"\n', "")
    error = refused(
        text + f'[targets.far]\ndriver = "{installed_driver}"\nreplicas = 0\nrollout.sok = "1s"\n'
    )
    assert [problem["key"] for problem in error.details["problems"]] == [  # type: ignore[attr-defined]  # details are JSON
        "targets.far.replicas",
        "targets.far.rollout.sok",
    ]


@pytest.fixture
def installed_driver(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> str:
    """A package on the path that registers a driver; it need not be imported to be known."""
    site = tmp_path_factory.mktemp("site")
    info = site / "acme_driver-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: acme-driver\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[modeldeploy.targets]\nacme = acme_driver:Target\n")
    monkeypatch.syspath_prepend(str(site))
    return "acme"
