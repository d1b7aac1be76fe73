"""The pages hang together: links lead somewhere, every page can be found, nothing private is told."""

from __future__ import annotations

import json
import re
import tomllib
from pathlib import Path

import pytest

from modeldeploy.config.schema import ProjectFile
from pages import DOCS, REPOSITORY, anchors, blocks, links, name_of, pages

EACH_PAGE = pytest.mark.parametrize("page", pages(), ids=name_of)
HOSTS = {"127.0.0.1", "docs.bentoml.com", "router"}
HOSTS |= {"HOST", "registry.example.com", "mirror.example.com", "s3.example.com"}
HOSTS |= {"github.com", "token.actions.githubusercontent.com"}
"""Hosts that a page may name: the user's own machine, manuals, examples, and who vouches for a CI job."""


def missing(page: Path, link: str) -> str | None:
    """What is not where a link says."""
    path, _, anchor = link.partition("#")
    target = (page.parent / path).resolve() if path else page
    if not target.exists() or REPOSITORY not in target.parents:
        return f"{link}: no such file"
    if anchor and anchor not in anchors(target.read_text("utf-8")):
        return f"{link}: no such heading"
    return None


@EACH_PAGE
def test_every_link_leads_somewhere(page: Path) -> None:
    broken = [missing(page, link) for link in links(page.read_text("utf-8"))]

    assert [told for told in broken if told] == []


def test_every_page_can_be_reached_from_the_readme() -> None:
    reached, waiting = set(), [REPOSITORY / "README.md"]
    while waiting:
        page = waiting.pop()
        reached.add(page)
        found = ((page.parent / link.partition("#")[0]).resolve() for link in links(page.read_text("utf-8")))
        waiting += {path for path in found if path.suffix == ".md" and path.exists()} - reached

    assert sorted(name_of(page) for page in set(DOCS.rglob("*.md")) - reached) == []


@pytest.mark.parametrize("folder", ["how-to", "reference", "explanation", "architecture"])
def test_the_index_of_a_folder_names_each_of_its_pages(folder: str) -> None:
    there = {path.name for path in (DOCS / folder).glob("*.md")} - {"index.md"}

    assert there - set(links((DOCS / folder / "index.md").read_text("utf-8"))) == set()


@EACH_PAGE
def test_no_page_names_a_machine(page: Path) -> None:
    text = page.read_text("utf-8")

    assert re.findall(r"(?<![\w.~])/(?:home|root|Users|work|private|tmp/(?!mdeploy-))\S*", text) == []
    assert re.findall(r"\b(?!127\.|0\.0\.0\.0)\d{1,3}\.\d{1,3}\.\d{1,3}\.\d{1,3}\b", text) == []
    assert set(re.findall(r"https?://([\w.-]+)", text)) - HOSTS == set()


@EACH_PAGE
def test_every_project_file_in_a_page_is_one(page: Path) -> None:
    for block in blocks(page.read_text("utf-8")):
        if block.language == "toml" and "[project]\n" in block.text:
            ProjectFile.model_validate(tomllib.loads(block.text))


@EACH_PAGE
def test_every_block_of_python_or_json_can_be_read(page: Path) -> None:
    for block in blocks(page.read_text("utf-8")):
        if block.language == "python":
            compile(block.text, name_of(page), "exec")
        elif block.language == "json":
            read_json(block.text)


def read_json(text: str) -> None:
    """One value, or one to a line."""
    try:
        json.loads(text)
    except ValueError:
        for line in text.splitlines():
            json.loads(line)
