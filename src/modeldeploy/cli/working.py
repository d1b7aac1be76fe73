"""The view of work that is no rollout, in a terminal: what is being done, bytes and rates, drawn by rich."""

from __future__ import annotations

from types import TracebackType
from typing import Self

from rich.console import Console
from rich.progress import (
    BarColumn,
    DownloadColumn,
    Progress,
    ProgressColumn,
    SpinnerColumn,
    Task,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
    TransferSpeedColumn,
)
from rich.text import Text

from modeldeploy.cli import text
from modeldeploy.cli.terminal import Terminal
from modeldeploy.cli.views import PlainView
from modeldeploy.events import Event

_OVER = ("done", "stopped", "failed")


class _OnlyBytes(ProgressColumn):
    """Another column, for tasks that count bytes; nothing for those that only take their time."""

    def __init__(self, inner: ProgressColumn) -> None:
        super().__init__()
        self._inner = inner

    def render(self, task: Task) -> Text | ProgressColumn:  # type: ignore[override]  # a bar is no Text
        return self._inner.render(task) if task.total else Text()  # type: ignore[return-value]  # the same


class WorkView:
    """A line for each thing that is going on, gone when it is done; what is done stands above as text."""

    def __init__(self, terminal: Terminal) -> None:
        self._lines = PlainView(terminal)
        self._tasks: dict[str, TaskID] = {}
        self._console = Console(file=terminal.err, no_color=not terminal.colour, highlight=False)
        counted = (BarColumn(24), DownloadColumn(), TransferSpeedColumn(), TimeRemainingColumn())
        self._progress = Progress(
            SpinnerColumn(),
            TextColumn("{task.description}", markup=False),
            *(_OnlyBytes(column) for column in counted),
            TimeElapsedColumn(),
            console=self._console,
            transient=True,
            redirect_stdout=False,
            redirect_stderr=False,
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            self._progress.stop()
        except OSError:
            return

    def show(self, event: Event) -> None:
        """Show an event."""
        try:
            self._show(event)
        except OSError:
            return  # the terminal has gone; the work has not

    def notice(self, message: str) -> None:
        """Show a sentence that is no event."""
        self._console.print(Text(message))

    def _show(self, event: Event) -> None:
        name, state = _task_of(event)
        if name is None:
            self._print(event)
        elif state in _OVER:
            if name in self._tasks:
                self._progress.remove_task(self._tasks.pop(name))
            self._print(event)
        else:
            self._advance(name, event)

    def _advance(self, name: str, event: Event) -> None:
        if name not in self._tasks:
            self._progress.start()
            told = str(event.data.get("name") or event.message)
            self._tasks[name] = self._progress.add_task(text.clean(told), total=None)
        if event.kind == "measure.step":  # its message says how far it is
            self._progress.update(self._tasks[name], description=text.clean(event.message))
        done, total = event.data.get("done"), event.data.get("total")
        if isinstance(done, int) and isinstance(total, int):
            self._progress.update(self._tasks[name], completed=done, total=total)

    def _print(self, event: Event) -> None:
        for line in self._lines.lines(event):
            self._console.print(Text(line))


def _task_of(event: Event) -> tuple[str | None, str]:
    """Which piece of work an event is about, and how far that is; no name for a plain message."""
    if event.kind not in ("build.step", "image.step", "measure.step", "transfer"):
        return None, ""
    name = event.data.get("id") or event.data.get("step") or event.kind
    return f"{event.kind} {name}", str(event.data.get("state") or "")
