"""Shared by all tests; small on purpose."""

from __future__ import annotations

from pathlib import Path

import pytest


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """No test touches the real ``~/.mdeploy``: each has a home of its own."""
    path = tmp_path / "home"
    monkeypatch.setenv("MDEPLOY_HOME", str(path))
    return path
