"""The bill of materials of an image: CycloneDX 1.6, from the lock, the base's packages and the model.

A function of the image: no clock, and a serial number that is made of the image's digest.
Source: https://cyclonedx.org/docs/1.6/json/
"""

from __future__ import annotations

import hashlib
import uuid
from collections.abc import Iterable, Sequence

import modeldeploy
from modeldeploy.bundle.manifest import Manifest
from modeldeploy.image.assemble import PlatformImage
from modeldeploy.image.base.model import Base
from modeldeploy.image.layers import Requirement

PREDICATE = "https://cyclonedx.org/bom"
"""What attestations call it."""


def bill_of_materials(
    image: PlatformImage, bundle: Manifest, base: Base, packages: Sequence[Requirement]
) -> dict[str, object]:
    """All that is in the image, as JSON values."""
    itself = _itself(image, bundle)
    components = [
        *_models(bundle),
        *(_from_lock(package) for package in packages),
        *(
            _of_base(package.name, package.version, package.purl, package.licence)
            for package in base.packages
        ),
    ]
    if not base.packages:
        components.append(_unknown_base(base))
    components.sort(key=lambda component: str(component["bom-ref"]))
    names = [str(component["bom-ref"]) for component in components]
    return {
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "serialNumber": f"urn:uuid:{_serial(image.descriptor.digest)}",
        "version": 1,
        "metadata": {
            "component": itself,
            "tools": {
                "components": [{"type": "application", "name": "mdeploy", "version": modeldeploy.__version__}]
            },
            "properties": [
                {"name": "dev.mdeploy.bundle.digest", "value": bundle.digest()},
                {"name": "dev.mdeploy.platform", "value": str(image.platform)},
            ],
        },
        "components": components,
        "dependencies": [{"ref": str(itself["bom-ref"]), "dependsOn": names}],
    }


def _itself(image: PlatformImage, bundle: Manifest) -> dict[str, object]:
    digest = image.descriptor.digest
    purl = f"pkg:oci/{bundle.name}@{digest.replace(':', '%3A')}?arch={image.platform.architecture}"
    return {
        "type": "container",
        "bom-ref": digest,
        "name": bundle.name,
        "version": bundle.version,
        "purl": purl,
        "hashes": [{"alg": "SHA-256", "content": digest.removeprefix("sha256:")}],
    }


def _models(bundle: Manifest) -> Iterable[dict[str, object]]:
    files = {file.path: file for file in bundle.files}
    for path in bundle.model:
        component: dict[str, object] = {
            "type": "machine-learning-model",
            "bom-ref": f"model:{path}",
            "name": path.removeprefix("src/"),
            "version": bundle.version,
            "hashes": [{"alg": "SHA-256", "content": files[path].sha256}],
            **_licences(bundle.license),
        }
        yield component


def _from_lock(package: Requirement) -> dict[str, object]:
    purl = f"pkg:pypi/{package.name}@{package.version.replace('+', '%2B')}"
    return _of_base(package.name, package.version, purl, package.licence)


def _of_base(name: str, version: str, purl: str, licence: str) -> dict[str, object]:
    return {
        "type": "library",
        "bom-ref": purl,
        "name": name,
        "version": version,
        "purl": purl,
        **_licences(licence),
    }


def _unknown_base(base: Base) -> dict[str, object]:
    """A base by reference: what is in it is its maker's to tell."""
    return {
        "type": "container",
        "bom-ref": f"base:{base.digest}",
        "name": base.source,
        "version": base.digest,
    }


def _licences(expression: str) -> dict[str, object]:
    return {"licenses": [{"expression": expression}]} if expression else {}


def _serial(digest: str) -> uuid.UUID:
    return uuid.UUID(bytes=hashlib.sha256(f"CycloneDX {digest}".encode()).digest()[:16], version=5)
