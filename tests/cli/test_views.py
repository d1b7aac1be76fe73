"""Rollouts as lines, and as the live picture, from events that the real engine emitted.

To write the recorded lines again: MDEPLOY_REGENERATE=1 python -m pytest tests/cli/test_views.py
To watch one: python tests/cli/scenes.py promoted
"""

from __future__ import annotations

import io
import json
import os
import re
from pathlib import Path

import pytest
from rich.console import Console

from cli import scenes
from modeldeploy.cli.live import LiveView
from modeldeploy.cli.progress import Progress
from modeldeploy.cli.terminal import Terminal
from modeldeploy.cli.views import JsonView, PlainView
from modeldeploy.events import Event


def streams(encoding: str = "utf-8") -> tuple[Terminal, io.TextIOWrapper, io.TextIOWrapper]:
    out, err = (io.TextIOWrapper(io.BytesIO(), encoding=encoding, write_through=True) for _ in range(2))
    return Terminal(out, err, {}), out, err


def written(stream: io.TextIOWrapper) -> str:
    buffer = stream.buffer
    assert isinstance(buffer, io.BytesIO)
    return buffer.getvalue().decode(stream.encoding)


def drawn(view: LiveView, *, width: int = 100, height: int = 40, encoding: str = "utf-8") -> str:
    """The picture as it is now, on a terminal of that size."""
    file = io.StringIO()
    view._console = Console(file=file, width=width, height=height, legacy_windows=False)
    view._console.print(view.picture())
    return file.getvalue()


@pytest.mark.parametrize("scene", scenes.SCENES)
def test_plain_lines_tell_a_rollout_as_recorded(scene: str, tmp_path: Path) -> None:
    terminal, out, err = streams()
    with PlainView(terminal) as view:
        for event in scenes.SCENES[scene](tmp_path):
            view.show(event)

    told = "".join(line[10:] + "\n" for line in written(err).splitlines())
    recorded = Path(__file__).parent / "recorded" / f"{scene}.txt"
    if os.environ.get("MDEPLOY_REGENERATE"):
        recorded.write_text(told, encoding="utf-8")
    assert told == recorded.read_text("utf-8")
    assert not written(out)


def test_plain_lines_begin_with_the_time_and_hold_no_escape_sequences(tmp_path: Path) -> None:
    terminal, _, err = streams()
    with PlainView(terminal) as view:
        view.show(Event("build.step", 1_800_000_000.0, "lock \x1b[31mpackages\x1b[0m"))

    assert re.fullmatch(r"\d\d:\d\d:\d\d  lock packages\n", written(err))


def test_every_event_is_one_json_line(tmp_path: Path) -> None:
    events = scenes.promoted(tmp_path)
    terminal, out, _ = streams(encoding="ascii")
    with JsonView(terminal) as view:
        for event in events:
            view.show(event)

    told = [json.loads(line) for line in written(out).splitlines()]
    assert [line["kind"] for line in told] == [event.kind for event in events]
    assert all(line["type"] == "event" for line in told)


def test_the_live_picture_shows_steps_traffic_gates_and_soak_in_words(tmp_path: Path) -> None:
    view = LiveView(streams()[0])
    events = scenes.promoted(tmp_path)
    last_judgement = max(i for i, event in enumerate(events) if event.kind == "judge")
    for event in events[: last_judgement + 1]:
        view.progress.take(event)

    picture = drawn(view)

    assert "Canary rollout of 1.1.0-3f2a9c1b to take over from 1.0.0-3f2a9c1b" in picture
    assert "✓ send 5 % to 1.1.0-3f2a9c1b, 95 % to 1.0.0-3f2a9c1b" in picture
    assert "▸ judge 1.1.0-3f2a9c1b" in picture
    assert "· send 100 % to 1.1.0-3f2a9c1b, now stable" in picture
    assert "candidate 50 %  stable 50 %" in picture
    assert "█" * 20 + "░" * 20 in picture
    assert "error rate" in picture
    assert "4 of 4 s" in picture


@pytest.mark.parametrize("scene", scenes.SCENES)
@pytest.mark.parametrize(("width", "height"), [(80, 24), (60, 24), (200, 60)])
def test_the_picture_fits_the_terminal_at_every_moment(
    scene: str, width: int, height: int, tmp_path: Path
) -> None:
    view = LiveView(streams()[0])
    for event in scenes.SCENES[scene](tmp_path):
        view.progress.take(event)
        lines = drawn(view, width=width, height=height).splitlines()
        assert max(map(len, lines)) <= width
        assert len(lines) <= height


def test_a_rejection_stays_in_the_picture_with_its_numbers(tmp_path: Path) -> None:
    view = LiveView(streams()[0])
    for event in scenes.rejected(tmp_path):
        view.progress.take(event)

    picture = drawn(view)

    assert "✗ judge 1.1.0-3f2a9c1b beside 1.0.0-3f2a9c1b  failed" in picture
    assert "Going back: 1.1.0-3f2a9c1b failed: error_rate 20 %" in picture
    assert "✓ delete 1.1.0-3f2a9c1b" in picture
    assert "candidate 0 %  stable 100 %" in picture
    assert "Rejected after" in picture


def test_the_picture_is_ascii_where_the_terminal_is(tmp_path: Path) -> None:
    view = LiveView(streams(encoding="ascii")[0])
    for event in scenes.promoted(tmp_path):
        view.progress.take(event)

    picture = drawn(view)

    assert picture.isascii()
    assert "ok send 25 %" in picture


def test_a_small_share_is_visible_and_a_large_one_not_all(tmp_path: Path) -> None:
    view = LiveView(streams()[0])
    view.progress.candidate, view.progress.stable = "new", "old"
    for share, bar in ((1, "█" + "░" * 39), (99, "█" * 39 + "░"), (0, "░" * 40), (100, "█" * 40)):
        view.progress.weights = {"new": share, "old": 100 - share}
        assert bar in drawn(view)


def test_the_live_view_runs_on_a_stream_and_ends_with_the_outcome(tmp_path: Path) -> None:
    terminal, _, err = streams()
    with LiveView(terminal) as view:
        view.show(Event("build.step", 0.0, "built digits:1.1.0"))
        for event in scenes.rolled_back(tmp_path):
            view.show(event)
        view.notice("Interrupted: stopping where it is safe.")

    told = written(err)
    assert "built digits:1.1.0" in told
    assert "Rollback to 1.0.0-3f2a9c1b" in told
    assert "Rolled-back after" in told


def test_a_rollout_that_is_resumed_begins_in_the_middle() -> None:
    progress = Progress()
    steps = [{"kind": "create", "sentence": "create x"}, {"kind": "judge", "sentence": "judge x"}]
    progress.take(Event("rollout.start", 0.0, "resume x", {"action": "resume", "steps": steps}))
    progress.take(Event("step.begin", 0.0, "judge x", {"index": 1, "sentence": "judge x"}))

    assert [step.state for step in progress.steps] == ["done", "running"]


def test_a_terminal_that_has_gone_does_not_stop_a_rollout(tmp_path: Path) -> None:
    terminal, out, err = streams()
    for stream in (out, err):
        stream.close()
    with PlainView(terminal) as plain, JsonView(terminal) as lines:
        for event in scenes.promoted(tmp_path):
            plain.show(event)
            lines.show(event)

    assert terminal.unread
