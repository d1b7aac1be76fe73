"""Reading every byte of a bundle, here and in the registry, against the digests that name it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import BinaryIO

from modeldeploy.bundle import artifact, layers
from modeldeploy.bundle.artifact import Packed
from modeldeploy.bundle.manifest import MANIFEST
from modeldeploy.bundle.store import BundleStore, Stored
from modeldeploy.config.load import Project, load
from modeldeploy.errors import BundleError, RegistryError, RegistryRefused
from modeldeploy.events import Emit
from modeldeploy.model import BundleRef, Finding, Level
from modeldeploy.oci import manifest as oci
from modeldeploy.oci import unpack
from modeldeploy.oci.checked import Checked
from modeldeploy.oci.descriptor import Descriptor, digest_of, short
from modeldeploy.oci.unpack import Wanted
from modeldeploy.ops import references
from modeldeploy.ops.references import Reference
from modeldeploy.registry.base import Moved, Repository
from modeldeploy.registry.transfer import Job, Stop, transfer
from modeldeploy.sizes import size


def verify(root: Path, ref: str | None = None, *, emit: Emit) -> tuple[Finding, ...]:
    """Check a bundle (default: the project's version) wherever it is: this machine, the registry, its image.

    An ERROR among the findings means that something is not what it should be. Raises `BundleError` where
    the bundle is in neither place.
    """
    project = load(root)
    name = project.file.project.name
    wanted = Reference.of(ref or project.file.project.version, name)
    repository = references.repository_at(root, wanted.name)
    local = _local(wanted)
    try:
        packed = references.locate(repository, wanted)
    except RegistryError as error:
        return (*_of_store(local), Finding("registry", Level.ERROR, error.message, error.hint or ""))
    if packed is None:
        if local is None:
            references.insist(repository, wanted)
        message = f"{wanted} is not in {repository.where}"
        return (*_of_store(local), Finding("registry", Level.WARNING, message, f"mdeploy push {wanted}"))
    if local is None or local.ref.digest != packed.ref.digest:
        local = _local(Reference(packed.ref.name, digest=packed.ref.digest))
    found = [*_of_store(local), *_of_tags(repository, packed), _of_registry(repository, packed, emit)]
    image = repository.tag(artifact.version_tag(packed.ref.version))
    if image is not None:
        found.append(_of_image(repository, image, packed, emit))
    return (*found, *_of_signatures(project, repository, packed, image))


def _local(ref: Reference) -> Stored | None:
    """The bundle on this machine, damaged or not; None where it is not."""
    store = BundleStore()
    digest = ref.digest or store.digest_of(ref.name, ref.version)
    if ref.alias or digest is None:
        return None
    matching = [
        path for path in store.folder.glob("sha256-*") if path.name.startswith(digest.replace(":", "-"))
    ]
    if len(matching) != 1:
        return None
    full = matching[0].name.replace("-", ":")
    return Stored(BundleRef(ref.name, ref.version or short(full), full), matching[0])


def _of_store(stored: Stored | None) -> Iterator[Finding]:
    if stored is None:
        return
    try:
        manifest = BundleStore().check(stored.path, full=True)
    except BundleError as error:
        yield Finding("store", Level.ERROR, error.message, error.hint or "")
        return
    held = size(sum(file.size for file in manifest.files))
    told = f"{len(manifest.files)} files, {held} on this machine are what {short(stored.ref.digest)} says"
    yield Finding("store", Level.OK, told)


def _of_tags(repository: Repository, packed: Packed) -> Iterator[Finding]:
    """The names of one bundle must stand for one bundle."""
    for tag in (artifact.bundle_tag(packed.ref.version), artifact.digest_tag(packed.ref.digest)):
        found = repository.tag(tag)
        try:
            if found is None:
                told = f"{repository.where} has no {tag}"
                yield Finding("tags", Level.WARNING, told, f"mdeploy push {packed.ref}")
            elif artifact.read(repository, found).ref.digest != packed.ref.digest:
                told = f"{tag} in {repository.where} stands for another bundle: somebody has moved it"
                yield Finding("tags", Level.ERROR, told, "mdeploy audit")
        except RegistryRefused as error:
            yield Finding("tags", Level.ERROR, error.message, error.hint or "")


def _of_registry(repository: Repository, packed: Packed, emit: Emit) -> Finding:
    """Every layer is what its digest says, holds what the bundle's manifest says, and nothing else."""
    config = packed.bundle.to_bytes()
    own = Wanted(digest_of(config).removeprefix("sha256:"), len(config))
    wanted = {file.path: Wanted(file.sha256, file.size, file.executable) for file in packed.bundle.files}
    wanted[MANIFEST] = own
    seen: list[str] = []

    def look(stream: _Counted, layer: Descriptor) -> None:
        seen.extend(unpack.files(stream, layer, None, wanted, below=layers.FOLDER))

    fault = _fault(repository, packed.manifest.layers, look, emit)
    missing = sorted(set(wanted) - set(seen))
    where = f"{packed.ref} in {repository.where}"
    remedy = f"push it again from a machine that has it: mdeploy push {packed.ref}"
    if fault:
        return Finding("registry", Level.ERROR, f"{where}: {fault}", remedy)
    twice = next((path for path in wanted if seen.count(path) > 1), None) if len(seen) > len(wanted) else None
    if missing or twice:
        told = f"{where}: {twice or missing[0]} is in {'two' if twice else 'none'} of its layers"
        return Finding("registry", Level.ERROR, told, remedy)
    held = size(sum(layer.size for layer in packed.manifest.layers))
    told = f"{len(packed.manifest.layers)} layers, {held} in {repository.where} are what they should be"
    return Finding("registry", Level.OK, told)


def _of_image(repository: Repository, image: Descriptor, packed: Packed, emit: Emit) -> Finding:
    """Every piece is what its digest says, and the bundle's own layers are in it. Signatures tell by whom."""
    ref, own = packed.ref, {layer.digest for layer in packed.manifest.layers}
    where = f"the image of {ref} in {repository.where}"
    try:
        manifests = list(_manifests(repository, image))
        if not manifests or any(own - {layer.digest for layer in each.layers} for each in manifests):
            told = f"{where} does not hold that bundle: somebody has put another one there"
            return Finding("image", Level.ERROR, told, "mdeploy audit")
        content = {each.digest: each for manifest in manifests for each in manifest.content()}
        fault = _fault(repository, tuple(content.values()), _drain, emit)
    except (RegistryError, ValueError) as error:
        fault = str(error)
    if fault:
        return Finding("image", Level.ERROR, f"{where}: {fault}", f"mdeploy push {ref} --image")
    held = size(sum(each.size for each in content.values()))
    return Finding("image", Level.OK, f"{len(content)} pieces, {held} of {where} are what their digests say")


def _manifests(repository: Repository, image: Descriptor) -> Iterator[oci.Manifest]:
    found = oci.parse(repository.manifest(image.digest), image.media_type)
    if isinstance(found, oci.Manifest):
        yield found
        return
    for each in found.manifests:
        yield oci.Manifest.from_bytes(repository.manifest(each.digest), each.media_type)


class _Counted:
    """A stream from a registry, told to those who watch."""

    def __init__(self, stream: BinaryIO, moved: Moved, stop: Stop) -> None:
        self._stream, self._moved, self._stop = stream, moved, stop

    def read(self, size: int, /) -> bytes:
        self._stop.check()
        piece = self._stream.read(size)
        self._moved(len(piece))
        return piece


def _drain(stream: _Counted, descriptor: Descriptor) -> None:
    Checked(stream, descriptor).finish()


Look = Callable[[_Counted, Descriptor], None]
"""Reads all of a stream. Raises ValueError if it is not what its descriptor says."""


def _fault(repository: Repository, content: tuple[Descriptor, ...], look: Look, emit: Emit) -> str | None:
    """What is wrong with the first piece that is not what it should be; None if all are."""

    def job(descriptor: Descriptor) -> Job[str | None]:
        def work(moved: Moved, stop: Stop) -> str | None:
            try:
                with repository.open_blob(descriptor) as stream:
                    look(_Counted(stream, moved, stop), descriptor)
            except RegistryRefused as error:
                return error.message
            except ValueError as error:
                return str(error)
            return None

        name = descriptor.annotations.get(layers.NAME, short(descriptor.digest))
        return Job(name, descriptor.size, work, lambda fault: "damaged" if fault else "checked")

    faults = transfer([job(each) for each in content], emit=emit, direction="check")
    return next((fault for fault in faults if fault), None)


def _of_signatures(
    project: Project, repository: Repository, packed: Packed, image: Descriptor | None
) -> Iterator[Finding]:
    """Who has signed, where the project says whose signatures count."""
    trusted = project.signing()
    if not (trusted.public_keys or trusted.identities):
        return
    from modeldeploy.signing import keys, verifying

    known = keys.public_keys(trusted.public_keys)
    claims: Mapping[str, str] = {"version": packed.ref.version, "bundle": packed.ref.digest}
    for what, descriptor in (("bundle", packed.descriptor), ("image", image)):
        if descriptor is None:
            continue
        judged = verifying.judge(repository, descriptor, known, claims=claims, identities=trusted.identities)
        if judged.verified:
            who = ", ".join(one.key for one in judged.verified)
            yield Finding("signature", Level.OK, f"the {what} is signed by {who}")
        else:
            why = "; ".join(judged.rejected) or "nobody has signed it"
            told = f"no signature of the {what} counts: {why}"
            yield Finding("signature", Level.ERROR, told, f"mdeploy sign {packed.ref}")
