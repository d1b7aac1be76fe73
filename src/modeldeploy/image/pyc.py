"""Byte code for the packages in an image.

Without it, each start of a container would compile some two thousand files, and keep none.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path, PurePosixPath

from modeldeploy.image.base.compiler import Compiler, Source
from modeldeploy.image.wheels import Entry


def byte_code(compiler: Compiler, entries: Sequence[Entry], root: str, scratch: Path) -> list[Entry]:
    """What the compiler makes of the Python files among these; ``root`` is their folder in the image.

    ``scratch`` is an empty folder that holds the outcome. Left out is what is no Python of that version
    (templates, examples for others). Raises `BundleError` where the compiler itself fails.
    """
    python = [entry for entry in entries if entry.path.endswith(".py") and isinstance(entry.source, Path)]
    sources = [
        Source(Path(str(entry.source)), f"{root}/{entry.path}", scratch / f"{number}.pyc")
        for number, entry in enumerate(python)
    ]
    compiler.compile(sources)
    return [
        Entry(_cached(entry.path, compiler.tag), source.to, "", source.to.stat().st_size)
        for entry, source in zip(python, sources, strict=True)
        if source.to.exists()
    ]


def _cached(path: str, tag: str) -> str:
    """Where Python looks for the byte code of a file."""
    place = PurePosixPath(path)
    return str(place.parent / "__pycache__" / f"{place.stem}.{tag}.pyc")
