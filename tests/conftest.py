"""Shared by all tests; small on purpose."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest

# A runner in the background may have been started with Ctrl-C ignored, and all programs that tests start
# would inherit that.
signal.signal(signal.SIGINT, signal.default_int_handler)
signal.signal(signal.SIGHUP, signal.SIG_DFL)


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """No test touches the real ``~/.mdeploy``: each has a home of its own."""
    path = tmp_path / "home"
    monkeypatch.setenv("MDEPLOY_HOME", str(path))
    return path
