"""Names that move: ``@staging``, ``@prod`` and others point to versions in the registry, which never do."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from modeldeploy.bundle import artifact
from modeldeploy.bundle.artifact import Packed
from modeldeploy.config.peek import project_name
from modeldeploy.errors import BundleError, ConfigError, RegistryUnavailable
from modeldeploy.events import Emit
from modeldeploy.model import BundleRef
from modeldeploy.oci.descriptor import Descriptor
from modeldeploy.ops import auditing, references
from modeldeploy.ops.references import Reference
from modeldeploy.registry.base import Repository, TagMoved

_TRIES = 20


@dataclass(frozen=True, slots=True)
class Move:
    """A time when an alias began to point to a bundle, by the audit log."""

    at: float
    """Unix seconds."""
    by: str
    bundle: BundleRef


@dataclass(frozen=True, slots=True)
class Alias:
    """A name and the bundle that it stands for."""

    name: str
    """Without the @."""
    bundle: BundleRef
    registry: str
    image: str | None = None
    """Digest of the image that the same name stands for."""
    previous: BundleRef | None = None
    """Where it pointed until now; None for one that is new, or that was only looked at."""
    moved: bool = False
    history: tuple[Move, ...] = ()
    """Where it was, newest first; only of one that was asked for by name."""


def alias(root: Path, name: str, ref: str | None = None, *, emit: Emit) -> Alias:
    """Point an alias to a bundle in the registry; without ``ref``, tell where it points and did before.

    Of two who move one at once, both do, one after the other, and the audit log tells in which order. Raises
    `BundleError` for a bundle that was not pushed, or an alias that is not there.
    """
    name, project = references.alias_name(name), project_name(root)
    repository = references.repository_at(root, project)
    if ref is None:
        return _told(root, repository, name, emit)
    wanted = Reference.of(ref, project)
    if wanted.name != project:
        raise ConfigError(
            f"{wanted} is a bundle of another project than {project}", hint=f"mdeploy alias @{name} VERSION"
        )
    packed = references.insist(repository, wanted)
    _refuse_version(repository, name)
    previous = _move(repository, artifact.bundle_tag(name), packed.descriptor)
    image = _move_image(repository, name, packed)
    before = artifact.read(repository, previous).ref if previous else None
    if before != packed.ref:
        data = {"alias": name, "registry": repository.where, "previous": _data(before)}
        auditing.write_down(root, "alias", emit, bundle=packed.ref, data=data)
    return Alias(name, packed.ref, repository.where, image, before, moved=before != packed.ref)


def aliases(root: Path, *, emit: Emit) -> tuple[Alias, ...]:
    """All aliases of the project's repository, by name."""
    del emit  # nothing of it takes long enough to be told
    repository = references.repository_at(root, project_name(root))
    return tuple(_aliases(repository))


def _aliases(repository: Repository) -> Iterator[Alias]:
    for name in references.candidates_in(repository.tags()):
        found = repository.tag(artifact.bundle_tag(name))
        if found is None:
            continue
        bundle = artifact.read(repository, found).ref
        if bundle.version != name:
            yield Alias(name, bundle, repository.where, _image_of(repository, name))


def _told(root: Path, repository: Repository, name: str, emit: Emit) -> Alias:
    bundle = references.insist(repository, Reference(project_name(root), alias=name)).ref
    history = _history(root, name, emit)
    return Alias(name, bundle, repository.where, _image_of(repository, name), history=history)


def _history(root: Path, name: str, emit: Emit) -> tuple[Move, ...]:
    try:
        entries = auditing.recorder(root, emit).entries()
    except RegistryUnavailable:
        return ()
    records = [entry.record for entry in entries if entry.record.kind in {"alias", "promote"}]
    moves = [
        Move(record.at, record.by, record.bundle)
        for record in records
        if record.bundle and record.data.get("alias") == name
    ]
    return tuple(reversed(moves))


def _move(repository: Repository, tag: str, to: Descriptor) -> Descriptor | None:
    """Point a tag there, wherever it points; where it pointed until then."""
    found = repository.tag(tag)
    for _ in range(_TRIES):
        if found is not None and found.digest == to.digest:
            return found
        try:
            repository.set_tag(tag, to, was=found.digest if found else None)
        except TagMoved as moved:
            found = moved.found
        else:
            return found
    raise RegistryUnavailable(
        f"others moved {tag} in {repository.where} {_TRIES} times meanwhile",
        hint="run the same command again",
    )


def _move_image(repository: Repository, name: str, packed: Packed) -> str | None:
    """Let the alias stand for the version's image too; its digest.

    Where the version has none, the name must not go on standing for another version's image: it points to
    the bundle then, which no engine can run.
    """
    image = repository.tag(artifact.version_tag(packed.ref.version))
    tag = artifact.version_tag(name)
    if image is None and repository.tag(tag) is None:
        return None
    _move(repository, tag, image or packed.descriptor)
    return image.digest if image else None


def _image_of(repository: Repository, name: str) -> str | None:
    found, bundle = repository.tag(artifact.version_tag(name)), repository.tag(artifact.bundle_tag(name))
    same = found and bundle and found.digest == bundle.digest
    return found.digest if found and not same else None


def _refuse_version(repository: Repository, name: str) -> None:
    """A version's tag never moves: a name that is a version's can be no alias."""
    found = repository.tag(artifact.bundle_tag(name))
    if found and artifact.read(repository, found).ref.version == name:
        raise BundleError(
            f"'{name}' is a version of this project, and versions never change",
            hint="take another name for the alias",
        )


def _data(ref: BundleRef | None) -> dict[str, str] | None:
    return auditing.told_bundle(ref) if ref else None
