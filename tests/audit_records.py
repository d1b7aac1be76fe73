"""Records for tests of the audit log."""

from __future__ import annotations

from typing import Any

from modeldeploy.audit.chain import Record
from modeldeploy.model import BundleRef

BUNDLE = BundleRef("digits", "1.0.0", "sha256:" + "a" * 64)


def record(number: int = 0, **facts: Any) -> Record:
    """A record that differs from those of other numbers."""
    given: dict[str, Any] = {
        "id": f"{number:024x}",
        "at": 1_700_000_000.25 + number,
        "kind": "deploy",
        "by": "ada@laptop",
        "command": f"mdeploy deploy prod {number}",
        "project": "digits",
        "target": "prod",
        "bundle": BUNDLE,
        "revision": "1.0.0-0a0a0a0a",
        "data": {"outcome": "promoted"},
    }
    return Record(**(given | facts))
