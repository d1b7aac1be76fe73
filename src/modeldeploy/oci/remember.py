"""Digests that took long to compute, kept in mdeploy's home under a key that says what they are of."""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Callable
from pathlib import Path

from modeldeploy import files
from modeldeploy.errors import ModelDeployError
from modeldeploy.oci.descriptor import DIGEST


def remembered(key: str, compute: Callable[[], str]) -> str:
    """The digest kept under this key, else what ``compute`` returns, which is kept then.

    The key must change with everything that could change the digest.
    """
    note = _note(key)
    try:
        found = note.read_text().strip()
    except (OSError, ValueError):
        found = ""
    if DIGEST.fullmatch(found):
        return found
    made = compute()
    with contextlib.suppress(OSError, ModelDeployError):  # a cache that cannot be written costs only time
        files.private(note.parent)
        files.write_atomic(note, f"{made}\n".encode())
    return made


def _note(key: str) -> Path:
    name = hashlib.sha256(key.encode(errors="surrogateescape")).hexdigest()
    return files.home() / "cache" / "layers" / name[:2] / name[2:34]
