"""What a zip archive is, told from the names of what is in it. Nothing of it is unpacked."""

from __future__ import annotations

import zipfile
from pathlib import Path

SKOPS, SCRIPT, EXPORTED = "skops", "torchscript", "exported"
KERAS, CHECKPOINT, ARRAYS, BOMB = "keras", "checkpoint", "arrays", "bomb"
_MOST_MEMBERS = 100_000
_FREE, _RATIO = 1 << 30, 200
"""Bytes that any archive may unpack to, and how many times its own size one that unpacks to more."""


def kind_of(path: Path) -> str | None:
    """One of the words above; None for an archive of another kind. Raises ValueError for a damaged one."""
    try:
        with zipfile.ZipFile(path) as archive:
            members = archive.infolist()
    except (zipfile.BadZipFile, OSError, EOFError, NotImplementedError) as error:
        raise ValueError(f"it is a damaged zip archive: {error}") from error
    size = sum(member.file_size for member in members)
    if len(members) > _MOST_MEMBERS or (size > _FREE and size > _RATIO * path.stat().st_size):
        return BOMB
    return _kind({member.filename for member in members})


def _kind(names: set[str]) -> str | None:
    # PyTorch puts everything into a folder with the name that the file had when it was written.
    inner = {name.partition("/")[2] for name in names}
    if "schema.json" in names:
        return SKOPS
    if "serialized_exported_program.json" in names or (
        "archive_format" in inner and "models/model.json" in inner
    ):
        return EXPORTED
    if "constants.pkl" in inner and any(name.startswith("code/") for name in inner):
        return SCRIPT
    if "config.json" in names and any(name.endswith(".weights.h5") for name in names):
        return KERAS
    if "data.pkl" in inner:
        return CHECKPOINT
    return ARRAYS if names and all(name.endswith(".npy") for name in names) else None
