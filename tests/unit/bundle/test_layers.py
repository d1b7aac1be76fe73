"""How a bundle is divided: what changes together is sent together, the same on every machine."""

from __future__ import annotations

import os
import random
import tarfile
from pathlib import Path
from typing import Any

import pytest

import small_bundles
from modeldeploy.bundle import artifact, layers
from modeldeploy.bundle.manifest import LOCK, MANIFEST, Manifest
from modeldeploy.errors import BundleError

FILTER: dict[str, Any] = {"filter": "fully_trusted"} if hasattr(tarfile, "data_filter") else {}
"""Python 3.11.2 knows no filters yet."""


MODEL = random.Random(1).randbytes(2_000_000)
DATA = random.Random(2).randbytes(layers.LARGE)


def names(bundle: Path) -> list[str]:
    return [layer.name for layer in layers.layers_of(bundle)]


def digests(bundle: Path) -> dict[str, str]:
    return {layer.name: layer.digest for layer in layers.layers_of(bundle)}


def test_each_large_file_and_each_kind_of_small_ones_has_its_layer() -> None:
    bundle = small_bundles.put(b"small model", others={"src/labels.bin": DATA, "golden.npz": b"x"}).path
    assert names(bundle) == ["src/labels.bin", "src/model.onnx", "environment", "serving", "code"]


def test_together_the_layers_are_the_bundle(tmp_path: Path) -> None:
    bundle = small_bundles.put(MODEL, others={"src/run.sh": b"#!/bin/sh\n", "src/labels.bin": DATA}).path
    for layer in layers.layers_of(bundle):
        with layer.open() as stream, tarfile.open(fileobj=stream) as archive:
            archive.extractall(tmp_path, **FILTER)
    found = {
        p.relative_to(tmp_path / "bundle").as_posix() for p in (tmp_path / "bundle").rglob("*") if p.is_file()
    }
    manifest = Manifest.read(bundle)
    assert found == {MANIFEST, *(file.path for file in manifest.files)}
    for path in found:
        assert (tmp_path / "bundle" / path).read_bytes() == (bundle / path).read_bytes()
    assert os.access(tmp_path / "bundle/src/run.sh", os.X_OK)
    assert all(folder.stat().st_mode & 0o777 == 0o755 for folder in (tmp_path / "bundle").rglob("src"))


def test_sizes_and_places_are_known_from_the_manifest_alone() -> None:
    bundle = small_bundles.put(MODEL, others={"src/labels.bin": DATA}).path
    groups = layers.groups_of(Manifest.read(bundle))
    made = layers.layers_of(bundle)
    assert [layers.size_of(group) for group in groups] == [layer.size for layer in made]
    for group, layer in zip(groups, made, strict=True):
        if group.single:
            with layer.open(layers.before(group)) as stream:
                assert stream.read(group.single.size) == (bundle / group.single.path).read_bytes()


def test_other_code_leaves_the_other_layers_alone() -> None:
    before = digests(small_bundles.put(MODEL).path)
    after = digests(
        small_bundles.put(MODEL, version="1.1.0", others={"src/service.py": b"answer = 43\n"}).path
    )
    assert {name for name in before if before[name] != after[name]} == {"code"}


def test_another_model_leaves_all_but_code_alone() -> None:
    before = digests(small_bundles.put(MODEL).path)
    after = digests(small_bundles.put(MODEL[::-1], version="1.1.0").path)
    assert {name for name in before if before[name] != after[name]} == {"src/model.onnx", "code"}


def test_the_same_bundle_has_the_same_layers_in_another_home(tmp_path: Path) -> None:
    here = artifact.package(small_bundles.put(MODEL).path)
    before = os.umask(0o077)
    there = artifact.package(small_bundles.put(MODEL, home=tmp_path / "other home").path)
    os.umask(before)
    assert there.manifest.to_bytes() == here.manifest.to_bytes()


def test_hundreds_of_large_files_are_no_more_layers_than_an_engine_takes() -> None:
    many = {f"src/shard-{number:03}.bin": bytes([number % 256]) * layers.LARGE for number in range(150)}
    bundle = small_bundles.put(MODEL, others=many).path
    assert len(names(bundle)) == layers.MOST + 4
    assert "more" in names(bundle)


def test_a_long_lock_is_part_of_the_environment() -> None:
    bundle = small_bundles.put(b"m", others={LOCK: bytes(4 * layers.LARGE)}).path
    assert names(bundle) == ["src/model.onnx", "environment", "serving", "code"]


def test_a_bundle_that_was_changed_is_not_packed() -> None:
    bundle = small_bundles.put(MODEL).path
    (bundle / "src/service.py").chmod(0o600)
    (bundle / "src/service.py").write_bytes(b"answer = 44\n")
    with pytest.raises(BundleError, match=r"src/service\.py was changed"):
        layers.layers_of(bundle)


def test_the_config_of_the_artifact_is_the_bundles_own_manifest() -> None:
    stored = small_bundles.put(MODEL)
    packed = artifact.package(stored.path)
    assert packed.manifest.config.digest == stored.ref.digest
    assert packed.manifest.artifact_type == "application/vnd.mdeploy.bundle.v1+json"
    assert packed.manifest.descriptor().digest == (
        "sha256:7072b5ce9cce4770b6364a0cdc6de91087e42797b5affa527bf9732cc6b3c574"
    )


@pytest.mark.parametrize(
    ("version", "tag"), [("1.0.0", "1.0.0.bundle"), ("1.0.0+cpu.2", "1.0.0_cpu.2.bundle")]
)
def test_every_version_has_a_tag_of_its_own(version: str, tag: str) -> None:
    assert artifact.bundle_tag(version) == tag
