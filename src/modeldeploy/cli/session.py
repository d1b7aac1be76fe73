"""What one command has at hand: its words, the project, the streams, and a view for events."""

from __future__ import annotations

from contextlib import contextmanager
from typing import NamedTuple

from modeldeploy.cli.completion import project_folder

TYPE_CHECKING = False
if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from modeldeploy.cli.terminal import Terminal
    from modeldeploy.cli.views import View


LOCKS = ("modeldeploy.lock", "modeldeploy.image.lock")


class Answer(NamedTuple):
    """What a command found or did."""

    result: object
    """For ``--json``: a dataclass or JSON values."""
    lines: Sequence[str]
    """The same for people."""
    code: int = 0
    ok: bool = True
    """False: the command did its work, and the answer is no."""


class Session:
    """One run of one command."""

    def __init__(self, command: str, values: argparse.Namespace, terminal: Terminal) -> None:
        self.command = command
        self.values = values
        self.terminal = terminal
        self.json: bool = values.json

    @property
    def root(self) -> Path:
        """The project's folder."""
        return project_folder(self.values.project)

    @property
    def target(self) -> str:
        """The target that was named, or the project's only one. Raises `ConfigError`."""
        from modeldeploy.config.peek import peek

        return peek(self.root, self.values.target).target

    def view(self, *, of_rollout: bool = False) -> View:
        """Where this command's events go: JSON lines, plain lines, or a live view."""
        from modeldeploy.cli import views

        if self.json:
            return views.JsonView(self.terminal)
        if not self.terminal.live:
            return views.PlainView(self.terminal)
        if of_rollout:
            from modeldeploy.cli.live import LiveView

            return LiveView(self.terminal)
        from modeldeploy.cli.working import WorkView

        return WorkView(self.terminal)

    @contextmanager
    def telling_of_locks(self) -> Iterator[None]:
        """Tell people afterwards which lock was written: it belongs into version control."""
        before = {name: _content(self.root / name) for name in LOCKS}
        yield
        for name, content in before.items():
            if _content(self.root / name) != content:
                what = "has changed" if content else "is new"
                self.note(f"{name} {what}: commit it, and it is the same everywhere")

    def note(self, text: str) -> None:
        """Tell people something beside the answer."""
        if not self.json:
            self.terminal.tell(text)


def _content(path: Path) -> bytes | None:
    try:
        return path.read_bytes()
    except OSError:
        return None
