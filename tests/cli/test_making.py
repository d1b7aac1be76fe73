"""The commands that make things, and those that look before anything is made."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from cli.conftest import Type
from modeldeploy import __version__, ops
from modeldeploy.bundle.build import Built
from modeldeploy.events import Emit, Event
from modeldeploy.model import BundleRef, Finding, Level
from modeldeploy.ops.making import GoldenFile, SmokeCheck, SmokeReport


@pytest.fixture
def made(mdeploy: Type, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project from the template, which is the current folder."""
    monkeypatch.chdir(tmp_path)
    assert mdeploy("init", "mÿ digits", "--name", "digits").code == 0
    monkeypatch.chdir(tmp_path / "mÿ digits")
    return tmp_path / "mÿ digits"


def test_init_says_where_the_project_is_and_what_comes_next(
    mdeploy: Type, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)

    typed = mdeploy("init", "two words")

    assert typed.code == 0
    assert typed.out.splitlines()[1] == "next: cd 'two words' && mdeploy build"
    assert (tmp_path / "two words" / "modeldeploy.toml").exists()


def test_init_below_a_project_makes_it_where_it_was_typed(mdeploy: Type, made: Path) -> None:
    told = json.loads(mdeploy("init", "inner", "--json").out)

    assert told["result"] == {"path": str(made / "inner"), "template": "onnx"}


def test_init_takes_the_folder_of_project_as_its_start(mdeploy: Type, tmp_path: Path) -> None:
    assert mdeploy("init", "new", "--project", str(tmp_path)).code == 0
    assert (tmp_path / "new" / "modeldeploy.toml").exists()


def test_init_refuses_to_write_over_a_project(mdeploy: Type, made: Path) -> None:
    typed = mdeploy("init")

    assert typed.code == 3
    assert "modeldeploy.toml" in typed.err


def test_check_of_a_new_project_finds_no_error(mdeploy: Type, made: Path) -> None:
    typed = mdeploy("check")

    assert typed.code == 0, typed.out
    assert "no errors" in typed.out
    levels = {
        finding["level"] for finding in json.loads(mdeploy("check", "--json").out)["result"]["findings"]
    }
    assert "error" not in levels


def test_check_lists_findings_with_their_remedies_and_ends_with_5(
    mdeploy: Type, project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    findings = [
        Finding("model", Level.OK, "reads"),
        Finding("port", Level.ERROR, "8080 is taken", "choose another", "modeldeploy.toml:9"),
        Finding("golden", Level.WARNING, "none\nat all", "mdeploy golden"),
    ]
    monkeypatch.setattr(ops, "check", lambda _: findings)

    typed = mdeploy("check")

    assert typed.code == 5
    assert typed.out.splitlines() == [
        "✓  ok       model   reads",
        "✗  error    port    8080 is taken (modeldeploy.toml:9)",
        "                    try: choose another",
        "!  warning  golden  none",
        "                    at all",
        "                    try: mdeploy golden",
        "1 error, 1 warning",
    ]
    told = json.loads(mdeploy("check", "--json").out)
    assert (told["type"], told["ok"], told["exit_code"]) == ("result", False, 5)


def test_doctor_works_without_a_project(
    mdeploy: Type, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)

    typed = mdeploy("doctor")

    assert typed.code == 0, typed.out
    assert "python" in typed.out
    assert "envoy" in typed.out


def test_doctor_says_what_images_need_and_that_only_they_do(
    mdeploy: Type, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("modeldeploy.image.base.mirrors.shutil.which", lambda _: None)

    typed = mdeploy("doctor")

    assert "images   mdeploy image cannot make a base of Debian packages here" in typed.out
    assert "needs apt-get" in typed.out


def test_build_prints_reference_and_digest_and_tells_what_it_does(
    mdeploy: Type, project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[object] = []

    def build(_root: Path, *, bump: str | None, upgrade: bool, emit: Emit) -> Built:
        asked.append((bump, upgrade))
        emit(Event("build.step", 0.0, "resolving the packages", {"step": "lock", "state": "started"}))
        emit(Event("build.warning", 0.0, "left out: x.bin"))
        return Built(BundleRef("digits", "1.0.1", "sha256:12"), project / "bundle", unchanged=False)

    monkeypatch.setattr(ops, "build", build)

    typed = mdeploy("build", "--bump", "patch")
    told = json.loads(mdeploy("build", "--json").out.splitlines()[-1])["result"]

    assert asked == [("patch", False), (None, False)]
    assert typed.out == "digits:1.0.1  sha256:12\n"
    assert "resolving the packages" in typed.err
    assert "WARNING  left out: x.bin" in typed.err
    assert told == {
        "ref": "digits:1.0.1",
        "digest": "sha256:12",
        "path": str(project / "bundle"),
        "unchanged": False,
    }


@pytest.mark.parametrize(("passed", "code"), [(True, 0), (False, 4)])
def test_test_tells_each_check_and_its_exit_code_the_verdict(
    mdeploy: Type, project: Path, monkeypatch: pytest.MonkeyPatch, *, passed: bool, code: int
) -> None:
    checks = (SmokeCheck("ready", True, "after 1.0 s"), SmokeCheck("golden", passed, "16 samples"))
    report = SmokeReport("digits:1.0.0", "sha256:12", passed, checks, 1.5)
    monkeypatch.setattr(ops, "smoke", lambda *_, **__: report)

    typed = mdeploy("test")

    assert typed.code == code
    assert typed.out.splitlines()[0] == "✓  ok      ready    after 1.0 s"
    assert ("does NOT work" in typed.out) is not passed
    told = json.loads(mdeploy("test", "--json").out)
    assert (told["ok"], told["result"]["passed"]) == (passed, passed)


def test_golden_and_lock_name_the_file_that_they_wrote(
    mdeploy: Type, project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = GoldenFile(project / "golden.npz", 20, named=True)
    monkeypatch.setattr(ops, "golden", lambda *_, **__: made)
    monkeypatch.setattr(ops, "lock", lambda *_, **__: project / "modeldeploy.lock")

    assert f"20 golden samples are in {project / 'golden.npz'}" in mdeploy("golden").out
    assert mdeploy("golden").out.endswith("next: mdeploy build\n")
    monkeypatch.setattr(ops, "golden", lambda *_, **__: replace(made, named=False))
    assert 'name it, or it is no part of the bundle: [model] golden = "golden.npz"' in mdeploy("golden").out
    assert mdeploy("lock").out == f"{project / 'modeldeploy.lock'}\n"


def test_the_schema_is_printed_as_it_is_so_that_it_can_be_saved(mdeploy: Type) -> None:
    schema = json.loads(mdeploy("schema").out)

    assert "targets" in schema["properties"]
    assert json.loads(mdeploy("schema", "--json").out)["result"]["schema"] == schema


def test_version_says_what_a_bug_report_needs(mdeploy: Type) -> None:
    assert mdeploy("--version").out == f"mdeploy {__version__}\n"
    told = json.loads(mdeploy("version", "--json").out)["result"]
    assert set(told) == {"mdeploy", "python", "system", "prefix"}
