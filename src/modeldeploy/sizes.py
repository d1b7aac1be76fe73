"""Amounts of bytes as people read them."""

from __future__ import annotations


def size(count: float) -> str:
    """Bytes in a unit that is read at a glance: ``512 B``, ``7.9 kB``, ``12.4 MB``, ``1.2 GB``."""
    for unit in ("B", "kB", "MB", "GB"):
        if count < 999.5 or unit == "GB":
            break
        count /= 1000
    return f"{count:.0f} {unit}" if unit == "B" or count >= 99.95 else f"{count:.1f} {unit}"
