"""What every piece of content is named by: its media type, its digest and its size.

Source: https://github.com/opencontainers/image-spec/blob/v1.1.1/descriptor.md
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, BinaryIO

DIGEST = re.compile(r"sha256:[0-9a-f]{64}")
"""The one algorithm that mdeploy writes and accepts."""
LARGEST = 1 << 50
"""Bytes; a descriptor that claims more is refused."""


def digest_of(content: bytes) -> str:
    """``sha256:`` and 64 hexadecimal digits."""
    return f"sha256:{hashlib.sha256(content).hexdigest()}"


def short(digest: str) -> str:
    """As much of a digest as people need to tell two apart: ``sha256:`` and 12 digits."""
    return digest[:19]


@dataclass(frozen=True, slots=True)
class Platform:
    """An operating system and an architecture, such as ``linux/arm64``."""

    os: str
    architecture: str

    def __str__(self) -> str:
        return f"{self.os}/{self.architecture}"


@dataclass(frozen=True, slots=True)
class Descriptor:
    """Names content. Two of the same digest are the same content, whoever holds it."""

    media_type: str
    digest: str
    """``sha256:`` and 64 hexadecimal digits."""
    size: int
    """Bytes."""
    annotations: Mapping[str, str] = field(default_factory=dict)
    platform: Platform | None = None
    """Only in an index: what the manifest is for."""

    @classmethod
    def of(
        cls, content: bytes, media_type: str, *, annotations: Mapping[str, str] | None = None
    ) -> Descriptor:
        """The descriptor of these bytes."""
        return cls(media_type, digest_of(content), len(content), dict(annotations or {}))

    def to_json(self) -> dict[str, object]:
        """JSON values, as the specification has them."""
        value: dict[str, object] = {"mediaType": self.media_type, "digest": self.digest, "size": self.size}
        if self.annotations:
            value["annotations"] = dict(sorted(self.annotations.items()))
        if self.platform:
            value["platform"] = {"architecture": self.platform.architecture, "os": self.platform.os}
        return value

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Descriptor:
        """Reads what `to_json` wrote, and what others write. Raises ValueError for anything else."""
        try:
            digest, size = value["digest"], value["size"]
            platform = value.get("platform")
            if not DIGEST.fullmatch(digest) or type(size) is not int or not 0 <= size <= LARGEST:
                raise ValueError(f"no descriptor: digest {digest!r:.100}, size {size!r:.40}")
            return cls(
                str(value.get("mediaType", "")),
                digest,
                size,
                {str(name): str(text) for name, text in (value.get("annotations") or {}).items()},
                Platform(str(platform["os"]), str(platform["architecture"])) if platform else None,
            )
        except (KeyError, TypeError, AttributeError) as error:
            raise ValueError(f"no descriptor: {type(error).__name__}: {error}") from error


@dataclass(frozen=True, slots=True)
class Blob:
    """Content to send, read as often as need be and never held in memory as a whole."""

    descriptor: Descriptor
    open: Callable[[int], BinaryIO]
    """Opens the content at a byte offset. The caller closes it. Any number may be open at once."""
    sources: tuple[str, ...] = ()
    """Names of repositories in the same registry that may hold it already: it can be mounted from there.
    One that begins with a slash is meant as it is, whatever the prefix of the registry's URL."""
