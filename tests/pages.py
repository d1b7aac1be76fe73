"""The documents of this repository, and what is in them."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

REPOSITORY = Path(__file__).parents[1]
DOCS = REPOSITORY / "docs"

_FENCE = re.compile(r"^( *)```(\w*)\n(.*?)^\1```", re.MULTILINE | re.DOTALL)
_LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
_HEADING = re.compile(r"^#+ +(.+)$", re.MULTILINE)
_OPERATORS = frozenset("();<>|&")


@dataclass(frozen=True, slots=True)
class Block:
    """A fenced block: its language ("" without one), and its text."""

    language: str
    text: str


def pages() -> list[Path]:
    """Every Markdown file that users or contributors read."""
    found = [*REPOSITORY.glob("*.md"), *DOCS.rglob("*.md")]
    for folder in ("examples", "templates"):
        found += (REPOSITORY / folder).rglob("*.md")
    return sorted(found)


def name_of(path: Path) -> str:
    """For messages and test ids."""
    return path.relative_to(REPOSITORY).as_posix()


def blocks(text: str) -> list[Block]:
    return [Block(found[2], found[3]) for found in _FENCE.finditer(text)]


def prose(text: str) -> str:
    """A page without its fenced blocks."""
    return _FENCE.sub("", text)


def links(text: str) -> list[str]:
    """Targets of links, but of those that leave the repository."""
    return [link for link in _LINK.findall(prose(text)) if not re.match(r"[a-z]+:", link)]


def anchors(text: str) -> set[str]:
    """Names of headings, as GitHub makes them."""
    return {
        re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")
        for heading in _HEADING.findall(prose(text))
    }


def inline(text: str) -> list[str]:
    """What is between single backticks."""
    return re.findall(r"(?<!`)`([^`\n]+)`(?!`)", prose(text))


def typed(text: str) -> Iterator[list[str]]:
    """Every `mdeploy` command line in a page's blocks, as words, the first of them left out."""
    for block in blocks(text):
        for line in block.text.splitlines():
            command = _command(block, line.strip())
            if command:
                yield from _of_mdeploy(command)


def _command(block: Block, line: str) -> str:
    if block.language == "console":
        return line.removeprefix("$ ") if line.startswith("$ ") else ""
    line = re.sub(r"^(- )?run: ", "", line)
    synopsis = "[" in line and block.language == ""
    return line if line.startswith("mdeploy ") and not synopsis else ""


def _of_mdeploy(command: str) -> Iterator[list[str]]:
    parts = shlex.shlex(command, posix=True, punctuation_chars=True)
    parts.whitespace_split = True
    words: list[str] = []
    for word in [*parts, ";"]:
        if set(word) <= _OPERATORS:
            if words[:1] == ["mdeploy"]:
                yield words[1:]
            words = []
        else:
            words.append(word)
