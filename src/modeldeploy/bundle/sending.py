"""Sending a bundle to a repository: only what is missing there, and on from where it was cut off."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from modeldeploy.bundle import layers
from modeldeploy.bundle.layers import Group
from modeldeploy.bundle.manifest import Manifest
from modeldeploy.events import Emit
from modeldeploy.oci import tar
from modeldeploy.oci.descriptor import Blob
from modeldeploy.registry.base import Moved, Repository, Sent
from modeldeploy.registry.transfer import Job, Stop, transfer

_SLOW = 32 << 20
"""Bytes of a layer from which reading it takes long enough to be told."""


def read_large(bundle: Path, *, emit: Emit) -> None:
    """Let the digests of a bundle's large layers be remembered, several at once, told as they are read.

    After that, `artifact.package` is quick. Raises `BundleError`.
    """

    def job(group: Group) -> Job[int]:
        def work(moved: Moved, stop: Stop) -> int:
            pieces: list[int] = []

            def read(count: int) -> None:
                stop.check()
                pieces.append(count)
                moved(count)

            tar.layer_of(layers.entries_of(group, bundle), name=group.name, read=read)
            return sum(pieces)

        return Job(group.name, layers.size_of(group), work, lambda count: "read" if count else "present")

    groups = layers.groups_of(Manifest.read(bundle))
    large = [group for group in groups if layers.size_of(group) >= _SLOW]
    transfer([job(group) for group in large], emit=emit, direction="read")


def send(content: Iterable[tuple[str, Blob]], repository: Repository, *, emit: Emit) -> dict[str, Sent]:
    """Send content with names for people, several pieces at once; what became of each, by digest."""
    unique = {blob.descriptor.digest: (name, blob) for name, blob in content}

    def job(name: str, blob: Blob) -> Job[Sent]:
        def work(moved: Moved, stop: Stop) -> Sent:
            return repository.push_blob(stop.guarding(blob), moved=moved)

        return Job(name, blob.descriptor.size, work, lambda sent: sent.how)

    sent = transfer([job(*each) for each in unique.values()], emit=emit, direction="up")
    return dict(zip(unique, sent, strict=True))
