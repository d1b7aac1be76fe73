"""Bundles of any content, put into the store without BentoML: for tests of what becomes of bundles later."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path

from modeldeploy.bundle.manifest import BUILD_FACTS, LOCK, MANIFEST, MTIME, File, Manifest
from modeldeploy.bundle.store import BundleStore, Stored
from modeldeploy.oci.descriptor import digest_of

PROJECT = """\
[project]
name = "digits"
version = "{version}"

[model]
path = "model.onnx"

[registry]
url = "{registry}"
"""
CODE = {
    LOCK: b"onnxruntime==1.20.0 --hash=sha256:00\n" * 200,
    "bento.yaml": b"service: digits\n",
    "src/mdeploy_serving/worker.py": b"# serves\n" * 50,
    "src/service.py": b"answer = 42\n",
}
FACTS = {"built": "2026-11-22T17:00:00Z", "git": {"commit": "0" * 40, "dirty": False}}


def put(
    model: bytes,
    *,
    version: str = "1.0.0",
    name: str = "digits",
    others: Mapping[str, bytes] | None = None,
    home: Path | None = None,
    python: str = "3.11",
) -> Stored:
    """A bundle with this model in the store of a home."""
    content = {**CODE, "src/model.onnx": model, **(others or {})}
    manifest = manifest_of(content, name=name, version=version, python=python)
    store = BundleStore(home)
    with store.workspace() as folder:
        write(content | {MANIFEST: manifest.to_bytes(), BUILD_FACTS: json.dumps(FACTS).encode()}, folder)
        stored, _new = store.add(folder, manifest)
    return stored


def manifest_of(
    content: Mapping[str, bytes], *, name: str = "digits", version: str = "1.0.0", python: str = "3.11"
) -> Manifest:
    """The manifest of a bundle with these files; ``src/model.onnx`` is the model."""
    return Manifest(
        name=name,
        version=version,
        framework="onnx",
        entrypoint="service:Digits",
        model=("src/model.onnx",),
        python=python,
        lock=digest_of(content[LOCK]),
        requirements=(),
        files=tuple(
            File(path, digest_of(data).removeprefix("sha256:"), len(data), path.endswith(".sh"))
            for path, data in content.items()
        ),
    )


def write(content: Mapping[str, bytes], folder: Path) -> None:
    """The files as the store has them: read-only, with the one time."""
    for path, data in content.items():
        place = folder / path
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(data)
        os.utime(place, ns=(MTIME, MTIME))
        place.chmod(0o555 if path.endswith(".sh") else 0o444)


def project(folder: Path, registry: Path | str, *, version: str = "1.0.0") -> Path:
    """A project whose bundle is in the store already, and whose registry is there."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "modeldeploy.toml").write_text(PROJECT.format(version=version, registry=registry))
    (folder / "model.onnx").write_bytes(b"model")
    return folder
