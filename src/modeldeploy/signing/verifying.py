"""Whose signatures count: those by one of the given keys, of this manifest, for a repository of its name."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from modeldeploy.config.settings import Identity
from modeldeploy.errors import RegistryRefused
from modeldeploy.oci.descriptor import Descriptor, short
from modeldeploy.registry.base import Repository
from modeldeploy.signing import attached, keyless, payload
from modeldeploy.signing.keyless import IdentityService
from modeldeploy.signing.keys import PublicKey
from modeldeploy.signing.payload import Claims
from modeldeploy.signing.signers import Signer

SIMPLE_SIGNING = "application/vnd.dev.cosign.simplesigning.v1+json"
SIGNATURE = "dev.cosignproject.cosign/signature"
_LONGEST_SIGNATURE = 4096


@dataclass(frozen=True, slots=True)
class Verified:
    """A signature that counts."""

    key: str
    """Name of the key that verified it, as the project file has it; the subject of a keyless one."""
    fingerprint: str
    """Of that key; of a keyless one, who vouched for it."""
    identity: str
    """The repository that it was signed in."""
    claims: Mapping[str, object] = field(default_factory=dict)
    """What else was signed: ``version`` and ``bundle`` where mdeploy signed."""


@dataclass(frozen=True, slots=True)
class Judged:
    """All signatures of a manifest: those that count, and why the others do not."""

    verified: tuple[Verified, ...] = ()
    rejected: tuple[str, ...] = ()
    """A sentence for people each."""


@dataclass(frozen=True, slots=True)
class Signature:
    """What became of signing."""

    digest: str
    """Of the manifest that is signed."""
    fingerprint: str
    new: bool
    """False where the same key had said the same before."""


def verified(
    repository: Repository,
    descriptor: Descriptor,
    keys: Sequence[PublicKey],
    *,
    claims: Mapping[str, str] | None = None,
    identities: Sequence[Identity] = (),
    service: IdentityService | None = None,
) -> tuple[Verified, ...]:
    """The signatures of a manifest that count; none for one that nobody has signed.

    Those by one of ``keys``, and those without a key by one of ``identities``, for whom ``service`` vouches
    (Sigstore, unless another is given). ``claims`` are what a signature must also say, such as
    ``{"version": "1.0.0"}``, if it says anything of that name: so it does not count for another version.
    Raises `RegistryError`; `ConfigError` where ``identities`` are asked for and sigstore is not installed.
    """
    judged = judge(repository, descriptor, keys, claims=claims, identities=identities, service=service)
    return judged.verified


def judge(
    repository: Repository,
    descriptor: Descriptor,
    keys: Sequence[PublicKey],
    *,
    claims: Mapping[str, str] | None = None,
    identities: Sequence[Identity] = (),
    service: IdentityService | None = None,
) -> Judged:
    """As `verified`, with the reasons against the signatures that do not count."""
    counting: list[Verified] = []
    against: list[str] = []
    trusted = _Trusted(tuple(keys), tuple(identities), service)
    try:
        for piece in _pieces(repository, descriptor.digest):
            one = _judge(piece, repository.where, descriptor.digest, trusted, claims or {})
            if isinstance(one, str):
                against.append(one)
            elif one not in counting:
                counting.append(one)
    except attached.Unreadable as error:
        against.append(f"no signatures can be read: {error}")
    return Judged(tuple(counting), tuple(dict.fromkeys(against)))


def sign(
    repository: Repository,
    descriptor: Descriptor,
    signer: Signer,
    *,
    claims: Mapping[str, str] | None = None,
) -> Signature:
    """Sign a manifest that is in the repository, and keep the signature beside it.

    Nothing is added where the same key has signed the same claims before. Raises `RegistryError`, and what
    the signer raises.
    """
    said = payload.write(descriptor.digest, payload.identity_of(repository.where), claims or {})
    if _said_before(repository, descriptor.digest, said, signer.public):
        return Signature(descriptor.digest, signer.public.fingerprint, new=False)
    signature = base64.b64encode(signer.sign(said)).decode()
    piece = attached.Piece(SIMPLE_SIGNING, said, {SIGNATURE: signature})
    _attach(repository, descriptor.digest, piece)
    return Signature(descriptor.digest, signer.public.fingerprint, new=True)


def sign_keyless(
    repository: Repository,
    descriptor: Descriptor,
    service: IdentityService,
    *,
    claims: Mapping[str, str] | None = None,
) -> Signature:
    """As `sign`, by who this process is. Each call adds a signature, since each has a key of its own."""
    said = payload.write(descriptor.digest, payload.identity_of(repository.where), claims or {})
    vouched = service.sign(said)
    _attach(
        repository, descriptor.digest, attached.Piece(SIMPLE_SIGNING, said, vouched.annotations(SIGNATURE))
    )
    return Signature(descriptor.digest, keyless.fingerprint(vouched.certificate), new=True)


def _pieces(repository: Repository, digest: str) -> Iterator[attached.Piece]:
    return attached.pieces(repository, digest, attached.SIGNATURES, SIMPLE_SIGNING, payload.LARGEST)


def _attach(repository: Repository, digest: str, piece: attached.Piece) -> None:
    try:
        attached.attach(repository, digest, attached.SIGNATURES, piece)
    except attached.Unreadable as error:
        tag = attached.tag_of(digest, attached.SIGNATURES)
        raise RegistryRefused(
            f"{repository.where}:{tag} holds no signatures, and is left as it is: {error}",
            hint="see who put it there, and remove that tag",
        ) from None


def _said_before(repository: Repository, digest: str, said: bytes, key: PublicKey) -> bool:
    try:
        found = _pieces(repository, digest)
        return any(piece.content == said and key.verifies(_signature(piece) or b"", said) for piece in found)
    except attached.Unreadable:
        return False


@dataclass(frozen=True, slots=True)
class _Trusted:
    """Whose signatures count."""

    keys: tuple[PublicKey, ...]
    identities: tuple[Identity, ...]
    service: IdentityService | None

    def who(self, signature: bytes, piece: attached.Piece) -> tuple[str, str] | None:
        """Name and fingerprint of who has signed this; None for a stranger."""
        for key in self.keys:
            if key.verifies(signature, piece.content):
                return key.name, key.fingerprint
        if not self.identities:
            return None
        found = keyless.vouched_for(piece.content, piece.annotations, self.identities, self.service)
        return (found.subject, found.issuer) if found else None

    def named(self) -> str:
        names = [*(key.name for key in self.keys), *(one.subject for one in self.identities)]
        return ", ".join(names) or "your public keys: there are none"


def _judge(
    piece: attached.Piece, where: str, digest: str, trusted: _Trusted, expected: Mapping[str, str]
) -> Verified | str:
    signature = _signature(piece)
    if signature is None:
        return "a signature is not one: its text is no base64"
    # The signature first: only what somebody known has signed is looked into.
    who = trusted.who(signature, piece)
    if who is None:
        return f"a signature was made by none of {trusted.named()}"
    try:
        said = payload.read(piece.content)
    except ValueError as error:
        return f"what {who[0]} signed cannot be read: {error}"
    reason = _mismatch(said, digest, where, expected)
    if reason:
        return f"{who[0]} signed something else: {reason}"
    return Verified(*who, said.identity, said.optional)


def _signature(piece: attached.Piece) -> bytes | None:
    text = piece.annotations.get(SIGNATURE, "")
    if not text or len(text) > _LONGEST_SIGNATURE or not text.isascii():
        return None
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        return None


def _mismatch(said: Claims, digest: str, where: str, expected: Mapping[str, str]) -> str | None:
    """What a signature of one of our keys says that does not hold here; None if all does."""
    if said.digest != digest:
        return f"it is of {short(said.digest)}, not of {short(digest)}"
    name = where.rstrip("/").rpartition("/")[2]
    if said.name != name:
        return f"it is for the repository {said.name[:80]!r}, not for {name!r}"
    for claim, value in expected.items():
        if claim in said.optional and said.optional[claim] != value:
            return f"it says {claim} {str(said.optional[claim])[:80]!r}, not {value!r}"
    return None
