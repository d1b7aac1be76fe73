"""Secrets by reference: looked up at the last moment, and shown nowhere."""

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from config_place import GOOD
from modeldeploy.config import secrets
from modeldeploy.config.load import load
from modeldeploy.errors import ConfigError

Write = Callable[[str], Path]
Refused = Callable[[str], ConfigError]

SECRET = "hunter2-correct-horse"


@pytest.fixture(autouse=True)
def variables(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TOKEN", SECRET)
    monkeypatch.delenv("UNSET", raising=False)


def everything(error: ConfigError) -> str:
    return f"{error!r}{error.message}{error.hint}{error.details}{error.__cause__!r}"


def test_a_secret_is_looked_up_when_it_is_needed(write: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    project = load(write(GOOD + 'env = { API_KEY = "secret:env:TOKEN", LEVEL = "info" }\n'))
    assert dict(project.env()) == {"API_KEY": SECRET, "LEVEL": "info"}
    assert project.target().sealed_env()["API_KEY"] == "secret:env:TOKEN"
    assert SECRET not in f"{project!r}{project.file!r}{project.env()!r}"
    monkeypatch.setenv("TOKEN", "another")
    assert project.env()["API_KEY"] == "another"


def test_a_missing_secret_is_told_with_its_key_and_not_when_the_file_is_read(write: Write) -> None:
    project = load(write(GOOD + 'env = { API_KEY = "secret:env:UNSET" }\n'))
    with pytest.raises(ConfigError) as caught:
        project.env()
    assert caught.value.message == (
        "modeldeploy.toml:11: targets.local.env.API_KEY: the secret secret:env:UNSET: UNSET is not set"
    )
    assert caught.value.hint == "export UNSET=..."


def test_a_file_is_relative_to_the_project_and_its_last_newline_is_not_part_of_it(folder: Path) -> None:
    (folder / "token").write_text(f"{SECRET}\n")
    assert secrets.resolve("secret:file:token", folder) == SECRET
    assert secrets.resolve(f"secret:file:{folder / 'token'}", Path("/")) == SECRET
    (folder / "two").write_text("a\nb\n\n")
    assert secrets.resolve("secret:file:two", folder) == "a\nb\n"


@pytest.mark.parametrize(
    ("content", "told"),
    [(b"", "is empty"), (b"\n", "is empty"), (b"\xff\xfe", "not UTF-8"), (b"a\0b", "zero byte")],
)
def test_a_file_that_holds_no_secret_is_told(folder: Path, content: bytes, told: str) -> None:
    (folder / "token").write_bytes(content)
    with pytest.raises(ConfigError, match=rf"the secret secret:file:token.* {told}"):
        secrets.resolve("secret:file:token", folder)


def test_a_file_that_is_none_is_told(folder: Path) -> None:
    import os

    os.mkfifo(folder / "pipe")
    (folder / "large").write_bytes(b"x" * 100_000)
    for name, told in (("pipe", "no file"), (".", "no file"), ("nope", "No such file"), ("large", "64 KB")):
        with pytest.raises(ConfigError, match=told):
            secrets.resolve(f"secret:file:{name}", folder)


class Ring:
    """A keyring in memory."""

    def __init__(self, known: dict[tuple[str, str], str] | Exception) -> None:
        self.known = known

    def get_password(self, service: str, user: str) -> str | None:
        if isinstance(self.known, Exception):
            raise self.known
        return self.known.get((service, user))


def use_ring(monkeypatch: pytest.MonkeyPatch, known: Any) -> None:
    ring = Ring(known)
    monkeypatch.setitem(sys.modules, "keyring", ring)


def test_a_keyring_is_asked_for_service_and_user(monkeypatch: pytest.MonkeyPatch) -> None:
    use_ring(monkeypatch, {("team/registry", "ci"): SECRET})
    assert secrets.resolve("secret:keyring:team/registry/ci", Path()) == SECRET
    with pytest.raises(ConfigError, match="the keyring has no such entry") as caught:
        secrets.resolve("secret:keyring:registry/ci", Path())
    assert caught.value.hint == "keyring set registry ci"


def test_what_a_keyring_says_is_not_repeated(monkeypatch: pytest.MonkeyPatch) -> None:
    use_ring(monkeypatch, RuntimeError(f"cannot decrypt {SECRET}"))
    with pytest.raises(ConfigError, match=r"cannot be read \(RuntimeError\)") as caught:
        secrets.resolve("secret:keyring:a/b", Path())
    assert SECRET not in everything(caught.value)


def test_without_the_package_its_name_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "keyring", None)
    with pytest.raises(ConfigError, match="keyring is not installed"):
        secrets.resolve("secret:keyring:a/b", Path())


def test_a_real_keyring_back_end(monkeypatch: pytest.MonkeyPatch) -> None:
    keyring = pytest.importorskip("keyring")
    from keyring.backends.null import Keyring

    before = keyring.get_keyring()
    keyring.set_keyring(Keyring())  # type: ignore[no-untyped-call]  # keyring has no types here
    try:
        with pytest.raises(ConfigError, match="no such entry"):
            secrets.resolve("secret:keyring:a/b", Path())
    finally:
        keyring.set_keyring(before)


@pytest.fixture
def vault(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An installed package that brings ``secret:vault:...``."""
    info = tmp_path / "site" / "acme_vault-1.0.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: acme-vault\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[modeldeploy.secrets]\nvault = acme_vault:resolve\n")
    module = type(sys)("acme_vault")

    def resolve(reference: str, root: Path) -> Any:
        answers = {"kv/token": SECRET, "number": 5}
        return answers[reference]

    module.resolve = resolve  # type: ignore[attr-defined]  # a module made here
    monkeypatch.setitem(sys.modules, "acme_vault", module)
    monkeypatch.syspath_prepend(str(tmp_path / "site"))


@pytest.mark.usefixtures("vault")
def test_another_package_may_bring_a_kind_of_its_own(write: Write) -> None:
    project = load(write(GOOD + 'env = { A = "secret:vault:kv/token" }\n'))
    assert project.env()["A"] == SECRET
    for reference, told in (("nope", "raised KeyError"), ("number", "gave no text")):
        with pytest.raises(ConfigError, match=told):
            secrets.resolve(f"secret:vault:{reference}", Path())


@pytest.mark.parametrize(
    ("reference", "told"),
    [
        ("secret:", "not a reference"),
        ("secret:env", "not a reference"),
        ("secret:env:", "not a reference"),
        ("secret:env:A B", "not the name of an environment variable"),
        ("secret:keyring:x", "named by its service and its user"),
        ("secret:keyring:/x", "named by its service and its user"),
        ("secret:evn:TOKEN", "expected one of env, file, keyring; did you mean 'secret:env:TOKEN'?"),
        ("secret:hunter2:x", "there is no such kind of secret"),
    ],
)
def test_a_reference_that_is_none_is_refused(refused: Refused, reference: str, told: str) -> None:
    error = refused(GOOD + f'env = {{ A = "{reference}" }}\n')
    assert told in error.message
    assert "hunter2" not in everything(error)


def test_a_password_in_plain_text_is_refused_and_not_shown(refused: Refused) -> None:
    error = refused(GOOD + f'[registry]\nurl = "https://x/y"\nusername = "ci"\npassword = "{SECRET}"\n')
    assert "modeldeploy.toml:14: registry.password: a password must not stand in this file" in error.message
    assert SECRET not in everything(error)
    error = refused(GOOD + f'[registry]\nurl = "https://ci:{SECRET}@x/y"\n')
    assert "registry.username and registry.password" in error.message
    assert SECRET not in everything(error)


def test_the_registrys_password_is_looked_up_when_it_is_needed(write: Write) -> None:
    text = '[registry]\nurl = "https://x/y"\nusername = "ci"\npassword = "secret:env:TOKEN"\n'
    settings = load(write(GOOD + text)).registry()
    assert SECRET not in f"{settings!r}"
    assert dict(settings.credentials()) == {"username": "ci", "password": SECRET}
    assert SECRET not in f"{settings.credentials()!r}"


def test_a_private_key_in_the_file_is_refused(refused: Refused) -> None:
    error = refused(GOOD + "[signing]\nkey = '''-----BEGIN PRIVATE KEY-----\nhunter2'''\n")
    assert "a private key must not stand in this file" in error.message
    assert "hunter2" not in everything(error)


@pytest.mark.parametrize(
    "text",
    [
        'env = { A = "secret:file:keys/token.txt" }\n',
        '[registry]\nurl = "https://x/y"\nusername = "x"\npassword = "secret:file:keys/token.txt"\n',
        '[signing]\nkey = "keys/token.txt"\n',
        '[signing]\nkey = "secret:file:keys/token.txt"\n',
    ],
)
def test_a_secret_that_would_go_into_the_bundle_is_refused(
    folder: Path, write: Write, refused: Refused, text: str
) -> None:
    (folder / "keys").mkdir()
    (folder / "keys" / "token.txt").write_text(SECRET)
    for pattern in ("**/*.txt", "keys", "keys/*"):
        error = refused(f'{GOOD}{text}[build]\ninclude = ["{pattern}"]\n')
        assert "build.include puts this file into every bundle" in error.message
    load(write(f'{GOOD}{text}[build]\ninclude = ["keys/*"]\nexclude = ["keys/token.txt"]\n'))


def test_what_is_missing_or_open_to_others_is_worth_a_thought(folder: Path, write: Write) -> None:
    (folder / "open").write_text(SECRET)
    (folder / "open").chmod(0o644)
    references = ("env:UNSET", "file:nope", "file:open", "env:TOKEN")
    table = ", ".join(f'{name} = "secret:{one}"' for name, one in zip("ABCD", references, strict=True))
    text = f"env = {{ {table} }}\n"
    messages = [finding.message for finding in load(write(GOOD + text)).findings()]
    assert [message.partition(": ")[0] for message in messages] == [f"targets.local.env.{x}" for x in "ABC"]
    assert "UNSET is not set here" in messages[0]
    assert "there is no file" in messages[1]
    assert "every user of this machine can read" in messages[2]
    (folder / "open").chmod(0o600)
    assert len(load(folder).findings()) == 2


def test_a_secret_in_plain_text_is_advised_against(write: Write) -> None:
    (finding,) = load(write(GOOD + f'env = {{ API_KEY = "{SECRET}" }}\n')).findings()
    assert 'API_KEY = "secret:env:API_KEY"' in finding.remedy
    assert SECRET not in repr(finding)
