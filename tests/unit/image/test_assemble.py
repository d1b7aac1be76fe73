from __future__ import annotations

import json
from typing import Any

import pytest

from image_place import AMD64, base_for, image_of, manifest, part
from modeldeploy.errors import ConfigError
from modeldeploy.image.assemble import CREATED, Image, assemble
from modeldeploy.oci.descriptor import Platform
from modeldeploy.oci.manifest import Index, Manifest, parse

ARM64 = Platform("linux", "arm64")


def config_of(image: Image, number: int = 0) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(image.platforms[number].config)
    return found


def test_an_image_of_one_platform_is_its_manifest_and_of_two_an_index() -> None:
    one = image_of(part("code", "code"))
    assert one.content == one.platforms[0].manifest
    assert isinstance(parse(one.content), Manifest)
    two = image_of(part("code", "code"), platforms=(AMD64, ARM64))
    index = parse(two.content)
    assert isinstance(index, Index)
    assert [each.platform for each in index.manifests] == [AMD64, ARM64]
    assert [each.digest for each in index.manifests] == [each.descriptor.digest for each in two.platforms]


def test_layers_and_diff_ids_are_in_the_same_order_base_first() -> None:
    model, code = part("model", "src/model.onnx"), part("code", "code")
    image = image_of(model, code)
    layers = Manifest.from_bytes(image.content).layers
    assert [layer.digest for layer in layers][1:] == [each.blob.descriptor.digest for each in (model, code)]
    config = config_of(image)
    assert config["rootfs"]["diff_ids"] == [base_for().digest, model.diff_id, code.diff_id]
    assert [entry["created_by"] for entry in config["history"]] == [
        "mdeploy: base debian:bookworm",
        "mdeploy: model src/model.onnx",
        "mdeploy: code code",
    ]


def test_the_container_is_one_process_of_a_numeric_user_without_a_shell() -> None:
    config = config_of(image_of())["config"]
    assert config["User"] == "65532:65532"
    assert config["Entrypoint"] == [
        *("/usr/bin/python3.11", "-m", "mdeploy_serving.worker", "--bundle", "/bundle"),
        *("--host", "0.0.0.0", "--port", "3000"),
    ]
    assert config["ExposedPorts"] == {"3000/tcp": {}}
    assert {"LANG=C.UTF-8", "ORT_DISABLE_TELEMETRY=1"} <= set(config["Env"])
    assert "PYTHONPATH=/bundle/src:/opt/mdeploy/site-packages" in config["Env"]
    assert "Healthcheck" not in config


def test_a_bundle_that_speaks_grpc_has_a_port_for_it() -> None:
    config = config_of(image_of(bundle=manifest(protocols=("arrow", "grpc"))))["config"]
    assert config["Entrypoint"][-4:] == ["--port", "3000", "--grpc-port", "3001"]
    assert config["ExposedPorts"] == {"3000/tcp": {}, "3001/tcp": {}}


def test_labels_are_annotations_too_and_name_the_bundle() -> None:
    bundle = manifest(license="Apache-2.0")
    image = image_of(bundle=bundle)
    labels = config_of(image)["config"]["Labels"]
    annotations = Manifest.from_bytes(image.content).annotations
    assert annotations == {
        "dev.mdeploy.bundle.digest": bundle.digest(),
        "org.opencontainers.image.title": "digits",
        "org.opencontainers.image.version": "1.0.0",
        "org.opencontainers.image.licenses": "Apache-2.0",
        "org.opencontainers.image.base.name": "debian:bookworm",
        "org.opencontainers.image.base.digest": base_for().digest,
    }
    assert labels == {"maker": "somebody", **annotations}


def test_no_clock_is_in_an_image(monkeypatch: pytest.MonkeyPatch) -> None:
    image = image_of(part("code", "code"))
    assert image.digest == image_of(part("code", "code")).digest
    assert config_of(image)["created"] == CREATED
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "1700000000")
    dated = image_of(part("code", "code"))
    assert config_of(dated)["created"] == "2023-11-14T22:13:20Z"
    assert [each.blob.descriptor for each in dated.platforms[0].parts] == [
        each.blob.descriptor for each in image.platforms[0].parts
    ]


@pytest.mark.parametrize("text", ["yesterday", "-1", "99999999999999"])
def test_a_source_date_that_is_none_is_refused(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SOURCE_DATE_EPOCH", text)
    with pytest.raises(ConfigError, match="SOURCE_DATE_EPOCH"):
        assemble(manifest(), base_for(), (), 65532)
