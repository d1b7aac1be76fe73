"""The results as a part of docs/explanation/measurements.md, and as JSON values."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path

from benchmarks.board import Board

BEGIN, END = "<!-- results: made by `make bench` -->", "<!-- end of results -->"


def page(facts: Mapping[str, str], boards: Sequence[Board]) -> str:
    """Everything as Markdown with aligned tables."""
    lines = ["", *_aligned(("conditions", ""), [(name, told) for name, told in facts.items()]), ""]
    for board in boards:
        lines += [f"### {board.title}", "", *_table(board), ""]
        for note in board.notes:
            lines += [note, ""]
    return "\n".join(lines)


def put(results: str, path: Path) -> None:
    """Replace what stands between the marks of a page. Raises ValueError where there are none."""
    pattern = re.compile(f"{re.escape(BEGIN)}.*{re.escape(END)}", re.DOTALL)
    text, found = pattern.subn(lambda _: f"{BEGIN}\n{results}\n{END}", path.read_text())
    if not found:
        raise ValueError(f"{path} has no line {BEGIN}")
    path.write_text(text)


def values(facts: Mapping[str, str], boards: Sequence[Board]) -> dict[str, object]:
    """The same for programs, with the value of every round."""
    return {"conditions": dict(facts), "tables": [_board_values(board) for board in boards]}


def _board_values(board: Board) -> dict[str, object]:
    rows = {
        row: {column: _cell_values(board, row, column) for column in cells}
        for row, cells in board.rows.items()
    }
    return {"name": board.name, "title": board.title, "base": board.base, "notes": board.notes, "rows": rows}


def _cell_values(board: Board, row: str, column: str) -> dict[str, object]:
    spread = board.spread(row, column)
    told = asdict(spread) if spread else {}
    return {**told, "ratio": board.ratio(row, column), "values": board.rows[row][column]}


def _table(board: Board) -> Iterator[str]:
    header = [""]
    for column in board.columns:
        header += [column, "times"] if board.base else [column]
    yield from _aligned(header, [_row(board, row) for row in board.rows])


def _row(board: Board, row: str) -> list[str]:
    cells = [row]
    for column in board.columns:
        spread, ratio = board.spread(row, column), board.ratio(row, column)
        told = f"{_short(spread.median)} ({_short(spread.low)}-{_short(spread.high)})" if spread else ""
        cells.append(told)
        if board.base:
            cells.append(f"{_short(ratio)}" if ratio is not None else "")
    return cells


def _short(value: float) -> str:
    """Three digits that mean something."""
    digits = 2 if abs(value) < 10 else 1 if abs(value) < 100 else 0
    return f"{value:,.{digits}f}"


def _aligned(header: Sequence[str], rows: Sequence[Sequence[str]]) -> Iterator[str]:
    widths = [max(len(cell) for cell in column) for column in zip(header, *rows, strict=True)]
    numbers = [False, *(bool(name) for name in header[1:])]
    rule = [
        "-" * (width - 1) + ":" if right else "-" * width
        for width, right in zip(widths, numbers, strict=True)
    ]
    for cells in (header, [line or "-" for line in rule], *rows):
        padded = (
            cell.rjust(width) if right else cell.ljust(width)
            for cell, width, right in zip(cells, widths, numbers, strict=True)
        )
        yield f"| {' | '.join(padded)} |"
