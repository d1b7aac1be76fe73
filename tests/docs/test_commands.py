"""The reference of commands, exit codes, JSON lines and events says what the code does."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from modeldeploy.cli.arguments import parser_for
from modeldeploy.cli.catalog import GROUPS, names
from modeldeploy.cli.parser import EXIT_CODES

REFERENCE = Path(__file__).parents[2] / "docs" / "reference"


def page(name: str) -> str:
    return (REFERENCE / name).read_text("utf-8")


def section(command: str) -> str:
    """What the page says about one command."""
    parts = page("commands.md").split(f"\n### mdeploy {command}\n")
    assert len(parts) == 2, f"'{command}' needs exactly one section"
    return re.split(r"\n##+ ", parts[1])[0]


def test_the_page_has_the_commands_of_help_in_its_order() -> None:
    headings = re.findall(r"^(##+) (?:mdeploy )?(.+)$", page("commands.md"), re.MULTILINE)
    wanted: list[tuple[str, str]] = [("##", "Common options")]
    for group, commands in GROUPS:
        wanted += [("##", group), *(("###", name) for name, _ in commands)]

    assert headings == wanted


@pytest.mark.parametrize("name", names())
def test_each_argument_and_option_is_described_and_no_other(name: str) -> None:
    parser = parser_for(name)
    common = parser.common._group_actions
    wanted = {
        word
        for action in parser._actions
        if action not in common
        for word in (action.option_strings or [str(action.metavar)])
    }
    rows = re.findall(r"^\| (`.+?) \|", section(name), re.MULTILINE)
    described = {word.split()[0] for row in rows for word in re.findall(r"`([^`]+)`", row)}

    assert described == wanted


@pytest.mark.parametrize("name", names())
def test_each_example_of_help_and_each_exit_code_is_there(name: str) -> None:
    parser, text = parser_for(name), section(name)

    assert all(typed in text for typed, _ in parser.examples)
    (codes,) = re.findall(r"^Exit codes: (.+)\.$", text, re.MULTILINE)
    assert codes == ", ".join(str(code) for code in (0, *parser.codes))


def test_the_common_options_are_described() -> None:
    text = page("commands.md").split("## Common options")[1].split("\n## ")[0]

    for action in parser_for("status").common._group_actions:
        assert all(f"`{option}" in text for option in action.option_strings)


def test_every_exit_code_is_described() -> None:
    rows = re.findall(r"^\| (\d+) \|", page("exit-codes.md"), re.MULTILINE)

    assert [int(row) for row in rows] == sorted(EXIT_CODES)


def test_every_command_s_json_result_is_described() -> None:
    table = page("json-output.md").split("## Results")[1].split("### A target")[0]

    assert set(re.findall(r"`([a-z]+)`", " ".join(re.findall(r"^\| (.+?) \|", table, re.MULTILINE)))) == set(
        names()
    )
