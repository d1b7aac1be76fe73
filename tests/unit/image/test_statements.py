from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator

from image_place import base_for, image_of, manifest
from modeldeploy.bundle.manifest import BUILD_FACTS, File
from modeldeploy.image.layers import Requirement
from modeldeploy.image.provenance import Means, provenance
from modeldeploy.image.sbom import bill_of_materials

PACKAGES = (Requirement("numpy", "2.4.6", "BSD-3-Clause AND MIT"), Requirement("torch", "2.9.0+cpu", ""))


def bill() -> dict[str, Any]:
    model = File("src/model.onnx", "a" * 64, 10)
    bundle = manifest(model=("src/model.onnx",), files=(model,), license="Apache-2.0")
    image = image_of(bundle=bundle)
    return bill_of_materials(image.platforms[0], bundle, base_for(), PACKAGES)


def test_the_bill_of_materials_is_valid_cyclonedx() -> None:
    problem = JsonStrictValidator(SchemaVersion.V1_6).validate_str(json.dumps(bill()))
    assert problem is None, problem


def test_it_lists_model_packages_and_what_the_base_is_made_of() -> None:
    components = {component["name"]: component for component in bill()["components"]}
    assert components.keys() == {"model.onnx", "numpy", "torch", "libc6"}
    assert components["torch"]["purl"] == "pkg:pypi/torch@2.9.0%2Bcpu"
    assert components["libc6"]["purl"].startswith("pkg:deb/debian/libc6@")
    model = components["model.onnx"]
    assert model["type"] == "machine-learning-model"
    assert model["hashes"] == [{"alg": "SHA-256", "content": "a" * 64}]
    assert model["licenses"] == [{"expression": "Apache-2.0"}]


def test_the_same_image_has_the_same_bill() -> None:
    assert bill() == bill()


def test_provenance_tells_what_the_image_must_not_hold(tmp_path: Path) -> None:
    told = {
        "built": "2026-11-22T10:00:00Z",
        "git": {"commit": "c" * 40, "dirty": True},
        "ci": {"name": "github", "run": "https://github.example/runs/1"},
        "tools": {"uv": "0.9"},
    }
    (tmp_path / BUILD_FACTS).write_text(json.dumps(told))
    bundle = manifest()
    image = image_of(bundle=bundle)
    means = Means("none", "3.11.2", "zlib-ng 1.1.0 level 6", (base_for(),))
    statement = json.loads(provenance(image, bundle, tmp_path, means).content)
    assert statement["_type"] == "https://in-toto.io/Statement/v1"
    assert statement["subject"] == [{"name": "digits", "digest": {"sha256": image.digest[7:]}}]
    definition = statement["predicate"]["buildDefinition"]
    assert definition["internalParameters"]["compiler"] == "CPython 3.11.2"
    named = {entry.get("name"): entry for entry in definition["resolvedDependencies"]}
    assert named["bundle"]["digest"] == {"sha256": bundle.digest()[7:]}
    assert named["source"] == {
        "name": "source",
        "digest": {"gitCommit": "c" * 40},
        "annotations": {"dirty": True},
    }
    run = statement["predicate"]["runDetails"]
    assert run["metadata"]["invocationId"] == "https://github.example/runs/1"
    assert run["builder"]["version"]["uv"] == "0.9"
    assert b"c" * 40 not in image.platforms[0].config + image.content


def test_a_bundle_without_build_facts_has_provenance_too(tmp_path: Path) -> None:
    bundle = manifest()
    image = image_of(bundle=bundle)
    statement = json.loads(provenance(image, bundle, tmp_path, Means("none", "3.11.2", "z", ())).content)
    assert "startedOn" not in statement["predicate"]["runDetails"]["metadata"]
