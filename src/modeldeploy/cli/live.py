"""The live view of a rollout in a terminal: steps, traffic, gates, time. Redrawn in place by rich.

It says everything in words and numbers; colour and signs only repeat them.
"""

from __future__ import annotations

import time
from types import TracebackType
from typing import Self

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.table import Table
from rich.text import Text

from modeldeploy.cli import text
from modeldeploy.cli.progress import Line, Progress
from modeldeploy.cli.terminal import Terminal
from modeldeploy.cli.views import PlainView
from modeldeploy.events import Event

_STYLES = {"waiting": "dim", "running": "bold", "done": "green", "failed": "red"}
_VERDICTS = {"pass": "green", "fail": "bold red", "inconclusive": "yellow"}
_WIDEST_BAR = 40
_BESIDE_BAR = 44
_FEWEST_STEPS = 3


class LiveView:
    """Events as a picture that changes. Events of other kinds (a build's) are lines above it."""

    def __init__(self, terminal: Terminal) -> None:
        self.progress = Progress()
        self._terminal = terminal
        self._lines = PlainView(terminal)
        self._began = time.monotonic()
        self._notice = ""
        self._sign = len(terminal.mark("done"))
        self._console = Console(file=terminal.err, no_color=not terminal.colour, highlight=False)
        self._live = Live(
            console=self._console,
            get_renderable=self.picture,
            refresh_per_second=8,
            redirect_stdout=False,
            redirect_stderr=False,
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            self._live.stop()
        except OSError:
            return

    def show(self, event: Event) -> None:
        """Take an event into the picture."""
        try:
            self._show(event)
        except OSError:
            return  # the terminal has gone; the rollout has not

    def notice(self, message: str) -> None:
        """Keep a sentence in sight below the picture."""
        self._notice = message

    @property
    def _bar(self) -> int:
        return max(10, min(_WIDEST_BAR, self._console.width - _BESIDE_BAR))

    def picture(self) -> RenderableType:
        """What is to be seen now."""
        head, below = self._head(), Group(*self._traffic(), *self._gates(), Text(), self._foot())
        taken = len(self._console.render_lines(Group(head, below), pad=False))
        room = max(_FEWEST_STEPS, self._console.height - taken - 1)
        return Group(head, *self._steps(room), below)

    def _show(self, event: Event) -> None:
        rollout = event.kind.split(".")[0] in ("rollout", "step", "traffic", "judge", "rollback")
        if not rollout:
            for line in self._lines.lines(event):
                self._console.print(Text(line))
            return
        self.progress.take(event)
        if event.kind in ("rollback.start", "rollout.end"):
            self._notice = ""  # the picture itself shows now what it announced
        if not self._live.is_started:
            self._began = time.monotonic()
            self._live.start()

    def _head(self) -> Text:
        progress = self.progress
        if not progress.candidate:
            return Text(f"{progress.action.capitalize()} to {progress.stable or 'nothing'}", style="bold")
        head = Text(f"{progress.strategy.capitalize()} rollout of ", style="bold")
        head.append(progress.candidate, style="bold cyan")
        if progress.stable and progress.stable != progress.candidate:
            head.append(f" to take over from {progress.stable}")
        return head

    def _steps(self, room: int) -> list[Text]:
        steps = list(self.progress.steps)
        at = next((i for i, step in enumerate(steps) if step.state == "running"), len(steps))
        first = max(0, min(at - room // 2, len(steps) - room))
        shown = [self._step(step) for step in steps[first : first + room]]
        if first:
            shown[0] = Text(f"  ... {first + 1} steps before", style="dim")
        if first + room < len(steps):
            shown[-1] = Text(f"  ... {len(steps) - first - room + 1} more steps", style="dim")
        return shown

    def _step(self, step: Line) -> Text:
        line = Text(
            f"  {self._terminal.mark(step.state):<{self._sign}} ", style=_STYLES[step.state], no_wrap=True
        )
        line.append(step.sentence)
        if step.seconds and step.seconds >= 0.05:
            line.append(f"  {text.duration(step.seconds)}", style="dim")
        if step.state == "failed":
            line.append("  interrupted" if self.progress.going_back == "interrupted" else "  failed")
        if step.note:
            line.append(f"  {text.clean(step.note)}", style="not bold")
        line.overflow = "ellipsis"
        return line

    def _traffic(self) -> list[Text]:
        progress = self.progress
        if not progress.weights:
            return []
        if not progress.candidate:
            return [Text(), Text(f"  traffic  {text.shares(progress.weights)}")]
        mine, width = progress.share(progress.candidate), self._bar
        cells = round(mine * width / 100)
        if mine not in (0, 100):
            cells = min(width - 1, max(1, cells))  # a little is not nothing, and most is not all
        bar = Text("  traffic  ")
        bar.append(self._terminal.mark("full") * cells, style="cyan")
        bar.append(self._terminal.mark("empty") * (width - cells), style="green")
        bar.append(f"  candidate {mine} %", style="cyan")
        if progress.stable and progress.stable != progress.candidate:
            bar.append(f"  stable {progress.share(progress.stable)} %", style="green")
        return [Text(), bar]

    def _gates(self) -> list[RenderableType]:
        judged = self.progress.judged
        measures = judged.get("measures") or ()
        if not judged:
            return []
        grid = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="dim")
        for name in text.GATE_HEADER:
            grid.add_column(
                "  GATE" if name == "GATE" else name,
                justify="right" if name in text.GATE_HEADER[1:4] else "left",
            )
        for measure in measures:
            *cells, verdict, note = text.gate_row(measure)
            grid.add_row(f"  {cells[0]}", *cells[1:], Text(verdict, style=_VERDICTS.get(verdict, "")), note)
        return [Text(), grid, self._soak()]

    def _soak(self) -> Text:
        judged = self.progress.judged
        elapsed, soak = float(judged.get("elapsed") or 0), float(judged.get("soak") or 0)
        part = min(1.0, elapsed / soak) if soak else 1.0
        line = Text("  soak     ")
        cells = round(part * self._bar)
        line.append(self._terminal.mark("full") * cells, style="dim")
        line.append(self._terminal.mark("empty") * (self._bar - cells), style="dim")
        line.append(f"  {elapsed:.0f} of {soak:.0f} s, {text.number(judged.get('requests'), '')} requests")
        if elapsed > soak:
            line.append(f", waiting for a verdict up to {soak + float(judged.get('patience') or 0):.0f} s")
        return line

    def _foot(self) -> Text:
        progress = self.progress
        foot = Text("  ")
        if progress.going_back:
            foot.append(f"Going back: {text.clean(progress.going_back)}\n  ", style="yellow")
        if self._notice:
            foot.append(f"{self._notice}\n  ", style="yellow")
        state = progress.outcome.capitalize() or "Elapsed"
        foot.append(
            f"{state} {'after ' if progress.outcome else ''}{text.duration(time.monotonic() - self._began)}"
        )
        return foot
