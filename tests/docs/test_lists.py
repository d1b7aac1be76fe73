"""Lists in the pages are complete: dependencies, exit codes, kinds of error, kinds of event, files."""

from __future__ import annotations

import ast
import re
import tomllib
from collections.abc import Iterator
from pathlib import Path

import modeldeploy
from modeldeploy import audit, errors
from modeldeploy.bundle import frameworks
from modeldeploy.bundle.lock import ARROW, SERVING
from modeldeploy.serving.observe import tracing
from modeldeploy.serving.protocols import grpc
from pages import DOCS, REPOSITORY

SOURCE = Path(modeldeploy.__file__).parent
TELLS = {"Event", "_tell", "tell", "_telling"}
"""Functions whose first argument may be a kind of event."""


def first_cells(page: str) -> set[str]:
    """Everything in backticks in the first column of a page's tables."""
    rows = re.findall(r"^\| (.+?) \|", (DOCS / page).read_text("utf-8"), re.MULTILINE)
    return {word for row in rows for word in re.findall(r"`([^`]+)`", row)}


def package(requirement: str) -> str:
    found = re.match(r"[A-Za-z0-9-]+", requirement)
    assert found
    return found[0].lower()


def test_every_dependency_has_its_line_and_no_other_has() -> None:
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text("utf-8"))
    asked = [
        *project["project"]["dependencies"],
        *project["dependency-groups"]["dev"],
        *(each for extra in project["project"]["optional-dependencies"].values() for each in extra),
        *project["build-system"]["requires"],
        *SERVING,
        *(each for packages in frameworks.PACKAGES.values() for each in packages),
        *(frameworks.TABLES, ARROW, *grpc.REQUIREMENTS, *tracing.REQUIREMENTS),
    ]

    assert first_cells("explanation/dependencies.md") == {package(requirement) for requirement in asked}


def every_error() -> Iterator[type[errors.ModelDeployError]]:
    waiting = [errors.ModelDeployError]
    while waiting:
        kind = waiting.pop()
        yield kind
        waiting += [below for below in kind.__subclasses__() if below.__module__ == errors.__name__]


def test_every_error_is_described_with_its_exit_code() -> None:
    text = (DOCS / "reference/exit-codes.md").read_text("utf-8")
    described = dict(re.findall(r"^\| `(\w+)` \| (\d+) \|", text, re.MULTILINE))
    named = {kind.__name__: str(kind.exit_code) for kind in every_error()}
    own_of_the_cli = {"UsageError": "2", "Bug": "1", "Stopped": "130"}

    assert described == named | own_of_the_cli


def test_every_exit_code_of_an_error_is_explained() -> None:
    text = (DOCS / "reference/exit-codes.md").read_text("utf-8")
    explained = {int(code) for code in re.findall(r"^\| (\d+) \|", text, re.MULTILINE)}
    without_an_error = {0, 2, 8, 130}

    assert explained == {kind.exit_code for kind in every_error()} | without_an_error


def emitted() -> Iterator[str]:
    """Kinds of event that the source names where it tells of one."""
    for path in SOURCE.rglob("*.py"):
        if path.parent.name in ("cli", "testing"):
            continue
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.Call) and node.args and name_of_called(node) in TELLS:
                kind = node.args[0]
                if isinstance(kind, ast.Constant) and re.fullmatch(r"[a-z]+(\.[a-z]+)*", str(kind.value)):
                    yield str(kind.value)


def name_of_called(call: ast.Call) -> str:
    called = call.func
    return called.attr if isinstance(called, ast.Attribute) else getattr(called, "id", "")


def test_every_kind_of_event_is_described_and_no_other_is() -> None:
    text = (DOCS / "reference/events.md").read_text("utf-8")

    assert set(re.findall(r"^\| `([a-z.]+)` \|", text, re.MULTILINE)) == set(emitted())


def test_the_events_of_the_audit_file_are_marked() -> None:
    text = (DOCS / "reference/events.md").read_text("utf-8")
    marked = re.findall(r"^\| `([a-z.]+)` \|[^|]*\*audit\*", text, re.MULTILINE)

    assert set(marked) == audit.KINDS


def test_every_kind_of_line_in_a_journal_is_described() -> None:
    tree = ast.parse((SOURCE / "rollout/journal.py").read_text("utf-8"))
    written = {
        str(node.args[0].value)
        for node in ast.walk(tree)
        if isinstance(node, ast.Call)
        and name_of_called(node) == "_write"
        and isinstance(node.args[0], ast.Constant)
    }

    assert written <= first_cells("reference/metrics-and-headers.md")


def test_every_file_of_a_process_target_is_described() -> None:
    layout = (SOURCE / "targets/process/layout.py").read_text("utf-8")
    page = (DOCS / "reference/metrics-and-headers.md").read_text("utf-8")
    names = set(re.findall(r'self\.root / "([\w.]+)"', layout))
    locks = {name for name in names if name.endswith(".lock")}

    assert sorted(name for name in names - locks if name not in page) == []
    assert "*.lock" in page
