"""Events as lines: JSON for programs, plain text for pipes, CI and logs."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Mapping
from types import TracebackType
from typing import Any, Protocol, Self

from modeldeploy.cli import text
from modeldeploy.cli.jsonlines import event_line
from modeldeploy.cli.terminal import Terminal
from modeldeploy.events import Event

QUIET = 10.0
"""Seconds for which a judgement that has not changed is not told again."""


class View(Protocol):
    """Shows events while its context lasts. Showing never raises."""

    def __enter__(self) -> Self: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...

    def show(self, event: Event) -> None:
        """Show an event."""

    def notice(self, message: str) -> None:
        """Show a sentence that is no event, and that people should not miss."""


class _Lines:
    def __init__(self, terminal: Terminal) -> None:
        self.terminal = terminal

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        return

    def notice(self, message: str) -> None:
        self.terminal.tell(message)


class JsonView(_Lines):
    """Each event as a JSON line on standard output; notices on standard error."""

    def show(self, event: Event) -> None:
        self.terminal.say(event_line(event))


class PlainView(_Lines):
    """Each event as a line with its time, on standard error."""

    def __init__(self, terminal: Terminal) -> None:
        super().__init__(terminal)
        self._steps = 0
        self._step = 0
        self._last = ""
        self._judged: Mapping[str, Any] = {}
        self._told: tuple[float, object] = (0.0, None)
        self._moved = 0.0

    def show(self, event: Event) -> None:
        for line in self.lines(event):
            self.terminal.tell(line)

    def lines(self, event: Event) -> Iterator[str]:
        """The lines of an event; none for one that says what the last one said."""
        for line in self._lines(event):
            if line != self._last:
                self._last = line
                yield f"{text.clock_time(event.at or time.time())}  {text.clean(line)}"

    def _lines(self, event: Event) -> Iterable[str]:
        tell = getattr(self, f"_{event.kind.replace('.', '_')}", None)
        return [event.message] if tell is None else tell(event)

    def _build_warning(self, event: Event) -> Iterable[str]:
        yield f"{'WARNING':8} {event.message}"

    _audit_failed = _audit_delayed = _build_warning

    def _transfer(self, event: Event) -> Iterable[str]:
        """The end, and every ten seconds how far it is; nothing of what was there already."""
        data = event.data
        if data.get("state") == "done":
            return [] if data.get("how") == "present" else [f"{event.message}, {_size(data)}"]
        self._moved = self._moved or event.at
        if event.at - self._moved < QUIET:
            return []
        self._moved = event.at
        return [f"{data.get('name') or event.message}: {_part(data)}"]

    def _measure_step(self, event: Event) -> Iterable[str]:
        """Its beginning and its end: numbers that change several times a second are for a live view."""
        return [] if event.data.get("state") == "running" else [event.message]

    def _rollout_start(self, event: Event) -> Iterable[str]:
        data = event.data
        steps = data.get("steps")
        self._steps = len(steps) if isinstance(steps, list | tuple) else 0
        candidate, stable = data.get("candidate"), data.get("stable")
        if not candidate:
            yield f"{'BACK':8} to {stable}" if stable else f"{'BACK':8} to where nothing is served"
            return
        over = f", to take over from {stable}" if stable and stable != candidate else ""
        yield f"{'START':8} {data.get('strategy')} rollout of {candidate}{over}"

    def _step_begin(self, event: Event) -> Iterable[str]:
        index = event.data.get("index")
        self._step = index + 1 if isinstance(index, int) else self._step + 1
        of = f"/{self._steps}" if self._steps >= self._step else ""
        yield f"{f'[{self._step}{of}]':8} {event.data.get('sentence') or event.message}"

    def _step_progress(self, event: Event) -> Iterable[str]:
        yield f"{'':9}{event.message}"

    def _step_done(self, event: Event) -> Iterable[str]:
        yield from self._gates()
        seconds = _seconds(event.data)
        yield f"{'':9}done" + (f" in {text.duration(seconds)}" if seconds >= 0.05 else "")

    def _traffic(self, _event: Event) -> Iterable[str]:
        return ()  # the step that moved it has said so

    def _rollback_start(self, event: Event) -> Iterable[str]:
        yield from self._gates()
        label = "FAILED" if event.data.get("towards") == "rejected" else "RETURN"
        yield f"{label:8} {event.data.get('reason') or event.message}"

    def _rollout_held(self, event: Event) -> Iterable[str]:
        yield from self._gates()
        yield f"{'HELD':8} {event.message}"

    def _rollout_end(self, event: Event) -> Iterable[str]:
        yield f"{'END':8} {event.data.get('outcome')} after {text.duration(_seconds(event.data))}"

    def _judge(self, event: Event) -> Iterable[str]:
        self._judged = event.data
        verdict, (last, told) = event.data.get("verdict"), self._told
        if verdict == told and event.at - last < QUIET:
            return
        self._told = (event.at, verdict)
        elapsed, soak = (f"{event.data.get(name):g}" for name in ("elapsed", "soak"))
        yield f"{'':9}{elapsed} of {soak} s, {event.data.get('requests')} requests: {verdict}"

    def _gates(self) -> Iterable[str]:
        """The gates as they were when the judgement ended."""
        measures, self._judged, self._told = self._judged.get("measures") or (), {}, (0.0, None)
        for measure in measures:
            yield f"{'':11}{text.gate_sentence(measure)}"


def _size(data: Mapping[str, Any]) -> str:
    return text.size(data.get("total") or 0)


def _part(data: Mapping[str, Any]) -> str:
    return f"{text.size(data.get('done') or 0)} of {_size(data)}"


def _seconds(data: Mapping[str, object]) -> float:
    seconds = data.get("seconds")
    return float(seconds) if isinstance(seconds, int | float) else 0.0
