"""Which image a base by reference is, and where that is read: a registry, or an OCI layout folder."""

from __future__ import annotations

import re
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Protocol, Self

from modeldeploy.errors import BundleError
from modeldeploy.oci.descriptor import DIGEST, Blob, Descriptor
from modeldeploy.oci.layout import Layout
from modeldeploy.registry.base import Repository

LAYOUT = "oci:"
_HUB = "docker.io"
_IN_REGISTRY = re.compile(
    r"(?!.*//)(?P<name>[A-Za-z0-9][A-Za-z0-9.\-_/:]*?)"
    r"(:(?P<tag>[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}))?(@(?P<digest>sha256:[0-9a-f]{64}))?"
)
_IN_LAYOUT = re.compile(
    r"(?P<name>.+?)(:(?P<tag>[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}))?(@(?P<digest>sha256:[0-9a-f]{64}))?"
)

Connect = Callable[[str, str], tuple[Repository, tuple[str, ...]]]
"""Takes a registry's host (with its port) and a repository's name. Returns the repository, and the names by
which the registry that images go to can mount from it: none where it is another one."""


@dataclass(frozen=True, slots=True)
class Reference:
    """``host/repository:tag@digest`` or ``oci:folder:tag``, taken apart."""

    text: str
    host: str
    """Empty for a layout."""
    name: str
    """The repository, or the folder."""
    tag: str
    digest: str

    @classmethod
    def parse(cls, text: str) -> Reference:
        """Read what a project file has as ``base``. Raises `BundleError`."""
        layout = text.startswith(LAYOUT)
        form = _IN_LAYOUT if layout else _IN_REGISTRY
        found = form.fullmatch(text.removeprefix(LAYOUT))
        if not found:
            raise BundleError(
                f"[image] base: {text!r:.120} is no reference to an image",
                hint='write it as "host/repository@sha256:...", "host/repository:tag" or "oci:FOLDER"',
            )
        host, name = ("", found["name"]) if layout else _host_and_name(found["name"])
        return cls(text, host, name, found["tag"] or "", found["digest"] or "")


class Place(Protocol):
    """Where the manifests and the layers of images are."""

    def tag(self, tag: str) -> Descriptor | None:
        """Where a tag points; for no tag, the usual one."""
        ...

    def manifest(self, digest: str) -> bytes: ...

    def content(self, descriptor: Descriptor) -> BinaryIO:
        """What a descriptor names, to be closed by the caller, who checks its digest."""
        ...

    def blob(self, descriptor: Descriptor) -> Blob:
        """The same, to be sent elsewhere."""
        ...


def place_of(reference: Reference, root: Path, connect: Connect) -> Place:
    """Where the image is. A layout's path is relative to ``root``. Raises `BundleError`."""
    if reference.host:
        return InRegistry(*connect(reference.host, reference.name))
    folder = root / reference.name
    if not (folder / "index.json").is_file():
        raise BundleError(
            f"[image] base: {folder} is no OCI layout",
            hint="make one: skopeo copy docker://HOST/IMAGE:TAG oci:FOLDER:TAG",
        )
    return InLayout(Layout(folder))


class InRegistry:
    """A repository. ``mountable`` are its names for the registry that images go to."""

    def __init__(self, repository: Repository, mountable: tuple[str, ...] = ()) -> None:
        self._repository = repository
        self._mountable = mountable

    def tag(self, tag: str) -> Descriptor | None:
        return self._repository.tag(tag or "latest")

    def manifest(self, digest: str) -> bytes:
        return self._repository.manifest(digest)

    def content(self, descriptor: Descriptor, start: int = 0) -> BinaryIO:
        with ExitStack() as opened:
            stream = opened.enter_context(self._repository.open_blob(descriptor, start=start))
            return _Closing(stream, opened.pop_all())  # type: ignore[return-value]  # all that is used of it

    def blob(self, descriptor: Descriptor) -> Blob:
        return Blob(descriptor, lambda start: self.content(descriptor, start), self._mountable)


class InLayout:
    """A layout folder."""

    def __init__(self, layout: Layout) -> None:
        self._layout = layout

    def tag(self, tag: str) -> Descriptor | None:
        tags = self._layout.tags()
        return self._layout.tag(tag or (tags[0] if len(tags) == 1 else "latest"))

    def manifest(self, digest: str) -> bytes:
        return self._layout.manifest(digest)

    def content(self, descriptor: Descriptor) -> BinaryIO:
        return self._layout.blobs.open(descriptor)

    def blob(self, descriptor: Descriptor) -> Blob:
        return Blob(descriptor, lambda start: self._layout.blobs.open(descriptor, start))


class _Closing:
    """A stream that leaves its context when it is closed."""

    def __init__(self, stream: BinaryIO, opened: ExitStack) -> None:
        self.read = stream.read
        self.close = opened.close

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _host_and_name(text: str) -> tuple[str, str]:
    """As docker reads it: the first part is a host if it could be none of Docker Hub's names."""
    first, slash, rest = text.partition("/")
    if slash and (set(".:") & set(first) or first == "localhost"):
        return first, rest
    return _HUB, text if slash else f"library/{text}"


def is_digest(text: str) -> bool:
    """True for ``sha256:`` and 64 hexadecimal digits."""
    return DIGEST.fullmatch(text) is not None
