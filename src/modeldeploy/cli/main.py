"""Where ``mdeploy`` starts: the quickest way to an answer, and to the command's own modules."""

from __future__ import annotations

import os
import sys

from modeldeploy.cli.terminal import Terminal

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command line. Returns the exit code (docs/reference/exit-codes.md)."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    if "_ARGCOMPLETE" in os.environ:
        from modeldeploy.cli.completion import complete

        complete()
    terminal = Terminal.standard()
    try:
        return _answer(words, terminal)
    except KeyboardInterrupt:
        return 130
    finally:
        terminal.close()


def _answer(words: list[str], terminal: Terminal) -> int:
    if words in (["--help"], ["-h"], ["help"], []):
        from modeldeploy.cli.catalog import overview

        (terminal.say if words else terminal.tell)(overview())
        return 0 if words else 2
    if words in (["--version"], ["-V"]):
        from modeldeploy import __version__

        terminal.say(f"mdeploy {__version__}")
        return 0
    from modeldeploy.cli.edge import run

    return run(words, terminal)
