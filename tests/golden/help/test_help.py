"""Every --help, word for word. A change is seen in review.

To write the files again: MDEPLOY_REGENERATE=1 python -m pytest tests/golden/help
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from modeldeploy.cli.arguments import parser_for
from modeldeploy.cli.catalog import names, overview

FOLDER = Path(__file__).parent


def text_of(name: str) -> str:
    return (overview() if name == "mdeploy" else parser_for(name).format_help()) + "\n"


@pytest.mark.parametrize("name", ["mdeploy", *names()])
def test_the_help_reads_as_recorded(name: str) -> None:
    path = FOLDER / f"{name}.txt"
    if os.environ.get("MDEPLOY_REGENERATE"):
        path.write_text(text_of(name), encoding="utf-8")

    assert text_of(name) == path.read_text("utf-8")


def test_no_recorded_help_is_left_over() -> None:
    assert {path.stem for path in FOLDER.glob("*.txt")} == {"mdeploy", *names()}
