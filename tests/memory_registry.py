"""A registry in memory, with faults to order: it is gone, slow, or dies in the middle of an append."""

from __future__ import annotations

import io
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import BinaryIO

from modeldeploy.errors import RegistryRefused, RegistryUnavailable
from modeldeploy.oci.descriptor import Blob, Descriptor
from modeldeploy.registry.base import Moved, Sent, TagMoved


@dataclass
class MemoryRepository:
    """One repository. What it holds may be changed by tests, behind its back."""

    where: str = "memory/digits"
    blobs: dict[str, bytes] = field(default_factory=dict)
    manifests: dict[str, bytes] = field(default_factory=dict)
    pointers: dict[str, Descriptor] = field(default_factory=dict)
    gone: bool = False
    hangs: float = 0.0
    """Seconds that every call takes."""
    loses_answers: int = 0
    """So many changes of a tag are done, and then the connection breaks before the answer."""
    lock: threading.Lock = field(default_factory=threading.Lock)

    def _answer(self) -> None:
        if self.hangs:
            time.sleep(self.hangs)
        if self.gone:
            raise RegistryUnavailable(f"{self.where} does not answer")

    def has_blob(self, digest: str) -> bool:
        self._answer()
        return digest in self.blobs

    def push_blob(self, blob: Blob, *, moved: Moved) -> Sent:
        self._answer()
        with blob.open(0) as stream:
            self.blobs[blob.descriptor.digest] = stream.read()
        moved(blob.descriptor.size)
        return Sent(blob.descriptor.size, "sent")

    @contextmanager
    def open_blob(self, descriptor: Descriptor, *, start: int = 0) -> Iterator[BinaryIO]:
        self._answer()
        if descriptor.digest not in self.blobs:
            raise RegistryRefused(f"{self.where} has no {descriptor.digest}")
        yield io.BytesIO(self.blobs[descriptor.digest][start:])

    def put_manifest(self, content: bytes, media_type: str) -> Descriptor:
        self._answer()
        descriptor = Descriptor.of(content, media_type)
        self.manifests[descriptor.digest] = content
        return descriptor

    def manifest(self, digest: str) -> bytes:
        self._answer()
        content = self.manifests[digest]
        if Descriptor.of(content, "").digest != digest:
            raise RegistryRefused(f"{self.where}: {digest} was changed")
        return content

    def tags(self) -> Sequence[str]:
        self._answer()
        return sorted(self.pointers)

    def tag(self, tag: str) -> Descriptor | None:
        self._answer()
        return self.pointers.get(tag)

    def set_tag(self, tag: str, to: Descriptor, *, was: str | None) -> None:
        self._answer()
        with self.lock:
            found = self.pointers.get(tag)
            if (found.digest if found else None) != was:
                raise TagMoved(tag, found)
            self.pointers[tag] = to
        if self.loses_answers:
            self.loses_answers -= 1
            raise RegistryUnavailable(f"{self.where}: the connection broke")
