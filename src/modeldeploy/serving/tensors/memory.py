"""What a text takes once it is read: a list of nothing is two bytes of JSON, and sixty in memory.

A body that keeps to its limit can so be worth fifty times as much, and keep the event loop for half a minute.
Counting a few characters tells before, at some gigabytes a second.
"""

from __future__ import annotations

from ..problems import TooLarge

MOST = 512 * 1024 * 1024
"""Bytes that the values of one request may take while it is read."""
_SMALL = 1024 * 1024
"""Bytes of a text that cannot take more than a tenth of that."""
_WORTH = ((b"[", 64), (b"{", 240), (b'":', 160), (b",", 40), (b"\n", 64))
"""What is there for each of these, in bytes: lists, objects, their names, values; lines of CSV."""


def check_memory(text: bytes | bytearray | memoryview) -> None:
    """Refuse a text that takes too much memory to read. Raises `TooLarge`."""
    if len(text) < _SMALL:
        return
    whole = bytes(text) if isinstance(text, memoryview) else text
    worth = sum(whole.count(mark) * size for mark, size in _WORTH)
    if worth > MOST:
        raise TooLarge(
            f"the body's values take about {worth >> 20} MB to read",
            expected=f"{MOST >> 20} MB at most: fewer rows at a time, or a binary form (V2, .npy, Arrow)",
            got=f"{len(whole)} bytes of text",
        )
