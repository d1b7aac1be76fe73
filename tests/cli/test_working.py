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


def moved(at: float, done: int, state: str = "running", how: str = "") -> Event:
    """As `modeldeploy.registry.transfer` tells it."""
    data = {"id": "1", "name": "model.onnx", "state": state, "how": how, "done": done, "total": 2000}
    return Event("transfer", at, f"model.onnx: {how or state}", data)


DONE = moved(21.0, 2000, "done", "sent")


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


def test_a_log_has_the_end_and_a_line_every_ten_seconds() -> None:
    view = PlainView(terminal()[0])
    events = [*(moved(at, int(at * 95)) for at in (0.1, 5.0, 10.2, 12.0, 20.3)), DONE]

    lines = [line.split("  ", 1)[1] for event in events for line in view.lines(event)]

    assert lines == [
        "model.onnx: 968 B of 2.0 kB",
        "model.onnx: 1.9 kB of 2.0 kB",
        "model.onnx: sent, 2.0 kB",
    ]


def test_a_log_is_silent_about_what_was_there_already() -> None:
    assert list(PlainView(terminal()[0]).lines(moved(1.0, 2000, "done", "present"))) == []


def test_a_terminal_shows_a_bar_while_bytes_move_and_a_line_when_they_have() -> None:
    view = WorkView(terminal()[0])
    drawn = io.StringIO()
    view._console.file = drawn
    with view:
        view.show(moved(1.0, 500))
        picture = io.StringIO()
        Console(file=picture, width=120).print(view._progress.get_renderable())
        view.show(DONE)

    assert "model.onnx" in picture.getvalue()
    assert "0.5/2.0 kB" in picture.getvalue()
    assert "model.onnx: sent, 2.0 kB" in drawn.getvalue()
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
