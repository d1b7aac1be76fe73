"""Public keys, and pairs of keys: ECDSA P-256 is what we make; Ed25519 and RSA keys of others count too."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from modeldeploy.errors import ConfigError
from modeldeploy.oci.descriptor import digest_of
from modeldeploy.signing import keyfile

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.types import PrivateKeyTypes, PublicKeyTypes

SMALLEST_RSA = 2048


@dataclass(frozen=True, slots=True)
class PublicKey:
    """A key that tells whether a signature was made by the private key of the same pair."""

    name: str
    """As the project file names it."""
    fingerprint: str
    """``sha256:`` of its DER form (SubjectPublicKeyInfo): the same key has the same one anywhere."""
    pem: bytes = field(repr=False)
    _key: Any = field(repr=False, compare=False)

    @classmethod
    def from_pem(cls, content: bytes, name: str) -> PublicKey:
        """Reads a public key in PEM. Raises `ConfigError` for anything else, and for a weak one."""
        from cryptography.exceptions import UnsupportedAlgorithm
        from cryptography.hazmat.primitives import serialization

        try:
            key = serialization.load_pem_public_key(content[: keyfile.LARGEST])
        except (ValueError, UnsupportedAlgorithm):
            told = "a private key" if b"PRIVATE KEY" in content else "not a public key"
            raise ConfigError(f"{name} is {told}; expected a public key as PEM") from None
        return cls.of(key, name)

    @classmethod
    def of(cls, key: PublicKeyTypes, name: str) -> PublicKey:
        """Raises `ConfigError` for a key of a kind that signs nothing here."""
        from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

        _insist_on_kind(key, name)
        der = key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
        pem = key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
        return cls(name, digest_of(der), pem, key)

    def verifies(self, signature: bytes, content: bytes) -> bool:
        """True if the private key of this pair has signed exactly this content."""
        from cryptography.exceptions import InvalidSignature
        from cryptography.hazmat.primitives import hashes
        from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding

        try:
            if isinstance(self._key, ed25519.Ed25519PublicKey):
                self._key.verify(signature, content)
            elif isinstance(self._key, ec.EllipticCurvePublicKey):
                self._key.verify(signature, content, ec.ECDSA(hashes.SHA256()))
            else:
                self._key.verify(signature, content, padding.PKCS1v15(), hashes.SHA256())
        except InvalidSignature:
            return False
        return True


@dataclass(frozen=True, slots=True)
class KeyPair:
    """Files that were made."""

    private: Path
    public: Path
    fingerprint: str


def generate(folder: Path, password: bytes, *, name: str = "cosign") -> KeyPair:
    """Make ``NAME.key``, for its owner alone and under a password, and ``NAME.pub``.

    Raises `ConfigError` where one of them is there: a key that was replaced is lost.
    """
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

    private, public = folder / f"{name}.key", folder / f"{name}.pub"
    for path in (private, public):
        if path.exists() or path.is_symlink():
            raise ConfigError(
                f"{path} is there already, and a key that is replaced is lost",
                hint=f"move it away: mv '{path}' '{path}.old'",
            )
    key = ec.generate_private_key(ec.SECP256R1())
    der = key.private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption())
    pair = PublicKey.of(key.public_key(), public.name)
    _create(private, keyfile.encrypted(der, password), 0o600)
    _create(public, pair.pem, 0o644)
    return KeyPair(private, public, pair.fingerprint)


def public_keys(references: Sequence[str]) -> tuple[PublicKey, ...]:
    """The public keys of a project, by `SigningSettings.public_keys`. Raises `ConfigError`."""
    from modeldeploy.signing import signers

    return tuple(
        signers.public_key(reference) if "://" in reference else _of_file(Path(reference))
        for reference in references
    )


def of_private(key: PrivateKeyTypes, name: str) -> PublicKey:
    """The other half of a private key. Raises `ConfigError` for a kind that signs nothing here."""
    return PublicKey.of(key.public_key(), name)


def _of_file(path: Path) -> PublicKey:
    try:
        with path.open("rb") as stream:
            content = stream.read(keyfile.LARGEST + 1)
    except OSError as error:
        raise ConfigError(f"cannot read the key {path}: {error.strerror}", hint=f"ls -l '{path}'") from None
    return PublicKey.from_pem(content, path.name)


def _insist_on_kind(key: object, name: str) -> None:
    from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa

    curves = (ec.SECP256R1, ec.SECP384R1, ec.SECP521R1)
    good = (
        isinstance(key, ed25519.Ed25519PublicKey)
        or (isinstance(key, ec.EllipticCurvePublicKey) and isinstance(key.curve, curves))
        or (isinstance(key, rsa.RSAPublicKey) and key.key_size >= SMALLEST_RSA)
    )
    if not good:
        raise ConfigError(
            f"{name} is a key of a kind that is not used for signatures here",
            hint=f"use ECDSA (P-256), Ed25519, or RSA of {SMALLEST_RSA} bits and more: mdeploy keygen",
        )


def _create(path: Path, content: bytes, mode: int) -> None:
    from modeldeploy import files

    try:
        # O_EXCL: two who make a key at once do not replace each other's, and no link is followed.
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode)
        with os.fdopen(descriptor, "wb") as stream:
            stream.write(content)
            stream.flush()
            os.fsync(stream.fileno())
    except FileExistsError:
        raise ConfigError(f"{path} is there already, and a key that is replaced is lost") from None
    except OSError as error:
        raise files.disk_full(path, error) or ConfigError(
            f"cannot write {path}: {error.strerror}", hint="choose a folder that you may write to"
        ) from error
