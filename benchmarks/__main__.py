"""Run the measurements and print them: ``python -m benchmarks --help``."""

from __future__ import annotations

import argparse
import json
import signal
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from types import ModuleType

from benchmarks import build, envoy, images, machine, ready, report, rollback, serving, start
from benchmarks.board import Board
from benchmarks.place import Place

SCENARIOS: Mapping[str, ModuleType] = {
    "start": start,
    "build": build,
    "ready": ready,
    "rollback": rollback,
    "envoy": envoy,
    "images": images,
    "serving": serving,
}
ONLY_BY_NAME = {"images", "serving"}
"""What needs more than this project (Docker as root; wrk and five environments), and many minutes a round."""


def main() -> None:
    """Measure what was asked for, print the tables, and leave nothing behind."""
    given = _parser().parse_args()
    names = given.names or [name for name in SCENARIOS if name not in ONLY_BY_NAME]
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that everything is stopped then, too
    before = machine.busy()
    began = time.monotonic()
    with Place() as place:
        boards = [board for name in names for board in _measured(name, place, given.rounds)]
        facts = machine.facts(place)
    facts |= {
        "load average before, after": f"{before}; {machine.busy()}",
        "took": f"{time.monotonic() - began:.0f} s, {given.rounds} rounds",
        "again": f'make bench ARGS="{" ".join([*given.names, "--rounds", str(given.rounds)])}"',
    }
    page = report.page(facts, boards)
    print(page)
    if given.out:
        given.out.write_text(json.dumps(report.values(facts, boards), indent=1) + "\n")
    if given.into:
        report.put(page, given.into)


def _measured(name: str, place: Place, rounds: int) -> list[Board]:
    print(f"{name} ...", end="", file=sys.stderr, flush=True)
    began = time.monotonic()
    boards: list[Board] = SCENARIOS[name].run(place, rounds)
    print(f" {time.monotonic() - began:.0f} s", file=sys.stderr, flush=True)
    return boards


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks",
        description="Side-by-side measurements. Needs a machine that does nothing else, and some minutes.",
    )
    parser.add_argument(
        "names",
        nargs="*",
        metavar="NAME",
        help=f"{', '.join(SCENARIOS)}; otherwise all but images and serving",
    )
    parser.add_argument("--rounds", type=int, default=5, help="how often all take turns (default: 5)")
    parser.add_argument("--out", type=Path, metavar="FILE", help="also write every single value, as JSON")
    parser.add_argument(
        "--into", type=Path, metavar="PAGE", help="also put the tables between the marks of a Markdown page"
    )
    given = parser.parse_args()
    unknown = set(given.names) - set(SCENARIOS)
    if unknown:
        parser.error(f"there is no {', '.join(sorted(unknown))}; there are: {', '.join(SCENARIOS)}")
    if given.rounds < 1:
        parser.error("--rounds must be 1 or more")
    return parser


if __name__ == "__main__":
    main()
