"""Private keys in files: cosign's own encrypted form, and PEM as everybody else writes it.

cosign's form is a PEM block around JSON: scrypt makes a key of the password, and NaCl's secretbox
encrypts PKCS #8 with it.
Source: https://github.com/sigstore/cosign/blob/v2.4.1/specs/SIGNATURE_SPEC.md and
https://github.com/secure-systems-lab/go-securesystemslib/blob/v0.8.0/encrypted/encrypted.go
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import json
import os
import re
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from modeldeploy.errors import ConfigError

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.types import PrivateKeyTypes

LABEL = "ENCRYPTED SIGSTORE PRIVATE KEY"
_LABELS = (LABEL, "ENCRYPTED COSIGN PRIVATE KEY")
LARGEST = 64_000
"""Bytes of a file that may be a key."""
PASSWORD = "COSIGN_PASSWORD"  # noqa: S105 - the name of a variable
_N, _R, _P = 65536, 8, 1
_LARGEST_N = 1 << 20
"""scrypt takes 128 * r * N bytes; a file that asks for more than this is no key."""

Password = Callable[[], bytes]
"""Gives the password, when it is needed."""


def from_environment() -> bytes:
    """The password in ``COSIGN_PASSWORD``. Raises `ConfigError` where it is not set."""
    value = os.environ.get(PASSWORD)
    if value is None:
        raise ConfigError("the private key has a password", hint=f"export {PASSWORD}=...")
    return value.encode()


def encrypted(pkcs8: bytes, password: bytes) -> bytes:
    """A private key (PKCS #8, DER) in cosign's form."""
    from nacl.secret import SecretBox
    from nacl.utils import random

    salt, nonce = random(32), random(SecretBox.NONCE_SIZE)
    box = SecretBox(_derived(password, salt, _N, _R, _P))
    value = {
        "kdf": {"name": "scrypt", "params": {"N": _N, "r": _R, "p": _P}, "salt": _text(salt)},
        "cipher": {"name": "nacl/secretbox", "nonce": _text(nonce)},
        "ciphertext": _text(box.encrypt(pkcs8, nonce).ciphertext),
    }
    body = base64.b64encode(json.dumps(value, separators=(",", ":")).encode()).decode()
    lines = [body[start : start + 64] for start in range(0, len(body), 64)]
    return "\n".join([f"-----BEGIN {LABEL}-----", *lines, f"-----END {LABEL}-----", ""]).encode()


def read(content: bytes, where: str, password: Password) -> PrivateKeyTypes:
    """The private key in a file of either form. ``where`` names it in errors.

    Raises `ConfigError` for a wrong password and for anything else that is no private key.
    """
    from cryptography.hazmat.primitives import serialization

    if len(content) > LARGEST:
        raise _no_key(where)
    found = _block(content)
    if found:
        der = _decrypted(_json(found, where), where, password)
        try:
            return serialization.load_der_private_key(der, None)
        except (ValueError, TypeError):
            raise _no_key(where) from None
    return _pem(content, where, password)


def _pem(content: bytes, where: str, password: Password) -> PrivateKeyTypes:
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives import serialization

    locked = b"ENCRYPTED" in content
    if b"PRIVATE KEY" not in content:
        raise _no_key(where)
    try:
        return serialization.load_pem_private_key(content, password() if locked else None)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        if locked:
            raise _wrong_password(where) from None
        raise _no_key(where) from None


def _block(content: bytes) -> str | None:
    """The body of the first block in cosign's form."""
    text = content.decode("ascii", "replace")
    for label in _LABELS:
        found = re.search(f"-----BEGIN {label}-----([A-Za-z0-9+/=\\s]*)-----END {label}-----", text)
        if found:
            return found[1]
    return None


def _json(body: str, where: str) -> dict[str, Any]:
    try:
        value = json.loads(base64.b64decode("".join(body.split()), validate=True))
        kdf, cipher = value["kdf"], value["cipher"]
        parts = {
            "salt": _bytes(kdf["salt"]),
            "nonce": _bytes(cipher["nonce"]),
            "ciphertext": _bytes(value["ciphertext"]),
            **{name: kdf["params"][name] for name in ("N", "r", "p")},
        }
        known = (kdf["name"], cipher["name"]) == ("scrypt", "nacl/secretbox")
    except (ValueError, KeyError, TypeError, RecursionError):
        raise _no_key(where) from None
    if not known or not _bearable(parts):
        raise _no_key(where)
    return parts


def _bearable(parts: dict[str, Any]) -> bool:
    """True for parameters of scrypt that are in use, and that this machine survives."""
    n, r, p = parts["N"], parts["r"], parts["p"]
    plain = all(type(value) is int for value in (n, r, p))
    return plain and 1 < n <= _LARGEST_N and n & (n - 1) == 0 and r == _R and p == _P


def _decrypted(parts: dict[str, Any], where: str, password: Password) -> bytes:
    from nacl.exceptions import CryptoError
    from nacl.secret import SecretBox

    key = _derived(password(), parts["salt"], parts["N"], parts["r"], parts["p"])
    try:
        return bytes(SecretBox(key).decrypt(parts["ciphertext"], parts["nonce"]))
    except (CryptoError, ValueError, TypeError):
        raise _wrong_password(where) from None


def _derived(password: bytes, salt: bytes, n: int, r: int, p: int) -> bytes:
    return hashlib.scrypt(password, salt=salt, n=n, r=r, p=p, maxmem=256 * r * n + (1 << 20), dklen=32)


def _text(content: bytes) -> str:
    return base64.b64encode(content).decode()


def _bytes(text: str) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except binascii.Error as error:
        raise ValueError(str(error)) from None


def _no_key(where: str) -> ConfigError:
    return ConfigError(
        f"{where} is not a private key; expected one of cosign's, or PEM", hint="make one: mdeploy keygen"
    )


def _wrong_password(where: str) -> ConfigError:
    return ConfigError(f"the password does not open the key {where}", hint=f"export {PASSWORD}=...")
