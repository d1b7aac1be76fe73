"""Work that is no rollout: bytes and steps as lines, and as bars in a terminal."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from modeldeploy.cli import text
from modeldeploy.cli.terminal import Terminal
from modeldeploy.cli.views import PlainView
from modeldeploy.cli.working import WorkView
from modeldeploy.events import Event


def moving(at: float, done: int) -> Event:
    return Event(
        "transfer", at, "pushing digits:1.0.0", {"id": "a", "done": done, "total": 2000, "state": "moving"}
    )


STARTED = Event(
    "transfer", 0.0, "pushing digits:1.0.0", {"id": "a", "done": 0, "total": 2000, "state": "started"}
)
DONE = Event(
    "transfer", 21.0, "pushed digits:1.0.0", {"id": "a", "done": 2000, "total": 2000, "state": "done"}
)


def terminal() -> tuple[Terminal, io.StringIO]:
    err = io.StringIO()
    return Terminal(io.StringIO(), err, {}), err


@pytest.mark.parametrize(
    ("count", "told"),
    [
        (0, "0 B"),
        (999, "999 B"),
        (7912, "7.9 kB"),
        (123_456, "123 kB"),
        (12_400_000, "12.4 MB"),
        (5e9, "5.0 GB"),
    ],
)
def test_bytes_are_told_in_a_unit_that_is_read_at_a_glance(count: float, told: str) -> None:
    assert text.size(count) == told


def test_a_log_has_the_begin_the_end_and_a_line_every_ten_seconds() -> None:
    view = PlainView(terminal()[0])
    events = [STARTED, *(moving(at, int(at * 95)) for at in (0.1, 5.0, 10.1, 12.0, 20.2)), DONE]

    lines = [line.split("  ", 1)[1] for event in events for line in view.lines(event)]

    assert lines == [
        "pushing digits:1.0.0",
        "pushing digits:1.0.0: 959 B of 2.0 kB",
        "pushing digits:1.0.0: 1.9 kB of 2.0 kB",
        "pushed digits:1.0.0",
    ]


def test_a_terminal_shows_a_bar_while_bytes_move_and_a_line_when_they_have() -> None:
    view = WorkView(terminal()[0])
    drawn = io.StringIO()
    view._console.file = drawn
    with view:
        view.show(STARTED)
        view.show(moving(1.0, 500))
        picture = io.StringIO()
        Console(file=picture, width=120).print(view._progress.get_renderable())
        view.show(DONE)

    assert "pushing digits:1.0.0" in picture.getvalue()
    assert "0.5/2.0 kB" in picture.getvalue()
    assert "pushed digits:1.0.0" in drawn.getvalue()
    assert view._tasks == {}


def test_a_step_of_a_build_has_its_line_while_it_runs_and_no_bar() -> None:
    view = WorkView(terminal()[0])
    view._console.file = io.StringIO()
    with view:
        view.show(Event("build.step", 0.0, "resolving", {"step": "lock", "state": "started"}))
        picture = io.StringIO()
        Console(file=picture, width=120).print(view._progress.get_renderable())

    assert "resolving" in picture.getvalue()
    assert "0:00:00" in picture.getvalue()
    assert "━" not in picture.getvalue()
