"""Keys and signatures: `keygen` makes a pair, `sign` signs what was pushed."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from modeldeploy.bundle import artifact
from modeldeploy.errors import BundleError, ConfigError
from modeldeploy.events import Emit, Event
from modeldeploy.model import BundleRef
from modeldeploy.oci.descriptor import Descriptor
from modeldeploy.ops import auditing
from modeldeploy.registry.base import Repository
from modeldeploy.signing import keyfile, keys, signers, verifying
from modeldeploy.signing.keyfile import Password
from modeldeploy.signing.keys import KeyPair

if TYPE_CHECKING:
    from modeldeploy.config.load import Project

_ALIAS = "@"


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
    ``key`` is a file, ``env://NAME``, a secret or ``PLUGIN://...``; otherwise ``[signing] key``. Signing
    twice changes nothing. Raises `ConfigError` for a key that cannot be used, `BundleError` for a bundle that
    was not pushed.
    """
    from modeldeploy.config.load import load

    project = load(root)
    repository = auditing.repository_of(root, project.file.project.name)
    tag = _tag(project, ref)
    packed = artifact.read(repository, _insist_on_pushed(repository, tag, ref))
    signer = signers.open_signer(_key(project, key), project.root, password=password)
    claims = {"version": packed.ref.version, "bundle": packed.ref.digest}
    manifests = []
    for what, found, descriptor in _to_sign(repository, tag, packed):
        signature = verifying.sign(repository, descriptor, signer, claims=claims)
        manifests.append(SignedManifest(what, found, descriptor.digest, signature.new))
        _tell(emit, manifests[-1], signer.public.name)
    if any(one.new for one in manifests):
        _write_down(root, packed.ref, signer.public.fingerprint, manifests, emit)
    return Signed(
        str(packed.ref),
        packed.ref.digest,
        repository.where,
        signer.public.name,
        signer.public.fingerprint,
        tuple(manifests),
    )


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
    if given and "://" not in given and not given.startswith("secret:"):
        return str(Path(given).absolute())  # what is typed is relative to where it is typed
    return named


def _tag(project: Project, ref: str | None) -> str:
    """The tag of the bundle that a reference means."""
    name = project.file.project.name
    if ref is None:
        return artifact.bundle_tag(project.file.project.version)
    if ref.startswith("sha256:"):
        return artifact.digest_tag(ref)
    if ref.startswith(_ALIAS):
        return artifact.bundle_tag(ref.removeprefix(_ALIAS))
    given, _, version = ref.rpartition(":")
    if given not in ("", name):
        raise ConfigError(f"{ref} is a bundle of {given}; this project is {name}", hint=f"{name}:{version}")
    return artifact.bundle_tag(version)


def _insist_on_pushed(repository: Repository, tag: str, ref: str | None) -> Descriptor:
    found = repository.tag(tag)
    if found is None:
        told = ref or tag.removesuffix(".bundle")
        raise BundleError(
            f"{repository.where} does not have {told}, and only what was pushed can be signed",
            hint="mdeploy push" + (f" {ref}" if ref and not ref.startswith(_ALIAS) else ""),
        )
    return found


def _to_sign(
    repository: Repository, tag: str, packed: artifact.Packed
) -> Iterator[tuple[str, str, Descriptor]]:
    """The bundle's own manifest, and that of its version's image."""
    yield "bundle", tag, packed.descriptor
    version = artifact.version_tag(packed.ref.version)
    own = repository.tag(artifact.bundle_tag(packed.ref.version))
    image = repository.tag(version)
    # A version's tags never move, so an image beside the bundle's own tag is the image of this bundle.
    if image and own and own.digest == packed.descriptor.digest:
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
