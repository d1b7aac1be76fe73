"""Asking pip-audit, which asks the package index what it knows."""

from __future__ import annotations

import json
import shutil
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from modeldeploy import shell
from modeldeploy.errors import BundleError
from modeldeploy.scan.found import Looked, Vulnerability
from modeldeploy.scan.matching import merged

PROGRAM = "pip-audit"
SECONDS = 300.0


def program() -> str | None:
    """Where pip-audit is: beside this Python, or on the path; None where it is not installed."""
    beside = Path(sys.executable).with_name(PROGRAM)
    return str(beside) if beside.is_file() else shutil.which(PROGRAM)


def ask(found: str, lock: str) -> Looked:
    """What pip-audit knows about the packages of a lock's text that this platform would install.

    It ends with success where it could not look at a package, and only says so. Raises `BundleError`.
    """
    with tempfile.TemporaryDirectory(prefix="mdeploy-scan-") as folder:
        file = Path(folder) / "requirements.txt"
        file.write_text(lock)
        options = ("--require-hashes", "--disable-pip", "--format", "json", "--progress-spinner", "off")
        text = _run([found, "--requirement", str(file), *options])
    try:
        told = json.loads(text)
        vulnerabilities = [
            _vulnerability(package, each)
            for package in told["dependencies"]
            for each in package.get("vulns", ())
        ]
        skipped = {
            str(package["name"]): str(package["skip_reason"])[:160]
            for package in told["dependencies"]
            if package.get("skip_reason")
        }
        looked_at = {str(package["name"]) for package in told["dependencies"]} - set(skipped)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise BundleError(
            f"{PROGRAM} printed what mdeploy does not understand ({type(error).__name__})",
            hint="pip install --upgrade pip-audit; or give a database: mdeploy scan --database PATH",
        ) from error
    if not looked_at:
        reason = next(iter(skipped.values()), "it does not say why")
        raise BundleError(
            f"{PROGRAM} could look at none of the packages: {reason}",
            hint="check the network and the package index, which must offer advisories; "
            "or give a database on this disk: mdeploy scan --database PATH",
        )
    source = f"{PROGRAM} {_version(found)}".strip()
    notes = [f"{name} was not looked at: {reason}" for name, reason in skipped.items()]
    return Looked(source, len(looked_at), tuple(merged(vulnerabilities)), tuple(notes))


def _run(command: list[str]) -> str:
    try:
        return shell.run(command, timeout=SECONDS).output
    except shell.ToolFailed as error:
        # Its code is 1 both where it found something and where it failed; only then there is no answer.
        if error.completed and error.completed.output.lstrip().startswith("{"):
            return error.completed.output
        lines = error.completed.errors.strip().splitlines() if error.completed else []
        last = f": {lines[-1][:200]}" if lines else ""
        raise BundleError(
            f"{PROGRAM} could not look for vulnerabilities{last}",
            hint="check the network; or give a database on this disk: mdeploy scan --database PATH",
            details=error.details,
        ) from error


def _vulnerability(package: Mapping[str, Any], told: Mapping[str, Any]) -> Vulnerability:
    fixes = [str(version) for version in told.get("fix_versions") or ()]
    return Vulnerability(
        str(package["name"]),
        str(package["version"]),
        str(told["id"]),
        tuple(str(alias) for alias in told.get("aliases") or ()),
        fixed=fixes[0] if fixes else "",
        summary=" ".join(str(told.get("description") or "").split())[:160],
    )


def _version(found: str) -> str:
    try:
        return shell.run([found, "--version"], timeout=30).output.split()[-1][:40]
    except (shell.ToolFailed, IndexError):
        return ""
