"""What a registry is to the rest of mdeploy: repositories of blobs, manifests and tags.

Blobs and manifests are named by their digest and never change. Tags are names that point to a manifest,
and the one thing that moves: by compare-and-swap, so that two who move one at once do not both succeed.
Versions, aliases, signatures and the audit log are all tags.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import BinaryIO, Protocol

from modeldeploy.oci.descriptor import Blob, Descriptor

Moved = Callable[[int], None]
"""Told of each piece of content that was sent or received, in bytes; a negative number takes some back
(an upload that begins anew). Called from several threads, and must not raise."""


@dataclass(frozen=True, slots=True)
class Sent:
    """What became of one blob."""

    sent: int
    """Bytes that went over the wire."""
    how: str
    """``sent``, ``present`` (it was there already) or ``mounted`` (from another repository)."""


class TagMoved(Exception):
    """A tag is not where it was thought to be. The caller reads again and decides; users never see this."""

    def __init__(self, tag: str, found: Descriptor | None) -> None:
        super().__init__(f"{tag} is {found.digest if found else 'not there'}")
        self.tag = tag
        self.found = found


class Repository(Protocol):
    """One name in a registry. All methods may be called from several threads at once.

    They raise `RegistryUnavailable` where trying again later may help (after their own retries), and
    `RegistryRefused` where it will not: no permission, no such content, content that is not what its
    digest says.
    """

    where: str
    """For people: ``localhost:5000/team/digits``, ``s3://bucket/team/digits``, ``/srv/registry/digits``."""

    def has_blob(self, digest: str) -> bool: ...

    def push_blob(self, blob: Blob, *, moved: Moved) -> Sent:
        """Send a blob unless it is there. An upload that was cut off goes on where it ended, if it can."""
        ...

    def open_blob(self, descriptor: Descriptor, *, start: int = 0) -> AbstractContextManager[BinaryIO]:
        """The content from a byte offset, as it comes: whoever reads it checks its digest."""
        ...

    def put_manifest(self, content: bytes, media_type: str) -> Descriptor:
        """Keep a manifest under its digest. What it names must be there before."""
        ...

    def manifest(self, digest: str) -> bytes:
        """A manifest's bytes, of which the digest was checked."""
        ...

    def tags(self) -> Sequence[str]:
        """All tags, sorted; none for a repository that does not exist yet."""
        ...

    def tag(self, tag: str) -> Descriptor | None:
        """Where a tag points; None where there is no such tag."""
        ...

    def set_tag(self, tag: str, to: Descriptor, *, was: str | None) -> None:
        """Point a tag to a manifest that is there, if it still points to the digest ``was``.

        ``was=None``: if it does not exist yet. Raises `TagMoved` otherwise. Atomic: of two callers at
        once, one succeeds.
        """
        ...


class Registry(Protocol):
    """A place that holds repositories."""

    url: str
    """As the project file has it, without passwords."""

    def repository(self, name: str) -> Repository:
        """A repository by name, e.g. ``digits``. Touches nothing yet."""
        ...
