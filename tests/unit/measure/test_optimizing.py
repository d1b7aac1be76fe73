"""What is chosen, and what is written of it: all or nothing, and no file of the user's replaced."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import NoReturn

import pytest

from modeldeploy.config import edit
from modeldeploy.config.load import load
from modeldeploy.errors import ConfigError
from modeldeploy.measure.contest import Accuracy, Samples
from modeldeploy.measure.noise import Ratio
from modeldeploy.measure.search import ORIGINAL, Found, Search, Settings, Variant, rows_chosen
from modeldeploy.ops import optimizing
from modeldeploy.ops.optimizing import Optimized, Wish

TEXT = """\
[project]
name = "digits"
version = "1.0.0"

[model]
path = "models/m.onnx"  # mine
golden = "golden.npz"

[service]
threads = 2
"""
EXACT = Accuracy(40, 0, 1.0, 0.0, 0.0, 0.0)
BEYOND = "3 of 40 samples are beyond the tolerance"
NOW = Settings("all", 2, 64)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "models").mkdir()
    (tmp_path / "models/m.onnx").write_bytes(b"old")
    (tmp_path / "golden.npz").write_bytes(b"")
    (tmp_path / "modeldeploy.toml").write_text(TEXT)
    return tmp_path


def variant(name: str, middle: float = 1.0, *, path: Path | None = None, error: float = 0.0) -> Variant:
    return Variant(
        name=name,
        kind="form",
        state="original" if name == ORIGINAL else "kept",
        path=path,
        accuracy=replace(EXACT, largest=error),
        p50=1e-5,
        ratio=Ratio(middle, middle * 0.98, middle * 1.02),
        better=middle < 0.9,
    )


def concluded(
    folder: Path,
    tmp_path: Path,
    *,
    threads: int | None = None,
    rows: int | None = None,
    dry_run: bool = False,
) -> Optimized:
    """What `optimize` does with an int8 form that is twice as quick."""
    source = tmp_path / "int8-dynamic.onnx"
    source.write_bytes(b"new")
    form = replace(variant("int8", 0.5, path=source), state="chosen")
    found = Found((variant(ORIGINAL, path=folder / "models/m.onnx"), form), 0.03, form, threads, rows)
    project = load(folder)
    return optimizing._concluded(project, folder / "models/m.onnx", NOW, found, Wish(dry_run=dry_run))


def content(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_the_choice_is_written_and_the_old_model_stays(folder: Path, tmp_path: Path) -> None:
    told = concluded(folder, tmp_path, threads=1, rows=16)

    assert (folder / "models/m.int8.onnx").read_bytes() == b"new"
    assert (folder / "models/m.onnx").read_bytes() == b"old"
    file = load(folder).file
    assert (file.model.path, file.service.threads, file.service.batch_rows) == ("models/m.int8.onnx", 1, 16)
    assert "# mine" in (folder / "modeldeploy.toml").read_text()
    assert told.undo == (
        'set [model] path = "models/m.onnx", set [service] threads = 2, remove [service] batch_rows,'
        " delete m.int8.onnx"
    )
    assert "int8: 2.00 times quicker" in told.verdict
    assert told.next == "mdeploy build --bump patch"


def test_a_dry_run_writes_nothing_and_says_what_it_would(folder: Path, tmp_path: Path) -> None:
    before = content(folder / "models") | {"toml": (folder / "modeldeploy.toml").read_bytes()}

    told = concluded(folder, tmp_path, dry_run=True)

    assert content(folder / "models") | {"toml": (folder / "modeldeploy.toml").read_bytes()} == before
    assert (told.written, told.path, told.undo, told.next) == (False, None, "", "")
    assert told.changes == ('[model] path = "models/m.int8.onnx"',)
    assert told.verdict.startswith("would write")


def test_no_file_of_the_user_s_is_replaced(folder: Path, tmp_path: Path) -> None:
    (folder / "models/m.int8.onnx").write_bytes(b"precious")

    concluded(folder, tmp_path)

    assert (folder / "models/m.int8.onnx").read_bytes() == b"precious"
    assert load(folder).file.model.path == "models/m.int8-2.onnx"


def test_the_same_result_again_makes_no_second_file(folder: Path, tmp_path: Path) -> None:
    (folder / "models/m.int8.onnx").write_bytes(b"new")

    concluded(folder, tmp_path)

    assert sorted(path.name for path in (folder / "models").iterdir()) == ["m.int8.onnx", "m.onnx"]


@pytest.mark.parametrize("error", [KeyboardInterrupt, ConfigError])
def test_an_interruption_leaves_both_files_or_neither(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Callable[[str], BaseException]
) -> None:
    def fails(*_: object) -> NoReturn:
        raise error("now")

    monkeypatch.setattr(edit, "set_values", fails)
    with pytest.raises((KeyboardInterrupt, ConfigError)):
        concluded(folder, tmp_path)

    assert sorted(path.name for path in (folder / "models").iterdir()) == ["m.onnx"]
    assert (folder / "modeldeploy.toml").read_text() == TEXT


def test_an_interruption_after_the_project_file_keeps_the_model_it_names(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write = edit.set_values

    def then_fails(path: Path, values: optimizing.Values) -> None:
        write(path, values)
        raise KeyboardInterrupt

    monkeypatch.setattr(edit, "set_values", then_fails)
    with pytest.raises(KeyboardInterrupt):
        concluded(folder, tmp_path)

    assert (folder / "models/m.int8.onnx").exists()
    assert load(folder).file.model.path == "models/m.int8.onnx"


def search(**how: float) -> Search:
    made = Search(
        Path("m.onnx"), Samples(Path("g"), True, 0, 0), NOW, aim="latency", python=Path("p"), folder=Path()
    )
    for name, value in how.items():
        setattr(made, name, value)
    return made


def test_the_best_is_taken_and_of_equals_the_most_exact() -> None:
    base, half, near = variant(ORIGINAL), variant("int8", 0.50, error=0.1), variant("fp16", 0.51, error=0.001)

    assert search()._best([base, half, near], 0.03) is near
    assert search()._best([base, half, variant("fp16", 0.7)], 0.03) is half
    assert search()._best([base, variant("fp16", 0.95)], 0.03) is base


@pytest.mark.parametrize(
    ("accuracy", "max_loss", "told"),
    [
        (EXACT, 0.0, ""),
        (
            replace(EXACT, failed=3, needed=0.034),
            0.0,
            f"{BEYOND}; model.tolerance with atol = 0.04 would allow it",
        ),
        (replace(EXACT, failed=3, needed=0.034, labels=0.9), 0.5, BEYOND),
        (replace(EXACT, labels=0.95), 0.0, "2 of 40 samples get another label"),
        (replace(EXACT, labels=0.95), 0.05, ""),
    ],
)
def test_numbers_keep_to_the_tolerance_and_labels_to_the_loss(
    accuracy: Accuracy, max_loss: float, told: str
) -> None:
    assert search(max_loss=max_loss)._refused(accuracy) == told


@pytest.mark.parametrize(
    ("rates", "now", "wanted"),
    [
        ({1: 100, 16: 1000, 64: 1010}, 64, None),  # as good as the best: leave it
        ({1: 100, 16: 1000, 64: 500}, 64, 16),
        ({1: 100, 16: 1000, 64: 1010}, 0, 16),
        ({1: 100, 16: 60, 64: 50}, 64, 0),
        ({1: 100, 16: 100, 64: 100}, 0, None),
        ({1: 100, 16: 1000}, 48, None),  # not measured: nothing is known of it
    ],
)
def test_the_smallest_batch_that_does_nearly_all_is_chosen(
    rates: dict[int, float], now: int, wanted: int | None
) -> None:
    rows = [Variant(f"{count}", "rows", "kept", rows=count, rate=rate) for count, rate in rates.items()]

    assert rows_chosen(rows, now, 0.03) == wanted
