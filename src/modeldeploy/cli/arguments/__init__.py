"""What each command takes, in words and in types. Loads none of what the commands do.

One module for each module of `modeldeploy.cli.commands`, in it one function for each command, of its name.
"""

from __future__ import annotations

import argparse
from importlib import import_module

from modeldeploy.cli.arguments.shared import common
from modeldeploy.cli.catalog import MODULES, names
from modeldeploy.cli.parser import Parser


def parser_for(command: str) -> Parser:
    """The parser of one command."""
    parser = Parser(command)
    _describe(command, parser)
    return parser


def whole_parser() -> argparse.ArgumentParser:
    """All commands in one parser: what completion needs."""
    root = Parser("")
    root.add_argument("--version", action="store_true", help="print the version")
    root.add_argument("-h", "--help", action="store_true", help="print help")
    commands = root.add_subparsers(parser_class=_Branch, metavar="COMMAND")
    for name in names():
        _describe(name, commands.add_parser(name, command=name))
    return root


def _describe(command: str, parser: Parser) -> None:
    module = import_module(f"modeldeploy.cli.arguments.{MODULES[command]}")
    getattr(module, command)(parser)
    common(parser)


class _Branch(Parser):
    """A parser below another one, which hands it keyword arguments of its own."""

    def __init__(self, *, command: str, **_: object) -> None:
        super().__init__(command)
