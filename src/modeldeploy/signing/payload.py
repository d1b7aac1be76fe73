"""What a signature says: "simple signing", a JSON text with the digest of what is signed.

Source: https://github.com/containers/image/blob/v5.32.0/docs/containers-signature.5.md
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field

from modeldeploy.oci.descriptor import DIGEST
from modeldeploy.oci.manifest import Malformed, read_object

TYPE = "cosign container image signature"
_KINDS = (TYPE, "atomic container signature")
LARGEST = 64_000
"""Bytes; a payload has some hundreds."""


@dataclass(frozen=True, slots=True)
class Claims:
    """A payload that could be read. Nothing here is to be believed before its signature is verified."""

    digest: str
    """Of the manifest that was signed."""
    identity: str
    """The repository that it was signed in, e.g. ``localhost:5000/team/digits``."""
    optional: Mapping[str, object] = field(default_factory=dict)
    """Further claims; ours are ``version`` and ``bundle``, as text."""

    @property
    def name(self) -> str:
        """The last part of the identity, without a tag or digest: ``digits``."""
        return self.identity.rpartition("/")[2].partition("@")[0].partition(":")[0]


def write(digest: str, identity: str, optional: Mapping[str, str]) -> bytes:
    """The payload to sign. The same claims give the same bytes."""
    value = {
        "critical": {
            "identity": {"docker-reference": identity},
            "image": {"docker-manifest-digest": digest},
            "type": TYPE,
        },
        "optional": dict(sorted(optional.items())) or None,
    }
    return json.dumps(value, separators=(",", ":"), ensure_ascii=True).encode()


def read(content: bytes) -> Claims:
    """The claims in a payload. Raises ValueError for anything else."""
    value = read_object(content, largest=LARGEST)
    critical = _object(value.get("critical"))
    digest = _object(critical.get("image")).get("docker-manifest-digest")
    identity = _object(critical.get("identity")).get("docker-reference", "")
    optional = value.get("optional") or {}
    if critical.get("type") not in _KINDS:
        raise Malformed("the payload is of another type than a signature's")
    if not isinstance(digest, str) or not DIGEST.fullmatch(digest) or not isinstance(identity, str):
        raise Malformed("the payload names no digest")
    return Claims(digest, identity, _object(optional))


def identity_of(where: str) -> str:
    """How a payload names a repository, by its `where`.

    A registry's address as it is; of a folder or a bucket only the repository's name: paths are nobody
    else's business, and the signature stays true where the content is copied to.
    """
    address = "://" not in where and not where.startswith("/")
    return where if address else where.rstrip("/").rpartition("/")[2]


def _object(value: object) -> Mapping[str, object]:
    if not isinstance(value, dict):
        raise Malformed("the payload is not of the form that signatures have")
    return value
