"""How an image came to be: SLSA provenance, version 1, in the form that in-toto gives statements.

Facts that may differ between two builds of the same image (commit, time, tool versions) are told here and
nowhere in the image, so that they do not change its digest.
Source: https://slsa.dev/spec/v1.0/provenance, https://github.com/in-toto/attestation/tree/main/spec/v1
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import modeldeploy
from modeldeploy.bundle import facts
from modeldeploy.bundle.manifest import Manifest, canonical
from modeldeploy.image.assemble import Image, PlatformImage
from modeldeploy.image.base.model import Base

PREDICATE = "https://slsa.dev/provenance/v1"
STATEMENT = "https://in-toto.io/Statement/v1"
MEDIA_TYPE = "application/vnd.in-toto+json"
"""The type of a statement that nobody has signed."""
BUILD_TYPE = "https://mdeploy.dev/build/image/v1"
_BUILDER = "https://mdeploy.dev/builder/v1"


@dataclass(frozen=True, slots=True)
class Statement:
    """Something said of manifests. ``subject`` is the first one's digest: to its ``.att`` tag it belongs."""

    subject: str
    predicate_type: str
    content: bytes
    """The statement as JSON: what a signature is made of."""


@dataclass(frozen=True, slots=True)
class Means:
    """With what an image was made."""

    engine: str
    compiler: str
    compressor: str
    bases: tuple[Base, ...]


def statement(
    name: str, digests: tuple[str, ...], predicate_type: str, predicate: Mapping[str, object]
) -> Statement:
    """A statement about manifests of an image."""
    subjects = [{"name": name, "digest": {"sha256": digest.removeprefix("sha256:")}} for digest in digests]
    value = {
        "_type": STATEMENT,
        "subject": subjects,
        "predicateType": predicate_type,
        "predicate": predicate,
    }
    return Statement(digests[0], predicate_type, canonical(value))


def provenance(image: Image, bundle: Manifest, path: Path, means: Means) -> Statement:
    """Where an image comes from; ``path`` is the unpacked bundle, which knows how it was built."""
    told = facts.read(path)
    predicate = {
        "buildDefinition": _definition(image, bundle, told, means),
        "runDetails": _run(told),
    }
    digests = dict.fromkeys((image.digest, *(each.descriptor.digest for each in image.platforms)))
    return statement(bundle.name, tuple(digests), PREDICATE, predicate)


def _definition(image: Image, bundle: Manifest, told: Mapping[str, Any], means: Means) -> dict[str, object]:
    return {
        "buildType": BUILD_TYPE,
        "externalParameters": {
            "bundle": str(image.bundle),
            "platforms": [str(each.platform) for each in image.platforms],
            "engine": means.engine,
        },
        "internalParameters": {"compiler": f"CPython {means.compiler}", "compressor": means.compressor},
        "resolvedDependencies": [
            _named("bundle", image.bundle.digest),
            _named("lock", bundle.lock),
            *(_named(f"base {base.source} for {base.platform}", base.digest) for base in means.bases),
            *({"uri": each.purl} for base in means.bases for each in base.packages),
            *_commit(told.get("git")),
        ],
    }


def _run(told: Mapping[str, Any]) -> dict[str, object]:
    tools = told.get("tools")
    versions = {str(name): str(text) for name, text in tools.items()} if isinstance(tools, dict) else {}
    metadata: dict[str, object] = {}
    if isinstance(told.get("built"), str):
        metadata["startedOn"] = told["built"]
    ci = told.get("ci")
    if isinstance(ci, dict) and isinstance(ci.get("run"), str):
        metadata["invocationId"] = ci["run"]
    return {
        "builder": {"id": _BUILDER, "version": {**versions, "mdeploy": modeldeploy.__version__}},
        "metadata": metadata,
    }


def _named(name: str, digest: str) -> dict[str, object]:
    return {"name": name, "digest": {"sha256": digest.removeprefix("sha256:")}}


def _commit(git: object) -> list[dict[str, object]]:
    if not isinstance(git, dict) or not isinstance(git.get("commit"), str):
        return []
    return [
        {
            "name": "source",
            "digest": {"gitCommit": git["commit"]},
            "annotations": {"dirty": bool(git.get("dirty"))},
        }
    ]


def platform_statement(
    image: PlatformImage, name: str, predicate_type: str, predicate: Mapping[str, object]
) -> Statement:
    """A statement about the manifest of one platform."""
    return statement(name, (image.descriptor.digest,), predicate_type, predicate)
