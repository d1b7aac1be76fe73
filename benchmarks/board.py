"""What was measured: rows (the things compared), columns (what of them), and a value per round in each."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

Task = Callable[[], Mapping[str, float]]
"""Measures one thing once: a value for each column. What it prepares first is not in the value."""


@dataclass(frozen=True, slots=True)
class Spread:
    """One cell: the median of all rounds, and the middle half of them."""

    median: float
    low: float
    high: float
    n: int


@dataclass(slots=True)
class Board:
    """One table. ``base`` is the row that the others are ratios of; None where nothing is compared."""

    name: str
    title: str
    base: str | None = None
    notes: list[str] = field(default_factory=list)
    """Sentences that belong under the table."""
    rows: dict[str, dict[str, list[float]]] = field(default_factory=dict)

    def add(self, row: str, values: Mapping[str, float]) -> None:
        """Note one round's values of a row."""
        cells = self.rows.setdefault(row, {})
        for column, value in values.items():
            cells.setdefault(column, []).append(value)

    @property
    def columns(self) -> list[str]:
        """Every column that some row has, in the order of first mention."""
        return list(dict.fromkeys(column for cells in self.rows.values() for column in cells))

    def spread(self, row: str, column: str) -> Spread | None:
        """Median and middle half; None for a row that has no such value."""
        values = self.rows[row].get(column)
        if not values:
            return None
        low, _, high = statistics.quantiles(values, n=4, method="inclusive") if values[1:] else values * 3
        return Spread(statistics.median(values), low, high, len(values))

    def ratio(self, row: str, column: str) -> float | None:
        """How many times the base's value: the median of the ratios within each round.

        Within a round the machine was equally busy for both, so this varies less than the values do.
        """
        values = self.rows[row].get(column)
        base = self.rows[self.base].get(column) if self.base else None
        if not values or not base:
            return None
        return statistics.median(value / other for value, other in zip(values, base, strict=False))


def take_turns(board: Board, tasks: Mapping[str, Task], rounds: int, *, warm_up: bool = False) -> None:
    """Measure all tasks in every round, each time beginning with another one.

    ``warm_up``: a first round does not count (byte code is written, files come into the page cache).
    """
    if warm_up:
        for task in tasks.values():
            task()
    for name in tasks:
        board.rows.setdefault(name, {})  # the table's order, whoever begins
    order = list(tasks)
    for number in range(rounds):
        first = number % len(order)
        for name in order[first:] + order[:first]:
            board.add(name, tasks[name]())
