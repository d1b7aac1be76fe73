"""What pages and messages tell people to type is understood."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

import modeldeploy
from modeldeploy.cli.arguments import parser_for
from modeldeploy.cli.catalog import names
from pages import inline, name_of, pages, typed

SOURCE = Path(modeldeploy.__file__).parent
EACH_PAGE = pytest.mark.parametrize("page", pages(), ids=name_of)
NO_COMMAND = {"COMMAND", "help", "--help", "--version"}
"""What may stand in a command's place."""


@EACH_PAGE
def test_every_command_line_in_a_page_is_understood(page: Path) -> None:
    for command, *words in typed(page.read_text("utf-8")):
        if command not in NO_COMMAND:
            parser_for(command).read(words)


@EACH_PAGE
def test_every_command_within_a_sentence_exists(page: Path) -> None:
    for span in inline(page.read_text("utf-8")):
        if span.startswith("mdeploy "):
            _, command, *words = span.split()
            assert command in {*names(), *NO_COMMAND}, span
            assert unknown_options(command, words) == [], span


@pytest.mark.parametrize("module", sorted(SOURCE.rglob("*.py")), ids=lambda path: path.stem)
def test_every_option_in_a_message_exists(module: Path) -> None:
    for text in texts(module):
        for command, words in re.findall(r"mdeploy ([a-z]+)((?: +[\w:./-]+)*)", text):
            assert unknown_options(command, words.split()) == [], text


def unknown_options(command: str, words: list[str]) -> list[str]:
    if command not in names():
        return []
    known = {option for action in parser_for(command)._actions for option in action.option_strings}
    return [word for word in words if word.startswith("-") and word not in known and word.strip("-")]


def texts(module: Path) -> Iterator[str]:
    """Every string in a module."""
    for node in ast.walk(ast.parse(module.read_text("utf-8"))):
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield node.value
