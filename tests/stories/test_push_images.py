"""A bundle's image goes to the registry with it, shares its layers, and follows its aliases."""

from __future__ import annotations

import json
import random
import shutil
import subprocess
from pathlib import Path

import pytest

import small_bundles
from image_place import kept_image
from modeldeploy import ops
from modeldeploy.errors import BundleError
from modeldeploy.events import Event
from modeldeploy.model import Level
from modeldeploy.registry.folder import FolderRegistry, FolderRepository
from needs import need

pytestmark = pytest.mark.story
MODEL = random.Random(1).randbytes(1_000_000)


def ignore(event: Event) -> None:
    del event


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return small_bundles.project(tmp_path / "project", tmp_path / "registry")


@pytest.fixture
def repository(tmp_path: Path) -> FolderRepository:
    return FolderRegistry(tmp_path / "registry").repository("digits")


def test_the_image_goes_along_and_its_model_is_not_sent_twice(
    root: Path, repository: FolderRepository
) -> None:
    stored = small_bundles.put(MODEL)
    made = kept_image(stored)
    pushed = ops.push(root, "1.0.0", emit=ignore)
    assert pushed.image == made.image.digest
    assert len(MODEL) < pushed.sent < len(MODEL) + 60_000
    tagged = repository.tag("1.0.0")
    assert tagged and tagged.digest == made.image.digest
    said = repository.tag(f"{made.image.digest.replace(':', '-')}.statements")
    assert said
    manifest = json.loads(repository.manifest(said.digest))
    assert manifest["subject"]["digest"] == made.image.digest
    assert ops.push(root, "1.0.0", emit=ignore).unchanged
    assert {one.check: one.level for one in ops.verify(root, "1.0.0", emit=ignore)} == {
        "store": Level.OK,
        "registry": Level.OK,
        "image": Level.OK,
    }


def test_skopeo_finds_the_image_by_its_version(root: Path, tmp_path: Path) -> None:
    need(shutil.which("skopeo"), "skopeo")
    made = kept_image(small_bundles.put(MODEL))
    ops.push(root, "1.0.0", emit=ignore)
    told = subprocess.run(
        ["skopeo", "inspect", f"oci:{tmp_path / 'registry' / 'digits'}:1.0.0"],
        capture_output=True,
        check=True,
    ).stdout
    assert json.loads(told)["Digest"] == made.image.digest


def test_without_images_none_is_sent(root: Path, repository: FolderRepository) -> None:
    kept_image(small_bundles.put(MODEL))
    assert ops.push(root, "1.0.0", image=False, emit=ignore).image is None
    assert repository.tag("1.0.0") is None
    assert ops.push(root, "1.0.0", emit=ignore).image  # and later, after all


def test_another_image_of_the_same_version_is_refused(root: Path) -> None:
    stored = small_bundles.put(MODEL)
    kept_image(stored)
    ops.push(root, "1.0.0", emit=ignore)
    kept_image(stored, packages=b"newer packages")
    with pytest.raises(BundleError, match="another image of digits:1") as refused:
        ops.push(root, "1.0.0", emit=ignore)
    assert "--no-image" in (refused.value.hint or "")
    assert ops.push(root, "1.0.0", image=False, emit=ignore).unchanged


def test_an_alias_stands_for_the_image_of_its_version(root: Path, repository: FolderRepository) -> None:
    first = kept_image(small_bundles.put(MODEL))
    ops.push(root, "1.0.0", emit=ignore)
    assert ops.alias(root, "prod", "1.0.0", emit=ignore).image == first.image.digest
    second = kept_image(small_bundles.put(MODEL[::-1], version="1.1.0"))
    ops.push(root, "1.1.0", emit=ignore)
    assert ops.alias(root, "prod", "1.1.0", emit=ignore).image == second.image.digest
    tagged = repository.tag("prod")
    assert tagged and tagged.digest == second.image.digest


def test_an_alias_of_a_version_without_image_stands_for_no_older_image(
    root: Path, repository: FolderRepository
) -> None:
    kept_image(small_bundles.put(MODEL))
    ops.push(root, "1.0.0", emit=ignore)
    ops.alias(root, "prod", "1.0.0", emit=ignore)
    small_bundles.put(MODEL[::-1], version="1.1.0")
    ops.push(root, "1.1.0", emit=ignore)
    assert ops.alias(root, "prod", "1.1.0", emit=ignore).image is None
    tags = [repository.tag(tag) for tag in ("prod", "prod.bundle")]
    assert tags[0] == tags[1]
    assert [(one.name, one.image) for one in ops.aliases(root, emit=ignore)] == [("prod", None)]


def test_damage_in_an_image_is_found(root: Path, repository: FolderRepository) -> None:
    made = kept_image(small_bundles.put(MODEL))
    ops.push(root, "1.0.0", emit=ignore)
    layer = made.image.platforms[0].parts[0].blob.descriptor
    path = repository.layout.blobs.path(layer.digest)
    path.chmod(0o600)
    path.write_bytes(path.read_bytes()[:-1] + b"!")
    found = {one.check: one for one in ops.verify(root, "1.0.0", emit=ignore)}
    assert found["registry"].level is Level.OK
    assert found["image"].level is Level.ERROR
    assert layer.digest[:19] in found["image"].message
