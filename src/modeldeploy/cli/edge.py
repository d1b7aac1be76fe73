"""The one place where an exception becomes a message, a hint and an exit code."""

from __future__ import annotations

import errno
import os
import sys
from contextlib import contextmanager

from modeldeploy import errors
from modeldeploy.cli.catalog import MODULES
from modeldeploy.cli.parser import UsageError, unknown_command
from modeldeploy.errors import ModelDeployError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from modeldeploy.cli.session import Answer
    from modeldeploy.cli.terminal import Terminal

_OVERLAY = "MDEPLOY_ENV"

_OF_THE_MACHINE = (
    errno.ENOSPC,
    errno.EDQUOT,
    errno.EROFS,
    errno.EACCES,
    errno.EPERM,
    errno.EMFILE,
    errno.ENFILE,
    errno.ENAMETOOLONG,
    errno.ENOMEM,
)
"""Refusals of the operating system that tell about this machine, not about a bug."""

_GO_ON = ("image", "lock", "pull", "push")
"""Commands that keep what they have, and go on there when they are typed again."""


class Stopped(ModelDeployError):
    """Somebody pressed Ctrl-C."""

    exit_code = 130


class Bug(ModelDeployError):
    """An exception that nobody expected."""


def run(words: Sequence[str], terminal: Terminal) -> int:
    """Run a command line that has at least one word. Returns the exit code; raises nothing."""
    command, rest = _split(list(words))
    as_json = "--json" in rest
    if "--plain" in rest:
        terminal.plain()
    try:
        answer = _carry_out(command, rest, terminal)
        return _finish(command, answer, terminal, as_json=as_json) if answer else 0
    except ModelDeployError as error:
        known = error
    except KeyboardInterrupt:
        known = _stopped(command, rest)
    except Exception as error:  # noqa: BLE001 - the edge: nothing may pass it
        known = _unexpected(error)
    return _fail(command, known, terminal, as_json=as_json)


def _split(words: list[str]) -> tuple[str, list[str]]:
    """The command and the rest. Common options may stand before the command, too."""
    if words[0] == "help":
        words = [*words[1:], "--help"]
    at = 0
    while at < len(words) and words[at].startswith("-"):
        at += 2 if words[at] in ("--project", "--env") else 1
    command = words[at] if at < len(words) else ""
    return command, words[:at] + words[at + 1 :]


def _carry_out(command: str, rest: list[str], terminal: Terminal) -> Answer | None:
    if command not in MODULES:
        raise unknown_command(command or rest[0])
    from modeldeploy.cli.arguments import parser_for

    parser = parser_for(command)
    if "--help" in rest or "-h" in rest:
        terminal.say(parser.format_help())
        return None
    values = parser.read(rest)
    from importlib import import_module

    from modeldeploy.cli.session import Session

    module = import_module(f"modeldeploy.cli.commands.{MODULES[command]}")
    with _overlay(values.env):
        answer: Answer | None = getattr(module, command)(Session(command, values, terminal))
    return answer


@contextmanager
def _overlay(name: str | None) -> Iterator[None]:
    """Use an overlay for this command, and for the programs that it starts."""
    former = os.environ.get(_OVERLAY)
    if name:
        os.environ[_OVERLAY] = name
    try:
        yield
    finally:
        if name and former is None:
            del os.environ[_OVERLAY]
        elif former is not None:
            os.environ[_OVERLAY] = former


def _finish(command: str, answer: Answer, terminal: Terminal, *, as_json: bool) -> int:
    if as_json:
        from modeldeploy.cli.jsonlines import result_line

        terminal.say(result_line(command, answer.result, ok=answer.ok, code=answer.code))
    else:
        from modeldeploy.cli.text import clean

        for line in answer.lines:  # names and notes in them may be a stranger's
            terminal.say(clean(line))
    if terminal.broken and not answer.code:
        reason = terminal.broken.strerror
        raise ModelDeployError(f"'mdeploy {command}' did its work, but cannot write its answer: {reason}")
    return answer.code


def _fail(command: str, error: ModelDeployError, terminal: Terminal, *, as_json: bool) -> int:
    from modeldeploy.cli import report

    if as_json:
        from modeldeploy.cli.jsonlines import error_line

        terminal.say(error_line(command, error, kind=kind_of(error), code=error.exit_code))
    else:
        for line in report.lines(error, terminal):
            terminal.tell(line)
    return error.exit_code


def kind_of(error: ModelDeployError) -> str:
    """The error's name for programs: a class of `modeldeploy.errors` (the nearest), or one of the edge's."""
    own = (UsageError, Stopped, Bug)
    for kind in type(error).__mro__:
        if kind in own or getattr(errors, kind.__name__, None) is kind:
            return kind.__name__
    return ModelDeployError.__name__


def _stopped(command: str, rest: list[str]) -> Stopped:
    if command in _GO_ON:
        from shlex import join

        return Stopped(
            "interrupted", hint=f"{join(['mdeploy', command, *rest])}    (it goes on where it ended)"
        )
    if command not in ("deploy", "promote", "rollback", "resume", "abort"):
        return Stopped("interrupted")
    words = [word for word in rest if not word.startswith("-")]
    target = next(iter(words[1:] if command == "promote" else words), "TARGET")
    return Stopped(
        f"interrupted in the middle of 'mdeploy {command}': traffic stays where it is now",
        hint=f"mdeploy resume {target}    (go on)\n"
        f"mdeploy abort {target}     (back to stable)\n"
        f"mdeploy status {target}    (look first)",
    )


def _unexpected(error: Exception) -> ModelDeployError:
    if isinstance(error, OSError) and error.errno in _OF_THE_MACHINE:
        name = f"{error.filename}: " if error.filename else ""
        return ModelDeployError(f"{name}{error.strerror}")
    from modeldeploy.cli.crash import record

    path = record(error, sys.argv[1:])
    where = f"; what happened is in {path}" if path else ""
    return Bug(
        f"this is a bug in mdeploy: {type(error).__name__}{where}",
        hint="report it, with that file" if path else "report it, with what you typed",
        details={"traceback": str(path) if path else None},
    )
