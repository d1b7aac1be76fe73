"""Where the command line writes: two streams that may be closed, full, piped or not UTF-8.

Imports little on purpose: ``mdeploy --help`` goes through here.
"""

from __future__ import annotations

import errno
import os
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import TextIO

_STYLES = {"bold": "1", "dim": "2", "red": "31", "green": "32", "yellow": "33", "cyan": "36"}

_MARKS = {
    "done": ("✓", "ok"),
    "failed": ("✗", "x"),
    "running": ("▸", ">"),
    "waiting": ("·", "."),
    "warning": ("!", "!"),
    "full": ("█", "#"),
    "half": ("▒", "="),
    "empty": ("░", "-"),
}


class Terminal:
    """Standard output for answers, standard error for progress and errors.

    Never raises for what the reader does: a pipe that was closed is no error, and a stream that
    cannot be written is remembered in ``broken`` and left alone from then on.
    """

    def __init__(self, out: TextIO | None, err: TextIO | None, environ: Mapping[str, str]) -> None:
        self.out = out
        self.err = err
        self.broken: OSError | None = None
        """Why standard output cannot be written; None while it can be, or if its reader has gone."""
        self._gone: set[int] = set()
        capable = environ.get("TERM", "") != "dumb"
        interactive = _is_tty(out) and _is_tty(err)
        self.colour = capable and not environ.get("NO_COLOR")
        self.live = interactive and capable and not environ.get("CI") and not environ.get("NO_COLOR")
        """A view that redraws itself may be shown."""
        for stream in (out, err):
            if stream is not None and hasattr(stream, "reconfigure"):
                stream.reconfigure(errors="replace")

    @classmethod
    def standard(cls) -> Terminal:
        """The process's own streams."""
        return cls(sys.stdout, sys.stderr, os.environ)

    @property
    def unread(self) -> bool:
        """True once nobody reads standard output any more."""
        return self.out is None or id(self.out) in self._gone

    def plain(self) -> None:
        """From now on: no colour and nothing that redraws itself."""
        self.colour = self.live = False

    def say(self, text: str) -> None:
        """Write a line (or several) of the answer."""
        self._write(self.out, text)

    def tell(self, text: str) -> None:
        """Write a line (or several) about what is going on."""
        self._write(self.err, text)

    def styled(self, text: str, style: str) -> str:
        """The text for standard error in a style; as it is where there is no colour.

        Style adds to words and never replaces them.
        """
        if not self.colour or not _is_tty(self.err):
            return text
        return f"\x1b[{_STYLES[style]}m{text}\x1b[0m"

    def mark(self, name: str) -> str:
        """A sign such as a tick; ASCII where the terminal's encoding has no other."""
        sign, ascii_sign = _MARKS[name]
        try:
            sign.encode(getattr(self.err, "encoding", None) or "ascii")
        except (UnicodeEncodeError, LookupError):
            return ascii_sign
        return sign

    def close(self) -> None:
        """Write out what is buffered, and leave nothing for Python to fail on when it exits."""
        for stream in (self.out, self.err):
            if stream is None:
                continue
            try:
                stream.flush()
            except (OSError, ValueError) as error:
                self._give_up(stream, error)

    def _write(self, stream: TextIO | None, text: str) -> None:
        if stream is None or id(stream) in self._gone:
            return
        try:
            stream.write(text + "\n")
            stream.flush()
        except (OSError, ValueError) as error:
            self._give_up(stream, error)

    def _give_up(self, stream: TextIO, error: OSError | ValueError) -> None:
        self._gone.add(id(stream))
        quiet = not isinstance(error, OSError) or error.errno in (errno.EPIPE, errno.EIO)
        if stream is self.out and not quiet and isinstance(error, OSError):
            self.broken = error
        _divert(stream)


def _is_tty(stream: TextIO | None) -> bool:
    try:
        return stream is not None and stream.isatty()
    except ValueError:
        return False


def _divert(stream: TextIO) -> None:
    """Send what the stream still holds to nowhere, so that flushing it at exit succeeds."""
    try:
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, stream.fileno())
        os.close(nowhere)
    except (OSError, ValueError):
        return
