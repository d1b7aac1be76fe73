"""Gzip whose bytes depend on nothing but the content: one library, one level, no name, no time.

Python's own ``zlib`` is whatever library the interpreter was linked to, so it is not used here. zlib-ng
writes the same bytes on every CPU that was tried; its version is part of every cache key and of the lock.
"""

from __future__ import annotations

import hashlib
import struct
from typing import BinaryIO

LEVEL = 6
_HEADER = b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\xff"
"""No flags, no time, no extra flags, unknown system."""
_RAW = -15
_BLOCK = 1 << 18
"""Always the same pieces go to the compressor: its output may depend on where they end."""


def compress(source: BinaryIO, target: BinaryIO) -> tuple[str, int]:
    """Write a stream compressed. Returns the digest (``sha256:``) and size of what was written.

    Memory stays flat, whatever the length.
    """
    from zlib_ng import zlib_ng

    compressor = zlib_ng.compressobj(LEVEL, zlib_ng.DEFLATED, _RAW, 8)
    digest, check, length, size = hashlib.sha256(), 0, 0, 0

    def put(piece: bytes) -> None:
        nonlocal size
        digest.update(piece)
        target.write(piece)
        size += len(piece)

    put(_HEADER)
    while block := _whole(source):
        check = zlib_ng.crc32(block, check)
        length += len(block)
        put(compressor.compress(block))
    put(compressor.flush())
    put(struct.pack("<II", check, length & 0xFFFFFFFF))
    return f"sha256:{digest.hexdigest()}", size


def _whole(source: BinaryIO) -> bytes:
    """The next block in full length, whatever pieces the source comes in."""
    block = source.read(_BLOCK)
    while 0 < len(block) < _BLOCK:
        more = source.read(_BLOCK - len(block))
        if not more:
            break
        block += more
    return block
