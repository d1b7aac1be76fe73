"""Signed statements about a bundle or an image: SBOM, provenance, scan reports.

An in-toto statement in a DSSE envelope, kept where cosign keeps attestations.
Source: https://github.com/in-toto/attestation/tree/v1.1.0/spec/v1 and
https://github.com/secure-systems-lab/dsse/blob/v1.0.2/protocol.md
"""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from modeldeploy.errors import RegistryRefused
from modeldeploy.oci.descriptor import Descriptor
from modeldeploy.oci.manifest import read_object
from modeldeploy.registry.base import Repository
from modeldeploy.signing import attached, payload
from modeldeploy.signing.keys import PublicKey
from modeldeploy.signing.signers import Signer

ENVELOPE = "application/vnd.dsse.envelope.v1+json"
IN_TOTO = "application/vnd.in-toto+json"
STATEMENT = "https://in-toto.io/Statement/v0.1"
"""The version that cosign writes, and that all readers know."""
_STATEMENTS = (STATEMENT, "https://in-toto.io/Statement/v1")
_PREDICATE_TYPE = "predicateType"
_EMPTY_SIGNATURE = {"dev.cosignproject.cosign/signature": ""}
LARGEST = 32 << 20
"""Bytes of an envelope; an SBOM of some hundred packages has less than one million."""


@dataclass(frozen=True, slots=True)
class Attestation:
    """A statement that one of the given keys has signed, about the manifest that was asked for."""

    predicate_type: str
    predicate: Mapping[str, Any] = field(repr=False)
    key: str
    fingerprint: str


def attest(
    repository: Repository,
    descriptor: Descriptor,
    predicate_type: str,
    predicate: Mapping[str, Any],
    signer: Signer,
) -> bool:
    """Sign a statement about a manifest and keep it beside it. False where it is there already.

    It takes the place of what stood there of the same type by the same key. Raises `RegistryError`.
    """
    body = _statement(repository, descriptor, predicate_type, predicate)
    try:
        before = _own(repository, descriptor.digest, predicate_type, signer.public)
        if any(found == body for _, found in before):
            return False
        replaced = {Descriptor.of(content, ENVELOPE).digest for content, _ in before}
        piece = attached.Piece(
            ENVELOPE, _envelope(body, signer), {**_EMPTY_SIGNATURE, _PREDICATE_TYPE: predicate_type}
        )
        attached.attach(
            repository,
            descriptor.digest,
            attached.ATTESTATIONS,
            piece,
            replaces=lambda old: old.digest in replaced,
        )
    except attached.Unreadable as error:
        tag = attached.tag_of(descriptor.digest, attached.ATTESTATIONS)
        raise RegistryRefused(
            f"{repository.where}:{tag} holds no attestations, and is left as it is: {error}",
            hint="see who put it there, and remove that tag",
        ) from None
    return True


def attestations(
    repository: Repository,
    descriptor: Descriptor,
    keys: Sequence[PublicKey],
    predicate_type: str | None = None,
) -> tuple[Attestation, ...]:
    """The statements about a manifest that count, newest first; only those of a type, where one is given.

    What cannot be read, is signed by nobody known or is about something else is left out.
    """
    found: list[Attestation] = []
    try:
        for piece in _pieces(repository, descriptor.digest):
            one = _verified(piece.content, descriptor.digest, keys)
            if one and predicate_type in (None, one.predicate_type):
                found.append(one)
    except attached.Unreadable:
        return ()
    return tuple(found)


def _pieces(repository: Repository, digest: str) -> list[attached.Piece]:
    return list(attached.pieces(repository, digest, attached.ATTESTATIONS, ENVELOPE, LARGEST))


def _own(
    repository: Repository, digest: str, predicate_type: str, key: PublicKey
) -> list[tuple[bytes, bytes]]:
    """Envelopes of this type that this key has signed, each with the statement in it."""
    own = []
    for piece in _pieces(repository, digest):
        if piece.annotations.get(_PREDICATE_TYPE) == predicate_type:
            opened = _opened(piece.content, [key])
            own += [(piece.content, opened[0])] if opened else []
    return own


def _statement(
    repository: Repository, descriptor: Descriptor, predicate_type: str, predicate: Mapping[str, Any]
) -> bytes:
    name = payload.identity_of(repository.where)
    value = {
        "_type": STATEMENT,
        _PREDICATE_TYPE: predicate_type,
        "subject": [{"name": name, "digest": {"sha256": descriptor.digest.removeprefix("sha256:")}}],
        "predicate": predicate,
    }
    return json.dumps(value, separators=(",", ":"), sort_keys=True, ensure_ascii=False).encode()


def _envelope(body: bytes, signer: Signer) -> bytes:
    signature = base64.b64encode(signer.sign(_encoded(IN_TOTO, body))).decode()
    value = {
        "payloadType": IN_TOTO,
        "payload": base64.b64encode(body).decode(),
        "signatures": [{"keyid": "", "sig": signature}],
    }
    return json.dumps(value, separators=(",", ":")).encode()


def _encoded(kind: str, body: bytes) -> bytes:
    """What is signed: DSSE's pre-authentication encoding, which no other text can be taken for."""
    name = kind.encode()
    return b"DSSEv1 %d %b %d %b" % (len(name), name, len(body), body)


def _opened(envelope: bytes, keys: Sequence[PublicKey]) -> tuple[bytes, PublicKey] | None:
    """The statement in an envelope and who signed it; None where none of these keys did."""
    try:
        value = read_object(envelope, largest=LARGEST)
        body = base64.b64decode(value["payload"], validate=True)
        signatures = [base64.b64decode(one["sig"], validate=True) for one in value["signatures"][:20]]
    except (ValueError, KeyError, TypeError, binascii.Error):
        return None
    signed = _encoded(IN_TOTO, body)
    for key in keys:
        if value.get("payloadType") == IN_TOTO and any(key.verifies(one, signed) for one in signatures):
            return body, key
    return None


def _verified(envelope: bytes, digest: str, keys: Sequence[PublicKey]) -> Attestation | None:
    opened = _opened(envelope, keys)
    if opened is None:
        return None
    body, key = opened
    try:
        value = read_object(body, largest=LARGEST)
        subjects = [subject["digest"]["sha256"] for subject in value["subject"]]
        about_this = digest.removeprefix("sha256:") in subjects and value["_type"] in _STATEMENTS
        kind, predicate = value[_PREDICATE_TYPE], value["predicate"]
    except (ValueError, KeyError, TypeError):
        return None
    if not about_this or not isinstance(kind, str) or not isinstance(predicate, dict):
        return None
    return Attestation(kind, predicate, key.name, key.fingerprint)
