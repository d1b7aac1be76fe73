"""Command lines: argparse with errors that name the nearest word, and help that reads the same everywhere.

argparse's own help differs between Python versions and its messages between releases, so both are
written here; what is left to it is what it is good at, telling words apart.
"""

from __future__ import annotations

import argparse
from typing import NoReturn

from modeldeploy.cli.catalog import names, summary
from modeldeploy.errors import ModelDeployError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

_WIDTH = 80
_COLUMN = 26

EXIT_CODES = {
    0: "done",
    1: "an error that has no code of its own, or a bug (with a traceback file)",
    2: "the command line was not understood",
    3: "modeldeploy.toml or an option's value cannot be",
    4: "the model, its lock or its bundle is not usable",
    5: "a check failed: this machine or target lacks something",
    6: "the target did not answer, refused, or has been changed by somebody else",
    7: "somebody else is changing this target",
    8: "plan: there is something to do",
    10: "rolled back: users are safe on the old revision",
    11: "held: the rollout waits for resume or abort",
    12: "stuck: needs a person now; the message says where traffic is",
    130: "interrupted by Ctrl-C",
}


class UsageError(ModelDeployError):
    """The command line was not understood."""

    exit_code = 2


class _Formatter(argparse.HelpFormatter):
    """Used by argparse to check arguments. Told its width, it does not load `shutil` to find out."""

    def __init__(self, prog: str) -> None:
        super().__init__(prog, width=_WIDTH)


class Parser(argparse.ArgumentParser):
    """Parses one command's words. Raises `UsageError` and prints nothing."""

    def __init__(self, command: str) -> None:
        super().__init__(
            prog=f"mdeploy {command}".rstrip(),
            add_help=False,
            allow_abbrev=False,
            usage=argparse.SUPPRESS,
            formatter_class=_Formatter,
        )
        self.command = command
        self.text = ""
        self.examples: Sequence[tuple[str, str]] = ()
        self.codes: Sequence[int] = ()
        self.common = self.add_argument_group("Common options")

    def describe(self, text: str, examples: Sequence[tuple[str, str]], codes: Iterable[int] = ()) -> None:
        """Say what the command does, by examples (what to type, what it gives), and its own exit codes."""
        self.text = text
        self.examples = examples
        self.codes = tuple(codes)

    def error(self, message: str) -> NoReturn:
        """Refuse the command line. Called by argparse."""
        raise UsageError(_sentence(message), hint=f"{self.prog} --help")

    def read(self, words: Sequence[str]) -> argparse.Namespace:
        """The words as values. Raises `UsageError`, with the nearest option for one that is unknown."""
        values, unknown = self.parse_known_args(list(words))
        if not unknown:
            return values
        if unknown[0].startswith("-"):
            raise self._unknown_option(unknown[0].partition("=")[0])
        raise UsageError(
            f"'{self.prog}' does not know what to do with '{unknown[0]}'", hint=f"{self.prog} --help"
        )

    def _unknown_option(self, option: str) -> UsageError:
        known = [name for action in self._actions for name in action.option_strings]
        near = nearest(option, known)
        also = f"; did you mean {near}?" if near else ""
        return UsageError(f"'{self.prog}' has no option {option}{also}", hint=f"{self.prog} --help")

    def format_help(self) -> str:
        """The same text in every Python, 80 columns wide."""
        return _help(self)


def nearest(word: str, known: Iterable[str]) -> str | None:
    """The known word that looks most like this one; None where none does."""
    from difflib import get_close_matches

    found = get_close_matches(word, list(known), n=1, cutoff=0.6)
    return found[0] if found else None


def unknown_command(word: str) -> UsageError:
    """The error for a command that is not there, naming the nearest that is."""
    near = nearest(word, names())
    also = f"; did you mean '{near}'?" if near else ""
    return UsageError(f"mdeploy has no command '{word}'{also}", hint="mdeploy --help")


def one_of(*choices: str) -> Callable[[str], str]:
    """An argument's type: one of these words, else an error that names the nearest."""

    def choose(word: str) -> str:
        if word in choices:
            return word
        near = nearest(word, choices)
        also = f"; did you mean '{near}'?" if near else ""
        raise argparse.ArgumentTypeError(f"'{word}' is not one of {', '.join(choices)}{also}")

    return choose


def whole_number(least: int) -> Callable[[str], int]:
    """An argument's type: a whole number, at least ``least``."""

    def read(word: str) -> int:
        if word.isascii() and word.isdigit() and int(word[:12]) >= least:
            return int(word[:12])
        raise argparse.ArgumentTypeError(f"'{word}' is not a whole number of {least} or more")

    return read


def _sentence(message: str) -> str:
    """argparse's message without its jargon: ``argument --tail: expected one argument``."""
    message = message.removeprefix("argument ")
    return message.replace("the following arguments are required", "missing")


def _help(parser: Parser) -> str:
    arguments = [action for action in parser._actions if not action.option_strings]  # noqa: SLF001 - own base class
    options = [action for action in parser._actions if action.option_strings]  # noqa: SLF001 - own base class
    common = parser.common._group_actions  # noqa: SLF001 - argparse has no public way to list a group
    own = [action for action in options if action not in common]
    lines = [*_wrap(summary(parser.command).capitalize() + ".", 0), ""]
    lines += [f"Usage: {_usage(parser.prog, arguments, own)}", ""]
    for paragraph in parser.text.strip().split("\n\n"):
        lines += [*_wrap(" ".join(paragraph.split()), 0), ""]
    for title, actions in (("Arguments", arguments), ("Options", own), ("Common options", common)):
        if actions:
            lines += [f"{title}:", *(line for action in actions for line in _entry(action)), ""]
    lines += ["Examples:", *_examples(parser.examples)]
    if parser.codes:
        lines += ["", "Exit codes (all: docs/reference/exit-codes.md):"]
        lines += [f"  {code:>3}  {EXIT_CODES[code]}" for code in (0, *parser.codes)]
    return "\n".join(lines)


def _examples(examples: Sequence[tuple[str, str]]) -> list[str]:
    column = max(len(typed) for typed, _ in examples) + 5
    lines: list[str] = []
    for typed, gives in examples:
        first, *more = _wrap(gives, column) or [""]
        lines += [f"  {typed}{first[len(typed) + 2 :]}", *more]
    return lines


def _usage(prog: str, arguments: Sequence[argparse.Action], options: Sequence[argparse.Action]) -> str:
    words = [prog]
    words += [f"[{action.metavar}]" if action.nargs == "?" else str(action.metavar) for action in arguments]
    words += [_option(action) for action in options if action.required]
    return " ".join([*words, "[options]"])


def _option(action: argparse.Action) -> str:
    flags = ", ".join(action.option_strings)
    return flags if action.nargs == 0 else f"{flags} {action.metavar}"


def _entry(action: argparse.Action) -> list[str]:
    head = _option(action) if action.option_strings else str(action.metavar)
    body = _wrap(action.help or "", _COLUMN)
    first = f"  {head}"
    if len(first) < _COLUMN - 1:
        return [first + body[0][len(first) :], *body[1:]]
    return [first, *body]


def _wrap(text: str, indent: int) -> list[str]:
    lines: list[str] = []
    for word in text.split():
        if lines and len(lines[-1]) + 1 + len(word) <= _WIDTH:
            lines[-1] += f" {word}"
        else:
            lines.append(" " * indent + word)
    return lines
