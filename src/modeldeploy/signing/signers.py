"""Those who sign: a key in a file, a variable or a keyring, or a key that never leaves its service.

Other packages bring such services as factories ``(reference: str) -> KeyService`` under the entry point group
``modeldeploy.signers``; the entry's name is the scheme of its references (``acme`` for ``acme://team/key``).
"""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from modeldeploy.config import secrets
from modeldeploy.errors import ConfigError, ModelDeployError
from modeldeploy.signing import keyfile
from modeldeploy.signing.keyfile import Password
from modeldeploy.signing.keys import PublicKey, of_private

GROUP = "modeldeploy.signers"
_VARIABLE = "env://"


class KeyService(Protocol):
    """A key of another package's: in a cloud's KMS, on a token. Raises `ModelDeployError` only."""

    def public_key(self) -> bytes:
        """The public key, as PEM."""
        ...

    def sign(self, digest: bytes) -> bytes:
        """The signature of a SHA-256 digest: ECDSA as DER, or RSA by PKCS #1 v1.5."""
        ...


class Signer(Protocol):
    """One who can sign."""

    @property
    def public(self) -> PublicKey:
        """What its signatures are verified by."""
        ...

    def sign(self, content: bytes) -> bytes:
        """The signature of this content. Raises `ModelDeployError`."""
        ...


@dataclass(frozen=True, slots=True)
class LocalSigner:
    """Signs with a private key that this process has in its memory."""

    public: PublicKey
    _key: Any = field(repr=False)

    def sign(self, content: bytes) -> bytes:
        from cryptography.hazmat.primitives import hashes
        from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding

        if isinstance(self._key, ed25519.Ed25519PrivateKey):
            return self._key.sign(content)
        if isinstance(self._key, ec.EllipticCurvePrivateKey):
            return self._key.sign(content, ec.ECDSA(hashes.SHA256()))
        signature: bytes = self._key.sign(content, padding.PKCS1v15(), hashes.SHA256())
        return signature


@dataclass(frozen=True, slots=True)
class ServiceSigner:
    """Signs by asking a service that keeps the key."""

    public: PublicKey
    _service: KeyService = field(repr=False)

    def sign(self, content: bytes) -> bytes:
        signature = self._service.sign(hashlib.sha256(content).digest())
        if not isinstance(signature, bytes) or not self.public.verifies(signature, content):
            raise ConfigError(
                f"{self.public.name} gave a signature that its own public key does not verify",
                hint="the service must sign the SHA-256 digest with the key that it names",
            )
        return signature


def open_signer(
    reference: str, root: Path, *, password: Password = keyfile.from_environment
) -> LocalSigner | ServiceSigner:
    """The signer that `SigningSettings.key` names; a path is absolute or relative to ``root``.

    Raises `ConfigError` for a key that is not there, is none, or does not open with the password.
    """
    if secrets.is_reference(reference):
        return _local(secrets.resolve(reference, root).encode(), reference, password)
    if reference.startswith(_VARIABLE):
        name = reference.removeprefix(_VARIABLE)[:100]
        content = os.environ.get(name)
        if not content:
            raise ConfigError(
                f"the key {reference}: {name[:100]} is not set", hint=f"export {name[:100]}=..."
            )
        return _local(content.encode(), reference, password)
    if "://" in reference:
        return ServiceSigner(*_service(reference))
    return _local(_read(root / reference), Path(reference).name, password)


def public_key(reference: str) -> PublicKey:
    """The public key that a service keeps, or that is in an environment variable. Raises `ConfigError`."""
    if reference.startswith(_VARIABLE):
        content = os.environ.get(reference.removeprefix(_VARIABLE), "")
        return PublicKey.from_pem(content.encode(), reference)
    return _service(reference)[0]


def _local(content: bytes, name: str, password: Password) -> LocalSigner:
    key = keyfile.read(content, name, password)
    return LocalSigner(of_private(key, name), key)


def _read(path: Path) -> bytes:
    try:
        if not path.is_file():
            raise ConfigError(f"there is no key {path}", hint="make one: mdeploy keygen")
        with path.open("rb") as stream:
            return stream.read(keyfile.LARGEST + 1)
    except OSError as error:
        raise ConfigError(f"cannot read the key {path}: {error.strerror}", hint=f"ls -l '{path}'") from None


def _service(reference: str) -> tuple[PublicKey, KeyService]:
    from importlib.metadata import entry_points

    scheme = reference.partition("://")[0]
    found = tuple(entry_points(group=GROUP, name=scheme))
    if not found:
        known = sorted(entry_points(group=GROUP).names)
        there = f"there are {', '.join(known)}" if known else "none is installed"
        raise ConfigError(
            f"the key {reference[:200]}: no package signs by '{scheme[:40]}://'; {there}",
            hint=f"install the package that brings '{scheme[:40]}', or use a key in a file: mdeploy keygen",
        )
    try:
        service: KeyService = found[0].load()(reference)
        return PublicKey.from_pem(service.public_key(), reference), service
    except ModelDeployError:
        raise
    except Exception as error:
        raise ConfigError(f"the key {reference[:200]}: {type(error).__name__}: {error}") from error
