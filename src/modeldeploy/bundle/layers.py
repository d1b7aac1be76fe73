"""How a bundle is divided into layers: what changes together is sent together, and nothing else.

The same layers are in the bundle's artifact and in its image, so a registry keeps them once. Their paths
begin with ``bundle/``: in an image, the bundle lies in ``/bundle``. They are not compressed, so their digests
depend on nothing but their content.

In this order: a layer for each file of the model and each other large file; the environment (the lock and
what BentoML puts beside it); mdeploy's serving code; last the rest, with the manifest and the project's code.
What changes most often is last: an engine that has the layers before it unpacks only that one.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from modeldeploy.bundle.manifest import MANIFEST, SOURCE, File, Manifest
from modeldeploy.errors import BundleError
from modeldeploy.oci import tar
from modeldeploy.oci.descriptor import digest_of, short
from modeldeploy.oci.tar import Entry, Layer

FOLDER = "bundle"
"""Where a bundle lies in its layers."""
NAME = "dev.mdeploy.layer"
"""The annotation that holds a layer's name."""
LARGE = 64 << 10
"""Bytes from which a file has a layer of its own."""
MOST = 60
"""How many files have a layer of their own; engines refuse images of more than about 125 layers."""
_ENVIRONMENT, _SERVING, _CODE, _MORE = "environment", "serving", "code", "more"


@dataclass(frozen=True, slots=True)
class Group:
    """The files of one layer, sorted by path."""

    name: str
    files: tuple[File, ...]

    @property
    def single(self) -> File | None:
        """Its only file, where it is a layer for one file."""
        return self.files[0] if len(self.files) == 1 and self.name == self.files[0].path else None


def groups_of(manifest: Manifest) -> tuple[Group, ...]:
    """Which file goes to which layer: a function of the manifest alone."""
    listed = sorted(_all_files(manifest), key=lambda file: file.path.encode())
    models = frozenset(manifest.model)
    alone = [file for file in listed if file.path in models or _is_large(file)]
    alone = sorted(alone, key=lambda file: -file.size)[:MOST]
    single = {file.path for file in alone}
    shared: dict[str, list[File]] = {_MORE: [], _ENVIRONMENT: [], _SERVING: [], _CODE: []}
    for file in listed:
        if file.path not in single:
            shared[_share_of(file, models)].append(file)
    return (
        *(Group(file.path, (file,)) for file in listed if file.path in single),
        *(Group(name, tuple(files)) for name, files in shared.items() if files),
    )


def layers_of(bundle: Path) -> tuple[Layer, ...]:
    """The layers of an unpacked bundle, in the order of an image. Each large file is read once, ever.

    Raises `BundleError` for what is no bundle, or has lost a file.
    """
    manifest = Manifest.read(bundle)
    return tuple(
        tar.layer_of(entries_of(group, bundle), name=group.name, annotations=((NAME, group.name),))
        for group in groups_of(manifest)
    )


def entries_of(group: Group, bundle: Path | None) -> tuple[Entry, ...]:
    """The entries of a group's layer: its folders, then its files. Without a bundle they have no content."""
    return (*_folders(group.files), *(_entry(file, bundle) for file in group.files))


def size_of(group: Group) -> int:
    """How long a group's layer is, in bytes."""
    return tar.size_of(entries_of(group, None))


def before(group: Group) -> int:
    """Bytes of the layer of a single file that come before that file's content."""
    last = max(group.files, key=lambda file: file.path)
    return size_of(group) - last.size - -last.size % tar.BLOCK - 2 * tar.BLOCK


def _all_files(manifest: Manifest) -> Iterable[File]:
    content = manifest.to_bytes()
    yield File(MANIFEST, digest_of(content).removeprefix("sha256:"), len(content))
    yield from manifest.files


def _is_large(file: File) -> bool:
    return file.size >= LARGE and not file.path.startswith("env/")


def _share_of(file: File, models: frozenset[str]) -> str:
    if file.path in models or _is_large(file):
        return _MORE
    if file.path.startswith("env/"):
        return _ENVIRONMENT
    return _SERVING if file.path.startswith(f"{SOURCE}/mdeploy_serving/") else _CODE


def _entry(file: File, bundle: Path | None) -> Entry:
    path, mode = f"{FOLDER}/{file.path}", 0o555 if file.executable else 0o444
    if bundle is None:
        return Entry(path, tar.Kind.FILE, mode, file.size, b"", sha256=file.sha256)
    source = bundle / file.path
    try:
        content: Path | bytes = source if file.size >= LARGE else source.read_bytes()
        if isinstance(content, bytes) and digest_of(content) != f"sha256:{file.sha256}":
            raise _not_whole(bundle, f"{file.path} was changed")
        return Entry(path, tar.Kind.FILE, mode, file.size, content, sha256=file.sha256)
    except OSError as error:
        raise _not_whole(bundle, f"{file.path}: {error.strerror}") from error


def _folders(files: Sequence[File]) -> tuple[Entry, ...]:
    found = {parent for file in files for parent in PurePosixPath(FOLDER, file.path).parents}
    return tuple(Entry.folder(str(each)) for each in sorted(found) if each.parts)


def _not_whole(bundle: Path, what: str) -> BundleError:
    return BundleError(
        f"the bundle {short(bundle.name)} is damaged: {what}",
        hint=f"delete it (chmod -R u+w '{bundle}'; rm -r '{bundle}'), then: mdeploy build",
    )
