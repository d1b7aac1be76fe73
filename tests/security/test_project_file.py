"""A project file from a stranger, and secrets in one's own."""

import json
import logging
import os
import pickle
import traceback
from collections.abc import Callable
from pathlib import Path

import pytest

from modeldeploy.config.edit import set_version
from modeldeploy.config.load import load
from modeldeploy.config.peek import peek, peek_registry
from modeldeploy.errors import ConfigError

SECRET = "hunter2"
HEAD = '[project]\nname = "digits"\nversion = "1.0.0"\n[model]\npath = "model.onnx"\n'
TARGET = '[targets.local]\ndriver = "process"\nport = 8080\n'


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "model.onnx").touch()
    return tmp_path


def everything_shown(error: BaseException) -> str:
    """All that a log, a traceback or `--json` could show of an error."""
    own = error if isinstance(error, ConfigError) else None
    return "".join(
        [
            *traceback.format_exception(error),
            repr(error),
            str(error),
            json.dumps(own.details) if own else "",
            own.hint or "" if own else "",
            repr(vars(error)),
            repr(error.__cause__),
        ]
    )


def shown_if_refused(use: Callable[[], object]) -> str:
    try:
        use()
    except ConfigError as error:
        return everything_shown(error)
    return ""


@pytest.mark.parametrize(
    "env",
    [
        # Well-formed TOML that is refused.
        'env = { KEY = "hunter2", "B-C" = "hunter2" }',
        'env = { KEY = ["hunter2"] }',
        'env = "hunter2"',
        'env = ["hunter2"]',
        'env.KEY.value = "hunter2"',
        'evn = { KEY = "hunter2" }',
        'rollout.env = { KEY = "hunter2" }',
        'env = { KEY = "hunter2\\u0000" }',
        'env = { KEY = "hunter2" }\nreplicas = 0\nstratgy = 1',
        # Text that is not even TOML.
        'env = { KEY = "hunter2',
        "env = { KEY = hunter2 }",
        'env = { KEY = "hunter2" ',
        'env = {\n  KEY = "hunter2",\n  name = hunter2,\n}',
        "env.KEY = hunter2",
        "[targets.local.env]\nKEY = hunter2",
        "[targets.local.env]\nname = hunter2",
        '[targets.local.env]\nKEY = "hunter2" "hunter2"',
        "[targets.local.env]\nKEY = 'hunter2",
        '[targets.local.env]\nKEY = """\nhunter2\nname = hunter2\n[hunter2]\n\x01"""',
        '[targets.local.env]\nKEY = """\nhunter2\n',
        "[targets.local.env]\nKEY = [\n  hunter2\n]",
        '[targets.local.env]\nA = "hunter2"\nA = "hunter2"',
        '[ targets . "local" . env ] # mine\nport = hunter2',
        "[targets.local.env\nport = hunter2",
        "env = { A = 'x' } hunter2",
        'local = { env = { KEY = "hunter2 } }',
    ],
)
def test_no_error_shows_the_value_of_an_environment_variable(folder: Path, env: str) -> None:
    (folder / "modeldeploy.toml").write_text(HEAD + TARGET + env)
    with pytest.raises(ConfigError) as caught:
        load(folder)
    assert SECRET not in everything_shown(caught.value)
    for use in (lambda: peek(folder, "local"), lambda: set_version(folder, "2")):
        assert SECRET not in shown_if_refused(use)


@pytest.mark.parametrize(
    "text",
    [
        # Well-formed TOML that is refused.
        '[registry]\nurl = "https://x/y"\nusername = "ci"\npassword = "hunter2"',
        '[registry]\nurl = "https://ci:hunter2@x/y"',
        '[registry]\nurl = "https://hunter2@x/y"',
        '[registry]\npassword = ["hunter2"]',
        '[registry]\nusername = "secret:hunter2"\npassword = 5',
        '[registry]\npasword = "hunter2"',
        '[signing]\nkey = "-----BEGIN PRIVATE KEY-----hunter2"',
        '[signing]\nkey = ["-----BEGIN PRIVATE KEY-----hunter2"]',
        '[targets.local.env]\nA = "secret:env:hunter2 x"',
        '[env.prod.targets.local]\nenv = "hunter2"',
        '[env.prod.targets.local]\nenv = { A = ["hunter2"] }',
        '[env.prod.registry]\npassword = "hunter2"',
        '[env]\nprod = "hunter2"',
        # Text that is not even TOML.
        '[registry]\npassword = "hunter2',
        "[registry]\npassword = hunter2",
        '[registry]\nurl = "https://ci:hunter2@x/y',
        "[signing]\nkey = -----BEGIN PRIVATE KEY-----hunter2",
        "[env.prod.targets.local.env]\nname = hunter2",
        "[env.prod.targets.local]\nenv = { A = hunter2 }",
    ],
)
@pytest.mark.parametrize("beside", [False, True])
def test_no_error_shows_a_password_or_key_in_any_file(folder: Path, text: str, beside: bool) -> None:  # noqa: FBT001 - by parametrize
    (folder / "modeldeploy.toml").write_text(HEAD + TARGET + ("" if beside else text))
    (folder / "modeldeploy.prod.toml").write_text(text if beside else "")
    for use in (
        lambda: load(folder, env="prod"),
        lambda: load(folder),
        lambda: peek(folder, "local", env="prod"),
        lambda: peek_registry(folder, env="prod"),
        lambda: set_version(folder, "2"),
    ):
        assert SECRET not in shown_if_refused(use)


def test_an_environment_shows_no_secret_of_a_file(folder: Path) -> None:
    (folder / "modeldeploy.toml").write_text(
        HEAD
        + TARGET
        + f'[env.prod.targets.local.env]\nA = "{SECRET}"\n[env.other.targets.local.env]\nA = "{SECRET}"\n'
    )
    for env in ("prod", ""):
        project = load(folder, env=env)
        shown = [
            project,
            project.file,
            project.target(),
            project.findings(),
            project.registry(),
            project.signing(),
        ]
        assert SECRET not in "".join(f"{value!r}" for value in shown)
        assert SECRET not in project.file.model_dump_json()
        assert SECRET not in repr(vars(project.file))


def test_no_loaded_project_shows_one_either(folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    (folder / "modeldeploy.toml").write_text(HEAD + TARGET + f'env = {{ API_KEY = "{SECRET}" }}\n')
    project = load(folder)
    shown = [
        project,
        project.file,
        project.target(),
        project.env(),
        project.address(),
        project.findings(),
        peek(folder),
    ]
    assert SECRET not in "".join(f"{value!r} {value!s}" for value in shown)
    assert SECRET not in project.file.model_dump_json()
    with caplog.at_level(logging.DEBUG):
        logging.getLogger().warning("%s", project)
    assert SECRET not in caplog.text
    # And yet it is handed over.
    assert project.env()["API_KEY"] == SECRET


def test_the_own_keys_of_another_packages_driver_do_not_show(folder: Path, driver: str) -> None:
    (folder / "modeldeploy.toml").write_text(
        f'{HEAD}[targets.far]\ndriver = "{driver}"\ntoken = "{SECRET}"\n'
    )
    project = load(folder)
    assert (
        SECRET
        not in f"{project!r} {project.target()!r} {project.target()} {project.address()!r} {peek(folder)!r}"
    )
    assert project.address().options == {"token": SECRET}


@pytest.fixture
def driver(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> str:
    """A driver that another package registers."""
    info = tmp_path_factory.mktemp("site") / "acme_driver-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: acme-driver\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[modeldeploy.targets]\nacme = acme_driver:Target\n")
    monkeypatch.syspath_prepend(str(info.parent))
    return "acme"


@pytest.mark.parametrize(
    "requirement",
    ["a @ https://user:hunter2@host/a.whl", "https://user:hunter2@host/a.whl", "a@git+ssh://hunter2@h/a"],
)
def test_a_password_in_a_requirement_is_refused_and_not_repeated(folder: Path, requirement: str) -> None:
    (folder / "modeldeploy.toml").write_text(f'{HEAD}[build]\nrequirements = ["{requirement}"]\n')
    with pytest.raises(
        ConfigError, match="an address with a password in it would go into every bundle"
    ) as caught:
        load(folder)
    assert SECRET not in everything_shown(caught.value)


@pytest.mark.parametrize(
    "place",
    [
        "../secret.onnx",
        "/etc/hosts",
        "a/../../secret.onnx",
        "~/secret.onnx",
        "link.onnx",
        "linked/secret.onnx",
        "loop.onnx",
    ],
)
def test_no_file_outside_the_project_is_taken_in(
    folder: Path, tmp_path_factory: pytest.TempPathFactory, place: str
) -> None:
    outside = tmp_path_factory.mktemp("outside") / "secret.onnx"
    outside.touch()
    (folder / "link.onnx").symlink_to(outside)
    (folder / "linked").symlink_to(outside.parent)
    (folder / "loop.onnx").symlink_to("loop.onnx")
    (folder / "modeldeploy.toml").write_text(HEAD.replace("model.onnx", place))
    with pytest.raises(ConfigError, match=r"model\.path"):
        load(folder)


@pytest.mark.parametrize(
    "name", ["../../etc", "a/b", ".", "..", "", "-rf", "a\nb", "a;b", "$(id)", "é", "A", "a" * 64]
)
def test_names_that_could_be_more_than_names_are_refused(folder: Path, name: str) -> None:
    quoted = json.dumps(name)
    for text in (
        f'[project]\nname = {quoted}\nversion = "1"\n[model]\npath = "model.onnx"\n{TARGET}',
        f'{HEAD}[targets.{quoted}]\ndriver = "process"\nport = 1\n',
    ):
        (folder / "modeldeploy.toml").write_text(text)
        for use in (load, peek):
            with pytest.raises(ConfigError):
                use(folder)


@pytest.mark.parametrize(
    "content",
    [
        b"a" + b".a" * 490_000 + b" = 1",
        b"[a" + b".a" * 490_000 + b"]",
        b"a = " + b"{a = " * 190_000,
        b"a = " + b"[" * 990_000,
        b'a = "' + b"\\" * 990_000,
        b"a = '" + b"a." * 490_000,
        b'"""' * 330_000,
        b"a" * 999_990,
        b"a = 1\n" * 160_000,
        b"#" + b" ." * 490_000,
        b"".join(b"a%d = 1\n" % number for number in range(80_000)),
        b"".join(b"[targets.a%d]\n" % number for number in range(50_000)),
    ],
    ids=lambda content: content[:12],
)
def test_a_file_made_to_exhaust_the_machine_is_refused(folder: Path, content: bytes) -> None:
    (folder / "modeldeploy.toml").write_bytes(content)
    for use in (peek, load):
        with pytest.raises(ConfigError):
            use(folder)


def test_a_project_file_runs_nothing(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("code or a program was run")

    for owner, name in ((os, "system"), (os, "posix_spawn"), (pickle, "loads"), (pickle, "load")):
        monkeypatch.setattr(owner, name, refuse)
    (folder / "service.py").write_text("raise SystemExit('imported')")
    (folder / "modeldeploy.toml").write_text(
        HEAD + '[service]\nentrypoint = "service:Digits"\n[build]\ninclude = ["*.py"]\n' + TARGET
    )
    assert load(folder).file.service.entrypoint == "service:Digits"
