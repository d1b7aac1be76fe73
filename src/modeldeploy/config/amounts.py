"""Amounts of bytes as people write them: ``"500kB"``, ``"64MB"``, ``"1.5GiB"``."""

from __future__ import annotations

import re

from modeldeploy.config.names import SIZE, matches

_PARTS = re.compile(r"([0-9]+(?:\.[0-9]+)?)([A-Za-z]+)")
_BYTES = {
    "B": 1,
    "kB": 10**3,
    "KB": 10**3,
    "MB": 10**6,
    "GB": 10**9,
    "KiB": 2**10,
    "MiB": 2**20,
    "GiB": 2**30,
}
_LONGEST_TEXT = 40
LARGEST = 16 * 2**30
"""Bytes; a request is held in memory, and more than this is a slip of the pen."""


def parse(text: str) -> int:
    """Bytes, at least one. MB are millions, MiB are powers of two. Raises ValueError that says what is wrong.

    >>> parse("64MB"), parse("1.5KiB")
    (64000000, 1536)
    """
    found = _PARTS.fullmatch(text) if len(text) <= _LONGEST_TEXT and matches(SIZE, text) else None
    if found is None:
        raise ValueError("not a size")
    size = int(float(found[1]) * _BYTES[found[2]])
    if not 1 <= size <= LARGEST:
        raise ValueError("a size must be at least 1B and at most 16GiB")
    return size


def show(size: int) -> str:
    """The shortest exact way to write it; `parse` reads it back.

    >>> show(64_000_000), show(64 * 2**20), show(1500)
    ('64MB', '64MiB', '1500B')
    """
    for unit in ("GiB", "GB", "MiB", "MB", "KiB", "kB"):
        if size % _BYTES[unit] == 0:
            return f"{size // _BYTES[unit]}{unit}"
    return f"{size}B"
