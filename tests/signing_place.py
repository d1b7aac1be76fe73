"""Repositories with something in them to sign, keys, and the real cosign where it is installed."""

from __future__ import annotations

import io
import json
import os
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec

from modeldeploy.oci.descriptor import Blob, Descriptor
from modeldeploy.oci.manifest import IMAGE_MANIFEST
from modeldeploy.registry.base import Repository
from modeldeploy.signing.keys import PublicKey
from modeldeploy.signing.signers import LocalSigner

RECORDED = Path(__file__).parent / "golden" / "cosign"
"""What cosign v2.4.1 wrote: a pair of keys (password `PASSWORD`), a signature, an attestation."""
PASSWORD = b"test-only"
SIGNED = "sha256:3b8275481c2eee8d037204bce5b1ea952dabe66e04e3fd99d09f60d1fd616eb1"


def signer(name: str) -> LocalSigner:
    """One who signs with a key of his own, without a file."""
    key = ec.generate_private_key(ec.SECP256R1())
    return LocalSigner(PublicKey.of(key.public_key(), name), key)


def put(repository: Repository, content: bytes, media_type: str = "application/octet-stream") -> Descriptor:
    """Send a blob."""
    descriptor = Descriptor.of(content, media_type)
    repository.push_blob(Blob(descriptor, lambda start: io.BytesIO(content[start:])), moved=lambda _: None)
    return descriptor


def put_manifest(
    repository: Repository, layers: list[Descriptor], tag: str | None = None, **more: Any
) -> Descriptor:
    """A manifest with these layers, under a tag where one is given."""
    config = put(repository, b"{}", "application/vnd.oci.image.config.v1+json")
    value = {
        "schemaVersion": 2,
        "mediaType": IMAGE_MANIFEST,
        "config": config.to_json(),
        "layers": [layer.to_json() for layer in layers],
        **more,
    }
    written = repository.put_manifest(json.dumps(value).encode(), IMAGE_MANIFEST)
    if tag:
        was = repository.tag(tag)
        repository.set_tag(tag, written, was=was.digest if was else None)
    return written


def something(repository: Repository, text: str = "1.0.0") -> Descriptor:
    """A manifest to sign, tagged with the text that makes it different from others."""
    layer = put(repository, text.encode())
    return put_manifest(repository, [layer], f"{text}.bundle")


def what_cosign_wrote(repository: Repository) -> Descriptor:
    """The recorded manifest, with the signature and the attestation that cosign gave it."""
    put(repository, b'{"name":"digits"}\n')
    put(repository, b"layer")
    signed = repository.put_manifest((RECORDED / "signed-manifest.json").read_bytes(), IMAGE_MANIFEST)
    assert signed.digest == SIGNED
    repository.set_tag("1.0.0.bundle", signed, was=None)
    for name, suffix in (("signatures", "sig"), ("attestations", "att")):
        for part in ("config", "layer"):
            put(repository, (RECORDED / f"{name}-{part}.json").read_bytes())
        manifest = repository.put_manifest((RECORDED / f"{name}.json").read_bytes(), IMAGE_MANIFEST)
        repository.set_tag(f"{SIGNED.replace(':', '-')}.{suffix}", manifest, was=None)
    return signed


def cosign(*words: str, home: Path, password: bytes = PASSWORD) -> subprocess.CompletedProcess[str]:
    """Run the real cosign, without its public services."""
    program = shutil.which("cosign")
    if not program:  # also in CI: what it wrote is recorded, and other tests read that
        pytest.skip("needs cosign (go install github.com/sigstore/cosign/v2/cmd/cosign@v2.4.1)")
    environment: Mapping[str, str] = {
        "PATH": os.environ["PATH"],
        "HOME": str(home),
        "COSIGN_PASSWORD": password.decode(),
    }
    return subprocess.run(
        [program, *words], env=environment, cwd=home, capture_output=True, text=True, check=False, timeout=120
    )
