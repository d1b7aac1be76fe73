"""init, check, doctor."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from modeldeploy import ops
from modeldeploy.cli import report
from modeldeploy.cli.completion import project_folder
from modeldeploy.cli.session import Answer, Session
from modeldeploy.model import Finding, Level


def init(session: Session) -> Answer:
    """Make a project from a template."""
    values = session.values
    folder = project_folder(values.project or ".") / (values.folder or ".")
    made = ops.init(folder, template=values.template, name=values.name or _name_of(values.folder))
    enter = f"cd {_quoted(_told(made))} && " if made != Path.cwd() else ""
    lines = [f"a project from the template '{values.template}' is in {made}", f"next: {enter}mdeploy build"]
    return Answer({"path": made, "template": values.template}, lines)


def check(session: Session) -> Answer:
    """Look for problems in the project."""
    return _findings(ops.check(session.root), session)


def doctor(session: Session) -> Answer:
    """Look for what this machine lacks."""
    root = session.root
    return _findings(ops.doctor(root if (root / "modeldeploy.toml").exists() else None), session)


def _name_of(folder: str | None) -> str | None:
    """A project's name from its new folder's: two projects of one name would share their targets."""
    if folder is None:
        return None
    name = re.sub(r"[^a-z0-9]+", "-", Path(folder).name.lower()).lstrip("-0123456789")[:63].rstrip("-")
    return name or None


def _findings(found: Sequence[Finding], session: Session) -> Answer:
    errors = sum(finding.level is Level.ERROR for finding in found)
    warnings = sum(finding.level is Level.WARNING for finding in found)
    lines = list(report.findings(found, session.terminal))
    lines.append(f"{_count(errors, 'error')}, {_count(warnings, 'warning')}")
    return Answer({"findings": found}, lines, code=5 if errors else 0, ok=not errors)


def _count(number: int, word: str) -> str:
    return f"{number or 'no'} {word}{'' if number == 1 else 's'}"


def _told(path: Path) -> str:
    here = Path.cwd()
    return str(path.relative_to(here)) if path.is_relative_to(here) else str(path)


def _quoted(path: str) -> str:
    from shlex import quote

    return quote(path)
