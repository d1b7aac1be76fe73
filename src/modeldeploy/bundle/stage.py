"""A bundle in the making: which content goes to which path, and putting it there with one copy at most."""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
import stat
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from modeldeploy import serving
from modeldeploy.bundle import digests
from modeldeploy.bundle.inspection import ModelFacts
from modeldeploy.bundle.manifest import MTIME, SOURCE, File, canonical
from modeldeploy.bundle.recipe import Recipe
from modeldeploy.bundle.service import Planned
from modeldeploy.bundle.sources import Found
from modeldeploy.errors import BundleError
from modeldeploy.oci.descriptor import digest_of

SERVICE = "mdeploy_service"
"""Module of the generated service; its signature is beside it under the same name."""
SERVING = "mdeploy_serving"
_CODE = frozenset({f"{SERVICE}.py", f"{SERVICE}.json", SERVING})
_READ_ONLY, _READ_ONLY_PROGRAM = 0o444, 0o555


@dataclass(frozen=True, slots=True)
class Item:
    """One file of a bundle to be. ``source`` is a file, or the content itself."""

    file: File
    source: Path | bytes
    stamp: str = ""

    @classmethod
    def of_file(cls, path: str, source: Path) -> Item:
        """A copy of a file. Its executable bit is the owner's; nothing else of its mode is kept."""
        content = digests.content_of(source)
        executable = bool(source.stat().st_mode & stat.S_IXUSR)
        return cls(File(path, content.sha256, content.size, executable), source, content.stamp)

    @classmethod
    def of_bytes(cls, path: str, content: bytes, *, executable: bool = False) -> Item:
        """A file with this content."""
        sha256 = digest_of(content).removeprefix("sha256:")
        return cls(File(path, sha256, len(content), executable), content)


def model_items(recipe: Recipe, models: Iterable[ModelFacts]) -> tuple[Item, ...]:
    """The models' files, each once, at their paths in the project below ``src/``.

    Of a model that is a file, that file comes first.
    """
    paths = dict.fromkeys(path for facts in models for path in facts.files)
    return tuple(Item.of_file(f"{SOURCE}/{inside(recipe, path)}", path) for path in paths)


def model_paths(recipe: Recipe) -> tuple[str, ...]:
    """Where each model is below ``src/``: the file to load, or the folder."""
    return tuple(inside(recipe, model.path) for model in recipe.models)


def code_items(recipe: Recipe, found: Found, planned: Planned) -> tuple[Item, ...]:
    """Everything else below ``src/``: the project's files, what serves them, the generated service."""
    for path in found.files:
        if path.split("/", 1)[0] in _CODE:
            raise BundleError(
                f"{path}: mdeploy puts files of its own under this name into the bundle",
                hint="rename it, or leave it out by [build] exclude",
            )
    project = [Item.of_file(f"{SOURCE}/{path}", real) for path, real in found.files.items()]
    return (*project, *_serving_items(), *_service(recipe, planned))


def golden_items(recipe: Recipe) -> tuple[Item, ...]:
    """The golden samples, in the bundle's root under one of two names; none where there are none."""
    if recipe.golden is None:
        return ()
    return (Item.of_file(f"golden{recipe.golden.suffix}", recipe.golden),)


Take = Callable[[File, Path], bool]
"""Puts a file with that content at a path without copying it; False if it cannot."""


def write(items: Iterable[Item], folder: Path, take: Take | None = None) -> None:
    """Put the items below a folder, read-only; without a copy where ``take`` knows a way.

    Raises `BundleError` for a file that changed meanwhile.
    """
    for item in items:
        place = folder / item.file.path
        place.parent.mkdir(parents=True, exist_ok=True)
        if take and take(item.file, place):
            continue
        if isinstance(item.source, bytes):
            place.write_bytes(item.source)
        else:
            _copy(item, item.source, place)
        os.utime(place, ns=(MTIME, MTIME))
        place.chmod(_READ_ONLY_PROGRAM if item.file.executable else _READ_ONLY)


def drop_strangers(items: Iterable[Item], folder: Path) -> None:
    """Remove what a service wrote beside its code while it was imported."""
    known = {item.file.path for item in items}
    for path in folder.rglob("*"):
        if not path.is_dir() and path.relative_to(folder).as_posix() not in known:
            path.unlink()


def _copy(item: Item, source: Path, place: Path) -> None:
    try:
        _clone(source, place)
    except OSError as error:
        if error.errno in {errno.ENOSPC, errno.EDQUOT}:
            raise
        raise BundleError(f"cannot copy {source}: {error.strerror}", hint="make the file readable") from error
    content = digests.Content(item.file.sha256, item.file.size, item.stamp)
    if not digests.unchanged(source, content) or place.stat().st_size != item.file.size:
        raise BundleError(
            f"{source.name} changed while it was put into the bundle",
            hint="wait until nothing writes to it, then run the same command again",
        )


def _clone(source: Path, place: Path) -> None:
    """Copy inside the kernel: file systems that can share blocks do, and no byte passes through Python."""
    copy_range = getattr(os, "copy_file_range", None)
    if copy_range is not None:
        with contextlib.suppress(OSError), source.open("rb") as read, place.open("wb") as write:
            while copy_range(read.fileno(), write.fileno(), 1 << 30):
                pass
            return
    shutil.copyfile(source, place)


def inside(recipe: Recipe, path: Path) -> str:
    """A file's path below ``src/``: as in the project, or only its name for one from elsewhere."""
    with contextlib.suppress(ValueError):
        inner = PurePosixPath(path.relative_to(recipe.root).as_posix())
        if ".." not in inner.parts:
            return str(inner)
    return path.name


def _serving_items() -> Iterable[Item]:
    package = Path(serving.__file__).parent
    for source in sorted(package.rglob("*.py")):
        yield Item.of_file(f"{SOURCE}/{SERVING}/{source.relative_to(package).as_posix()}", source)


def _service(recipe: Recipe, planned: Planned) -> Iterable[Item]:
    """What the service is told; and the service, where the project has none of its own."""
    if not recipe.entrypoint:
        yield Item.of_bytes(f"{SOURCE}/{SERVICE}.py", serving.SERVICE.encode())
    yield Item.of_bytes(f"{SOURCE}/{SERVICE}.json", canonical(planned.told))
