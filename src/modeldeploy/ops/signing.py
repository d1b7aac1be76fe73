"""Keys and signatures: `keygen` makes a pair, `sign` signs what was pushed."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from modeldeploy.bundle import artifact
from modeldeploy.bundle.store import BundleStore
from modeldeploy.config.places import KEYLESS, is_reference
from modeldeploy.errors import BundleError, ConfigError
from modeldeploy.events import Emit, Event
from modeldeploy.model import BundleRef
from modeldeploy.oci.descriptor import Descriptor, short
from modeldeploy.ops import auditing, references
from modeldeploy.ops.references import Reference
from modeldeploy.registry.base import Repository
from modeldeploy.signing import attesting, keyfile, keyless, keys, signers, verifying
from modeldeploy.signing.keyfile import Password
from modeldeploy.signing.keys import KeyPair
from modeldeploy.signing.signers import Signer
from modeldeploy.signing.verifying import Signature

if TYPE_CHECKING:
    from modeldeploy.config.load import Project


@dataclass(frozen=True, slots=True)
class SignedManifest:
    """One thing that bears the signature now."""

    what: str
    """``bundle`` or ``image``."""
    tag: str
    digest: str
    new: bool
    """False where the same key had signed the same before."""


@dataclass(frozen=True, slots=True)
class Signed:
    """What `sign` has done."""

    ref: str
    digest: str
    """Of the bundle."""
    registry: str
    key: str
    """Name of the key."""
    fingerprint: str
    """Of its public half."""
    manifests: tuple[SignedManifest, ...]
    statements: tuple[str, ...] = ()
    """Types of the statements about the image (SBOM, provenance) that were signed now."""


def keygen(folder: Path, *, name: str = "cosign", password: Password = keyfile.from_environment) -> KeyPair:
    """Make ``NAME.key`` and ``NAME.pub`` in a folder. Never replaces a file.

    ``password`` gives the password of the private key; an empty one is refused. Raises `ConfigError`.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise ConfigError(f"there is no folder {folder}", hint=f"mkdir -p '{folder}'")
    return keys.generate(folder, _insist_on(password()), name=name)


def sign(
    root: Path,
    ref: str | None = None,
    *,
    key: str | None = None,
    password: Password = keyfile.from_environment,
    emit: Emit,
) -> Signed:
    """Sign a bundle in the registry, and its image where there is one.

    ``ref`` is ``NAME:VERSION``, ``VERSION``, ``sha256:...`` or ``@alias``; otherwise the project's version.
    ``key`` is a file, ``env://NAME``, a secret, ``PLUGIN://...`` or ``keyless``; otherwise ``[signing] key``.
    What this machine knows of how the image was made (SBOM, provenance) is signed with it. Signing twice
    changes nothing. Raises `ConfigError` for a key that cannot be used, `BundleError` for a bundle that
    was not pushed, or that is another one here than in the registry.
    """
    from modeldeploy.config.load import load

    project = load(root)
    wanted = Reference.of(ref or project.file.project.version, project.file.project.name)
    repository = references.repository_at(root, wanted.name)
    packed = references.insist(repository, wanted)
    _refuse_stranger(packed, repository)
    hand = _hand(project, key, password)
    manifests, fingerprint, stated = [], "", []
    to_sign = tuple(_to_sign(repository, packed))
    for what, _tag, descriptor in to_sign:
        if what == "image":
            _refuse_foreign_image(project, repository, packed.ref, descriptor)
    for what, tag, descriptor in to_sign:
        signature = hand.put(repository, descriptor, packed.ref)
        fingerprint = signature.fingerprint
        manifests.append(SignedManifest(what, tag, descriptor.digest, signature.new))
        _tell(emit, manifests[-1], hand.name)
        if what == "image" and hand.signer:
            stated = _attest(repository, packed.ref, descriptor, hand.signer)
    if any(one.new for one in manifests):
        _write_down(root, packed.ref, fingerprint, manifests, emit)
    return Signed(
        str(packed.ref),
        packed.ref.digest,
        repository.where,
        hand.name,
        fingerprint,
        tuple(manifests),
        tuple(stated),
    )


@dataclass(frozen=True, slots=True)
class _Hand:
    """What signs: a key, or (without one) the identity of this process."""

    name: str
    signer: Signer | None

    def put(self, repository: Repository, descriptor: Descriptor, bundle: BundleRef) -> Signature:
        claims = {"version": bundle.version, "bundle": bundle.digest}
        if self.signer is None:
            return verifying.sign_keyless(repository, descriptor, keyless.Sigstore(), claims=claims)
        return verifying.sign(repository, descriptor, self.signer, claims=claims)


def _hand(project: Project, key: str | None, password: Password) -> _Hand:
    reference = _key(project, key)
    if reference == KEYLESS:
        return _Hand(KEYLESS, None)
    signer = signers.open_signer(reference, project.root, password=password)
    return _Hand(signer.public.name, signer)


def _refuse_stranger(packed: artifact.Packed, repository: Repository) -> None:
    """What was built here must be what is signed: the registry may not put another bundle in its place."""
    own = BundleStore().digest_of(packed.ref.name, packed.ref.version)
    if own not in (None, packed.ref.digest):
        raise BundleError(
            f"{packed.ref} is {short(packed.ref.digest)} in {repository.where}, and {short(own)} here: "
            "what would be signed is not what was built here",
            hint="find out which one is right: mdeploy verify",
            details={"here": own, "there": packed.ref.digest},
        )


def _refuse_foreign_image(
    project: Project, repository: Repository, bundle: BundleRef, image: Descriptor
) -> None:
    """An image that was made here is signed, and one that somebody signed whose word counts; no other.

    Its tag alone says nothing: whoever may write to the registry may have put it there.
    """
    from modeldeploy.image.made import images_of
    from modeldeploy.signing import keys

    if any(made.image.digest == image.digest for made in images_of(bundle.digest)):
        return
    trusted = project.signing()
    if trusted.public_keys or trusted.identities:
        known = keys.public_keys(trusted.public_keys)
        claims = {"version": bundle.version, "bundle": bundle.digest}
        if verifying.verified(repository, image, known, claims=claims, identities=trusted.identities):
            return
    raise BundleError(
        f"the image of {bundle} in {repository.where} ({short(image.digest)}) was not made on this machine, "
        "and nobody whose signature counts has signed it: nothing was signed",
        hint=f"make it here, where it becomes the same image: mdeploy image {bundle}; then sign again",
        details={"image": image.digest},
    )


def _attest(repository: Repository, bundle: BundleRef, image: Descriptor, signer: Signer) -> list[str]:
    """Sign what this machine states about an image that it made. Types of the statements that are new.

    Statements that only the registry has are left alone: anybody may have put them there.
    """
    from modeldeploy.image.made import images_of

    new = []
    for made in images_of(bundle.digest):
        if made.image.digest != image.digest:
            continue
        for each in made.statements:
            predicate = json.loads(each.content)["predicate"]
            about = Descriptor("", each.subject, 0)
            if attesting.attest(repository, about, each.predicate_type, predicate, signer):
                new.append(each.predicate_type)
    return new


def _insist_on(password: bytes) -> bytes:
    if not password:
        raise ConfigError("a private key needs a password", hint=f"export {keyfile.PASSWORD}=...")
    return password


def _key(project: Project, given: str | None) -> str:
    named = given or project.signing().key
    if named is None:
        raise ConfigError(
            "no key to sign with: [signing] key is not set",
            hint="make one (mdeploy keygen) and name it: mdeploy sign --key cosign.key",
        )
    if given and given != KEYLESS and not is_reference(given):
        return str(Path(given).absolute())  # what is typed is relative to where it is typed
    return named


def _to_sign(repository: Repository, packed: artifact.Packed) -> Iterator[tuple[str, str, Descriptor]]:
    """The bundle's own manifest, and that of its version's image."""
    own, version = artifact.bundle_tag(packed.ref.version), artifact.version_tag(packed.ref.version)
    yield "bundle", own, packed.descriptor
    image, bundle = repository.tag(version), repository.tag(own)
    # A version's tags never move, so an image beside the bundle's own tag is the image of this bundle.
    if image and bundle and bundle.digest == packed.descriptor.digest:
        yield "image", version, image


def _tell(emit: Emit, one: SignedManifest, key: str) -> None:
    how = "signed" if one.new else "was signed before"
    data = {"what": one.what, "tag": one.tag, "digest": one.digest, "new": one.new}
    emit(Event("sign.done", time.time(), f"{one.what} {one.tag} {how} with {key}", data))


def _write_down(
    root: Path, bundle: BundleRef, fingerprint: str, manifests: list[SignedManifest], emit: Emit
) -> None:
    signed = [{"what": one.what, "digest": one.digest} for one in manifests if one.new]
    auditing.write_down(root, "sign", emit, bundle=bundle, data={"key": fingerprint, "signed": signed})
