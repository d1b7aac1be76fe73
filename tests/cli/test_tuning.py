"""bench and optimize: what they print, what they refuse, what their exit codes say."""

from __future__ import annotations

import io
import json
import re
from dataclasses import replace
from pathlib import Path

import pytest

from cli.conftest import Type
from modeldeploy import ops
from modeldeploy.cli import charts
from modeldeploy.cli.terminal import Terminal
from modeldeploy.cli.views import PlainView
from modeldeploy.events import Event
from modeldeploy.measure.contest import Accuracy
from modeldeploy.measure.load import Level
from modeldeploy.measure.noise import Ratio
from modeldeploy.measure.search import Variant
from modeldeploy.ops import benching, optimizing
from modeldeploy.ops.benching import Bench
from modeldeploy.ops.optimizing import Optimized

LEVEL = Level(
    connections=1, seconds=5.0, requests=5000, rate=1000.0, rows=1000.0, errors={}, p50=0.001, p90=0.0012,
    p99=0.002, p999=0.004, max=0.006, timeline=(900.0, 1000.0, 1100.0), client=0.3, saturated=False, behind=0,
    cpu=0.8, others=0.0, rss=60_000_000, pss=50_000_000,
)  # fmt: skip
BENCH = Bench(
    ref="digits:1.0.0", digest="sha256:12", url=None, protocol="predict", rows=1, source="golden samples",
    loop="closed", rate=None, ready=0.3, processors=2, system="Linux x86_64",
    levels=(LEVEL, replace(LEVEL, connections=16, rate=8000.0, p999=None, errors={"status 503": 2})),
    notes=("Closed loop: ...",), saved=None,
)  # fmt: skip


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch, project: Path) -> list[object]:
    """What the commands asked of the use cases, which answer without measuring."""
    heard: list[object] = []

    def bench(_root: Path, ref: str | None, *, wish: benching.Wish, emit: object) -> Bench:
        heard.append((ref, wish))
        return BENCH

    def optimize(_root: Path, *, wish: optimizing.Wish, emit: object) -> Optimized:
        heard.append(wish)
        return OPTIMIZED

    monkeypatch.setattr(ops, "bench", bench)
    monkeypatch.setattr(ops, "optimize", optimize)
    return heard


def test_bench_prints_a_table_a_chart_and_what_to_know(mdeploy: Type, asked: list[object]) -> None:
    typed = mdeploy("bench")

    assert typed.code == 0
    lines = typed.out.splitlines()
    assert lines[0] == (
        "digits:1.0.0: predict, 1 row a request, inputs: golden samples; closed loop; 2 processors,"
        " Linux x86_64, ready after 0.30 s"
    )
    assert lines[3].split() == ["1", "1", "000", "1", "000", "1.00", "ms", "1.20", "ms", "2.00", "ms", "4.00",
                                "ms", "6.00", "ms", "0", "0.80", "50.0", "MB"]  # fmt: skip
    assert "  -  " in lines[4], "too few requests for the 99.9th percentile"
    assert any("●" in line and "▇" in line for line in lines)
    assert "  Closed loop: ..." in lines
    assert asked == [(None, benching.Wish())]


def test_bench_hands_on_what_was_typed(mdeploy: Type, asked: list[object], project: Path) -> None:
    line = "1.0.0 --concurrency 2,8 --duration 500ms --protocol v2-binary --rows 4 --rate 50 --save a.svg"
    mdeploy("bench", *line.split(), "--url", "http://127.0.0.1:1")

    assert asked == [
        ("1.0.0", benching.Wish((2, 8), 0.5, "v2-binary", 4, 50, "http://127.0.0.1:1", Path("a.svg")))
    ]


def test_bench_without_one_good_answer_ends_with_4(
    mdeploy: Type, asked: list[object], monkeypatch: pytest.MonkeyPatch
) -> None:
    bad = replace(LEVEL, requests=0, rate=0.0, p50=None, p90=None, p99=None, p999=None, max=None)
    monkeypatch.setattr(ops, "bench", lambda *_, **__: replace(BENCH, levels=(bad,)))

    typed = mdeploy("bench", "--json")

    told = json.loads(typed.out)
    assert (typed.code, told["ok"], told["result"]["levels"][0]["p50"]) == (4, False, None)


@pytest.mark.parametrize(
    ("words", "told", "code"),
    [
        (("--concurrency", "1,x"), "'x' is not a whole number", 2),
        (("--concurrency", ""), "is not a whole number", 2),
        (("--duration", "5"), "no time such as 5s", 2),
        (("--duration", "2h"), "expected 0.1 s to 300 s", 3),
        (("--protocol", "v3"), "is not one of predict, v2", 2),
        (("--save", "a.png"), "expected .html, .svg, .json", 3),
        (("--concurrency", "99999"), "expected 1 to 10,000", 3),
    ],
)
def test_bench_refuses_what_cannot_be(
    mdeploy: Type, project: Path, words: tuple[str, ...], told: str, code: int
) -> None:
    typed = mdeploy("bench", *words)

    assert typed.code == code
    assert told in typed.err


OPTIMIZED = Optimized(
    aim="latency", model="model.onnx", samples=40, noise=0.031,
    variants=(
        Variant("as it is", "form", "original", accuracy=Accuracy(40, 0, 1.0, 0.0, 0.0, 0.0), p50=6e-5,
                p99=1e-4, rate=1e5, size=4_500_000, memory=38_000_000, ratio=Ratio(1, 1, 1)),
        Variant("int8", "form", "chosen", accuracy=Accuracy(40, 0, 0.975, 0.01, 0.1, 0.01), p50=3e-5,
                p99=5e-5, rate=2e5, size=1_100_000, ratio=Ratio(0.5, 0.48, 0.55), better=True),
        Variant("fp16", "form", "failed", "nothing in it can be made fp16"),
        Variant("16 rows at once", "rows", "kept", rows=16, p50=1e-4, rate=1.6e5, ratio=Ratio(0.1, 0.1, 0.1)),
    ),
    chosen="int8", verdict="wrote into modeldeploy.toml: int8", changes=('[model] path = "model.int8.onnx"',),
    written=True, path=Path("model.int8.onnx"), undo='set [model] path = "model.onnx"',
    next="mdeploy build --bump patch", notes=("Noise: 3.1%.",), saved=None,
)  # fmt: skip


def test_optimize_prints_what_was_measured_written_and_how_to_undo_it(
    mdeploy: Type, asked: list[object]
) -> None:
    typed = mdeploy("optimize", "--for", "size", "--max-loss", "1%", "--quick", "--dry-run")

    assert typed.code == 0
    assert re.search(r"int8 +chosen +0.01 +97.5%", typed.out)
    assert "0.50 (0.48-0.55)" in typed.out
    assert "  fp16 cannot be made: nothing in it can be made fp16." in typed.out
    assert typed.out.splitlines()[-4:] == [
        "wrote into modeldeploy.toml: int8",
        '  [model] path = "model.int8.onnx"',
        'undo: set [model] path = "model.onnx"',
        "next: mdeploy build --bump patch",
    ]
    assert asked == [optimizing.Wish("size", 0.01, quick=True, dry_run=True)]


def test_optimize_tells_programs_the_same(mdeploy: Type, asked: list[object]) -> None:
    told = json.loads(mdeploy("optimize", "--json").out)["result"]

    assert told["variants"][1]["ratio"] == {"middle": 0.5, "low": 0.48, "high": 0.55}
    assert (told["chosen"], told["written"], told["path"]) == ("int8", True, "model.int8.onnx")


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("--for", "speed"), "is not one of"),
        (("--max-loss", "2"), "no share"),
        (("--max-loss", "x"), "no share"),
    ],
)
def test_optimize_refuses_what_cannot_be(
    mdeploy: Type, project: Path, words: tuple[str, str], told: str
) -> None:
    typed = mdeploy("optimize", *words)

    assert typed.code == 2
    assert told in typed.err


@pytest.mark.parametrize(
    ("more", "told", "hint"),
    [
        ('framework = "sklearn"', "no ONNX model", "mdeploy bench"),
        ("", "the project has none", "mdeploy golden --samples"),
        ('golden = "golden.json"', "holds whole requests", "golden.npz"),
    ],
)
def test_optimize_says_what_it_needs(mdeploy: Type, project: Path, more: str, told: str, hint: str) -> None:
    (project / "model.onnx").write_bytes(b"")
    (project / "golden.json").write_text("[]")
    file = project / "modeldeploy.toml"
    file.write_text(file.read_text("utf-8").replace('"model.onnx"', f'"model.onnx"\n{more}'), "utf-8")

    typed = mdeploy("optimize")

    assert typed.code == 3, typed.err
    assert told in typed.err
    assert hint in typed.err


def measured(state: str, message: str) -> Event:
    return Event("measure.step", 1.0, message, {"step": "connections-1", "state": state})


def test_a_log_has_the_beginning_and_the_end_of_each_measurement() -> None:
    view = PlainView(Terminal(io.StringIO(), io.StringIO(), {}))
    events = [measured("started", "1: 5 s"), measured("running", "1: 900/s"), measured("done", "1: 1000/s")]

    lines = [line.split("  ", 1)[1] for event in events for line in view.lines(event)]

    assert lines == ["1: 5 s", "1: 1000/s"]


def test_bars_and_lines_of_characters_are_as_wide_as_told() -> None:
    assert [charts.bar(share, 4) for share in (0, 0.5, 0.53, 1, 7)] == [
        "    ",
        "██  ",
        "██▏ ",
        "████",
        "████",
    ]
    assert charts.bar(0.5, 4, blocks=False) == "##  "
    assert charts.sparkline([0, 1, 2, 4]) == "▁▃▅█"
    assert len(charts.sparkline(list(range(1, 100)))) == 16
    assert charts.sparkline([]) == ""
    assert charts.span(1, 100, 1, 10_000, 9) == "●━━━○    "
    assert charts.span(1, 1, 1, 1, 5) == "●    "
    assert charts.fits("utf-8")
    assert not charts.fits("latin-1")
    assert not charts.fits(None)
