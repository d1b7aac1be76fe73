"""Somebody who pushes to a registry in a folder without end, until he is killed."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from modeldeploy.registry.base import TagMoved
from modeldeploy.registry.folder import FolderRegistry, FolderRepository
from modeldeploy.testing.content import MANIFEST, Content, manifest_of


def start(place: Path, *, seed: int) -> subprocess.Popen[bytes]:
    """A process that does so. It prints a line once it has begun."""
    command = [sys.executable, __file__, str(place), str(seed)]
    return subprocess.Popen(command, stdout=subprocess.PIPE)


def _push(repository: FolderRepository, content: Content, tag: str) -> None:
    repository.push_blob(content.blob(), moved=lambda _: None)
    there = repository.put_manifest(manifest_of(content.descriptor()), MANIFEST)
    repository.set_tag(tag, there, was=None)
    while True:
        found = repository.tag("head")
        try:
            repository.set_tag("head", there, was=found.digest if found else None)
        except TagMoved:
            continue  # the other writer was first
        return


def main() -> None:
    place, seed = Path(sys.argv[1]), int(sys.argv[2])
    repository = FolderRegistry(place).repository("digits")
    print("begun", flush=True)
    for number in range(10_000):
        _push(repository, Content(400_000, seed=seed * 10_000 + number), f"v{seed}.{number}")


if __name__ == "__main__":
    main()
