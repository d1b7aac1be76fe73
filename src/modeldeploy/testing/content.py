"""Content for registries to keep, of any size without holding it, and manifests that name it."""

from __future__ import annotations

import hashlib
import io
import json
import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from modeldeploy.oci.descriptor import Blob, Descriptor
from modeldeploy.registry.base import Repository

MANIFEST = "application/vnd.oci.image.manifest.v1+json"
BLOB = "application/octet-stream"
_CHUNK = 1 << 16

Notice = Callable[[int], None]
"""Told of the offset before each read there. What it raises, the read raises."""


@dataclass(frozen=True, slots=True)
class Content:
    """So many bytes that no other seed has, made as they are read. Can be pickled."""

    size: int
    seed: int = 0

    def read(self, start: int = 0, length: int | None = None) -> bytes:
        """The bytes from an offset; all that follow where no length is given."""
        end = self.size if length is None else min(start + length, self.size)
        first = start // _CHUNK
        made = b"".join(self._chunk(number) for number in range(first, -(-end // _CHUNK)))
        return made[start - first * _CHUNK : max(start, end) - first * _CHUNK]

    def _chunk(self, number: int) -> bytes:
        # Numbered, so that two chunks that change places make another digest.
        return number.to_bytes(8, "big") + _noise(self.seed)

    def digest(self) -> str:
        """``sha256:`` of all of it."""
        state = hashlib.sha256()
        for start in range(0, self.size, _CHUNK):
            state.update(self.read(start, _CHUNK))
        return f"sha256:{state.hexdigest()}"

    def descriptor(self) -> Descriptor:
        """Its name."""
        return Descriptor(BLOB, self.digest(), self.size)

    def blob(
        self,
        *,
        notice: Notice = lambda _: None,
        sources: tuple[str, ...] = (),
        named: Descriptor | None = None,
    ) -> Blob:
        """To be pushed; under another name than its own where ``named`` says so."""

        def opened(start: int) -> io.BufferedReader:
            return io.BufferedReader(_Reader(self, start, notice), _CHUNK)

        return Blob(named or self.descriptor(), opened, sources)


_NOISE: dict[int, bytes] = {}


def _noise(seed: int) -> bytes:
    if seed not in _NOISE:
        _NOISE[seed] = random.Random(seed).randbytes(_CHUNK - 8)  # noqa: S311 - content for tests
    return _NOISE[seed]


class _Reader(io.RawIOBase):
    def __init__(self, content: Content, start: int, notice: Notice) -> None:
        self.content, self.position, self.notice = content, start, notice

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]  # any writable buffer would do
        self.notice(self.position)
        made = self.content.read(self.position, len(buffer))
        buffer[: len(made)] = made
        self.position += len(made)
        return len(made)


def manifest_of(*layers: Descriptor, annotations: Mapping[str, str] | None = None) -> bytes:
    """An OCI manifest of these layers; the first serves as its configuration too."""
    value = {
        "schemaVersion": 2,
        "mediaType": MANIFEST,
        "config": layers[0].to_json(),
        "layers": [layer.to_json() for layer in layers],
        "annotations": dict(annotations or {}),
    }
    return json.dumps(value, sort_keys=True).encode()


class Cut(KeyboardInterrupt):
    """What the user did in the middle of an upload."""


class Counter:
    """Adds up what moved."""

    def __init__(self) -> None:
        self.total = 0

    def __call__(self, count: int) -> None:
        self.total += count


def cut_at(offset: int) -> Notice:
    """Interrupts whoever reads at or after that offset."""

    def notice(position: int) -> None:
        if position >= offset:
            raise Cut

    return notice


def read(repository: Repository, descriptor: Descriptor, start: int = 0) -> bytes:
    """A blob's bytes from an offset."""
    with repository.open_blob(descriptor, start=start) as stream:
        return stream.read()


def same(found: bytes, wanted: bytes) -> bool:
    """True for equal content. Asked by name, so that pytest does not compare megabytes line by line."""
    return found == wanted
