"""Streams from elsewhere, checked while they are read: digest, size, and how much they grow when unpacked."""

from __future__ import annotations

import hashlib
import zlib

from modeldeploy.oci.descriptor import Descriptor, short
from modeldeploy.oci.manifest import DOCKER_LAYER, LAYER_GZIP, LAYER_TAR, Malformed
from modeldeploy.oci.untar import Readable

_CHUNK = 1 << 18


class Checked:
    """A stream that must be what its descriptor says. `finish` decides."""

    def __init__(self, stream: Readable, descriptor: Descriptor) -> None:
        self._stream, self._descriptor = stream, descriptor
        self._state, self._left = hashlib.sha256(), descriptor.size

    def read(self, size: int, /) -> bytes:
        """At most so many bytes. Raises `Malformed` for more than the descriptor says in all."""
        piece = self._stream.read(size)
        self._left -= len(piece)
        if self._left < 0:
            raise Malformed(f"{short(self._descriptor.digest)} has more than {self._descriptor.size} bytes")
        self._state.update(piece)
        return piece

    def finish(self) -> None:
        """Read what is left. Raises `Malformed` if it was not what its digest says."""
        while self.read(_CHUNK):
            pass
        if self._left or f"sha256:{self._state.hexdigest()}" != self._descriptor.digest:
            cut = f", and ends {self._left} bytes too early" if self._left else ""
            raise Malformed(f"{short(self._descriptor.digest)} is not what its digest says{cut}")


class Limited:
    """A stream of which no more than so many bytes may come."""

    def __init__(self, stream: Readable, most: int) -> None:
        self._stream, self.left = stream, most

    def read(self, size: int, /) -> bytes:
        """At most so many bytes. Raises `Malformed` once there are too many."""
        piece = self._stream.read(min(size, self.left + 1))
        self.left -= len(piece)
        if self.left < 0:
            raise Malformed("it unpacks to more bytes than it may")
        return piece


class Gunzip:
    """What a gzip stream, of one member or several, holds. Never more than a piece of it in memory."""

    def __init__(self, stream: Readable) -> None:
        self._stream = stream
        self._inflate = zlib.decompressobj(31)
        self._input = b""
        self._begun = False

    def read(self, size: int, /) -> bytes:
        """At most so many bytes; none at the end. Raises `Malformed` for what is no gzip."""
        while True:
            if not self._input:
                self._input = self._stream.read(_CHUNK)
            if self._inflate.eof:
                if not self._input.lstrip(b"\0"):
                    if not self._input:
                        return b""
                    self._input = b""  # padding behind the last member
                    continue
                self._inflate = zlib.decompressobj(31)
            ended = not self._input
            piece = self._step(size)
            if piece:
                return piece
            if ended and not self._inflate.eof:
                raise Malformed("the gzip stream ends too early")

    def _step(self, size: int) -> bytes:
        try:
            piece = self._inflate.decompress(self._input, size)
        except zlib.error as error:
            raise Malformed(f"not gzip: {error}") from error
        self._input = self._inflate.unused_data if self._inflate.eof else self._inflate.unconsumed_tail
        return piece


def unpacked(stream: Readable, media_type: str) -> Readable:
    """The tar in a layer of this type. Raises `Malformed` for a compression that is not read."""
    if media_type == LAYER_TAR or not media_type:
        return stream
    if media_type in {LAYER_GZIP, DOCKER_LAYER}:
        return Gunzip(stream)
    raise Malformed(f"layers of the type {media_type!r:.100} are not unpacked here; gzip or none is")
