"""Credentials are found where docker and podman keep them, and show nowhere."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

import pytest

from modeldeploy.registry.remote import credentials
from modeldeploy.registry.remote.credentials import Credentials, Found, look_up
from registry_place import helper, login

HOST = "registry.example:5000"


def packed(user: str, password: str) -> dict[str, str]:
    return {"auth": base64.b64encode(f"{user}:{password}".encode()).decode()}


def found(folder: Path, prefix: str = "team", host: str = HOST, **more: str) -> Found:
    return look_up(host, prefix, {"HOME": str(folder), **more})


def docker(folder: Path, **document: Any) -> None:
    (folder / ".docker").mkdir(exist_ok=True)
    (folder / ".docker/config.json").write_text(json.dumps(document))


def test_nothing_is_found_where_nothing_is(tmp_path: Path) -> None:
    assert found(tmp_path) == Found(None)


def test_what_docker_login_wrote_is_found(tmp_path: Path) -> None:
    login(tmp_path / ".docker", HOST, "ada", "pass:word")
    assert found(tmp_path).credentials == Credentials("ada", "pass:word")
    assert found(tmp_path, host="other.example").credentials is None


def test_docker_may_keep_it_elsewhere(tmp_path: Path) -> None:
    login(tmp_path / "elsewhere", HOST)
    assert found(tmp_path, DOCKER_CONFIG=str(tmp_path / "elsewhere")).credentials


@pytest.mark.parametrize("key", [f"https://{HOST}", f"https://{HOST}/v1/", f"http://{HOST}/v2/"])
def test_old_forms_of_the_host_are_known(tmp_path: Path, key: str) -> None:
    docker(tmp_path, auths={key: packed("ada", "secret")})
    assert found(tmp_path).credentials == Credentials("ada", "secret")


def test_docker_hub_has_a_name_of_its_own(tmp_path: Path) -> None:
    docker(tmp_path, auths={"https://index.docker.io/v1/": packed("ada", "secret")})
    assert found(tmp_path, host="registry-1.docker.io").credentials == Credentials("ada", "secret")


def test_an_identity_token_stands_for_a_password(tmp_path: Path) -> None:
    docker(tmp_path, auths={HOST: {**packed("ada", ""), "identitytoken": "token"}})
    assert found(tmp_path).credentials == Credentials("ada", "", "token")


def test_podmans_files_come_first_and_the_most_exact_path_wins(tmp_path: Path) -> None:
    login(tmp_path / ".docker", HOST, "docker", "secret")
    runtime = tmp_path / "run"
    (runtime / "containers").mkdir(parents=True)
    auths = {HOST: packed("host", "x"), f"{HOST}/team": packed("team", "x"), f"{HOST}/tea": packed("no", "x")}
    (runtime / "containers/auth.json").write_text(json.dumps({"auths": auths}))

    def user(**more: str) -> str:
        credentials = found(tmp_path, **more).credentials
        return credentials.username if credentials else ""

    assert user() == "docker"
    assert user(XDG_RUNTIME_DIR=str(runtime)) == "team"
    assert user(XDG_RUNTIME_DIR=str(runtime), prefix="") == "host"
    login(tmp_path / "explicit", HOST, "explicit", "x")
    explicit = str(tmp_path / "explicit/config.json")
    assert user(XDG_RUNTIME_DIR=str(runtime), REGISTRY_AUTH_FILE=explicit) == "explicit"


def test_the_helper_of_a_host_is_asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    answer = json.dumps({"ServerURL": HOST, "Username": "ada", "Secret": "from-helper"})
    helper(
        tmp_path / "bin",
        "test",
        f'test "$1" = get && test "$(cat)" = {HOST} && echo \'{answer}\'',
        monkeypatch,
    )
    docker(tmp_path, credHelpers={HOST: "test"}, auths={HOST: packed("wrong", "wrong")})
    assert found(tmp_path).credentials == Credentials("ada", "from-helper")


def test_the_helper_of_all_hosts_is_asked_under_the_key_that_docker_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    answer = json.dumps({"Username": "<token>", "Secret": "identity"})
    script = f"test \"$(cat)\" = https://{HOST} && echo '{answer}'"
    helper(tmp_path / "bin", "test", script, monkeypatch)
    docker(tmp_path, credsStore="test", auths={f"https://{HOST}": {}})
    assert found(tmp_path).credentials == Credentials("", "", "identity")


def test_a_helper_that_has_nothing_leaves_what_is_written_down(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    helper(tmp_path / "bin", "test", "echo 'credentials not found in native keychain'; exit 1", monkeypatch)
    docker(tmp_path, credsStore="test", auths={HOST: packed("ada", "secret")})
    assert found(tmp_path) == Found(Credentials("ada", "secret"))


@pytest.mark.parametrize(
    ("script", "told"),
    [
        (None, "cannot find the program 'docker-credential-test'"),
        ("echo hunter2; exit 3", "'docker-credential-test' ended with code 3"),
        ("echo hunter2", "docker-credential-test did not answer with credentials"),
        ("sleep 5", "did not end within"),
    ],
)
def test_a_helper_that_fails_is_told_and_its_words_are_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, script: str | None, told: str
) -> None:
    monkeypatch.setattr(credentials, "HELPER_PATIENCE", 0.3)
    if script:
        helper(tmp_path / "bin", "test", script, monkeypatch)
    docker(tmp_path, credHelpers={HOST: "test"})
    result = found(tmp_path)
    assert result.credentials is None
    assert told in "".join(result.notes)
    assert "hunter2" not in repr(result)


@pytest.mark.parametrize("name", ["../../bin/sh", "a b", "", "x" * 70])
def test_a_helper_with_an_odd_name_is_not_run(tmp_path: Path, name: str) -> None:
    docker(tmp_path, credHelpers={HOST: name})
    assert found(tmp_path).credentials is None


@pytest.mark.parametrize(
    "content", [b"", b"{", b"[]", b'{"auths": []}', b'{"auths": {"registry.example:5000": {"auth": "%%%"}}}']
)
def test_a_file_that_is_no_configuration_is_no_login(tmp_path: Path, content: bytes) -> None:
    (tmp_path / ".docker").mkdir()
    (tmp_path / ".docker/config.json").write_bytes(content)
    assert found(tmp_path).credentials is None


def test_a_secret_is_in_no_repr() -> None:
    assert "hunter2" not in repr(Credentials("ada", "hunter2", "hunter2"))
