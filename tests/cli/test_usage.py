"""What people mistype, and what they are told."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from cli.conftest import Type
from modeldeploy.cli.arguments import parser_for
from modeldeploy.cli.catalog import MODULES, names
from modeldeploy.testing import FakeWorld


def test_no_words_show_the_overview_and_count_as_misuse(mdeploy: Type) -> None:
    typed = mdeploy()

    assert typed.code == 2
    assert "Usage: mdeploy COMMAND" in typed.err
    assert not typed.out


@pytest.mark.parametrize("words", [["--help"], ["-h"], ["help"]])
def test_help_is_an_answer(mdeploy: Type, words: list[str]) -> None:
    typed = mdeploy(*words)

    assert typed.code == 0
    assert "Usage: mdeploy COMMAND" in typed.out
    assert not typed.err


@pytest.mark.parametrize("words", [["deploy", "--help"], ["help", "deploy"], ["--help", "deploy"]])
def test_a_command_s_help_is_where_people_look_for_it(mdeploy: Type, words: list[str]) -> None:
    typed = mdeploy(*words)

    assert typed.code == 0
    assert "Usage: mdeploy deploy [TARGET] [BUNDLE] [options]" in typed.out


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["deplyo"], "error: mdeploy has no command 'deplyo'; did you mean 'deploy'?"),
        (["qqq"], "error: mdeploy has no command 'qqq'"),
        (["--versoin"], "error: mdeploy has no command '--versoin'"),
        (["status", "--jsno"], "error: 'mdeploy status' has no option --jsno; did you mean --json?"),
        (["status", "--js"], "error: 'mdeploy status' has no option --js"),
        (["logs", "--tial=5"], "error: 'mdeploy logs' has no option --tial; did you mean --tail?"),
        (["logs", "--tail"], "error: --tail: expected one argument"),
        (["logs", "--tail=-1"], "error: --tail: '-1' is not a whole number of 0 or more"),
        (["logs", "--tail", "²"], "error: --tail: '²' is not a whole number of 0 or more"),
        (["status", "local", "more"], "error: 'mdeploy status' does not know what to do with 'more'"),
        (["predict"], "error: missing: --input"),
        (["deploy", "--strategy", "cannary"], "did you mean 'canary'?"),
        (["completion", "powershell"], "'powershell' is not one of bash, zsh, fish"),
        (["help", "deplyo"], "did you mean 'deploy'?"),
        (["--project"], "error: mdeploy has no command '--project'"),
    ],
)
def test_a_slip_gets_the_nearest_word_and_exit_code_2(mdeploy: Type, words: list[str], said: str) -> None:
    typed = mdeploy(*words)

    assert typed.code == 2
    assert said in typed.err
    assert "try: mdeploy" in typed.err
    assert not typed.out


def test_a_slip_is_json_for_those_who_asked_for_it(mdeploy: Type) -> None:
    typed = mdeploy("status", "--json", "--plian")

    assert typed.code == 2
    told = json.loads(typed.out)
    assert told["type"] == "error"
    assert told["error"]["kind"] == "UsageError"
    assert told["error"]["exit_code"] == 2
    assert not typed.err


def test_an_unknown_target_gets_the_nearest_name(mdeploy: Type, project: Path) -> None:
    typed = mdeploy("history", "locla")

    assert typed.code == 3
    assert "no target 'locla'" in typed.err
    assert "hint: did you mean 'local'?" in typed.err


def test_common_options_may_stand_before_the_command(mdeploy: Type, world: FakeWorld, project: Path) -> None:
    typed = mdeploy("--json", "--project", str(project), "status")

    assert typed.code == 0
    assert json.loads(typed.out)["command"] == "status"


def test_the_project_is_found_from_a_folder_below_it(
    mdeploy: Type, world: FakeWorld, project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (project / "src" / "deep").mkdir(parents=True)
    monkeypatch.chdir(project / "src" / "deep")

    assert mdeploy("status").code == 0


def test_without_a_project_the_message_says_how_to_begin(
    mdeploy: Type, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)

    typed = mdeploy("status")

    assert typed.code == 3
    assert "modeldeploy.toml" in typed.err
    assert "mdeploy init" in typed.err


def test_every_command_has_a_parser_a_module_and_a_function() -> None:
    from importlib import import_module

    assert set(names()) == set(MODULES)
    for name, module in MODULES.items():
        assert parser_for(name).command == name
        assert callable(getattr(import_module(f"modeldeploy.cli.commands.{module}"), name))


@pytest.mark.parametrize("name", names())
def test_every_command_takes_the_common_options_and_shows_an_example(name: str) -> None:
    text = parser_for(name).format_help()

    assert {"--project", "--json", "--plain", "--help"} <= set(
        text.replace(",", " ").replace("\n", " ").split()
    )
    assert f"mdeploy {name}" in text.split("Examples:")[1]
    assert max(map(len, text.splitlines())) <= 80
