from __future__ import annotations

from pathlib import Path

import pytest

from bundle_place import write_model
from image_place import base_for, layer_with, manifest, part
from modeldeploy import files
from modeldeploy.bundle.layers import layers_of
from modeldeploy.bundle.manifest import MANIFEST, Manifest
from modeldeploy.bundle.stage import Item
from modeldeploy.bundle.stage import write as stage
from modeldeploy.bundle.store import BundleStore
from modeldeploy.image.assemble import Image, Part, assemble
from modeldeploy.image.cache import ImageCache, reclaim
from modeldeploy.image.made import Made, Recorded, images_of, keep, last_of
from modeldeploy.image.provenance import Statement
from modeldeploy.oci.descriptor import Descriptor
from modeldeploy.oci.manifest import LAYER_TAR


def stored_bundle(tmp_path: Path, version: str) -> tuple[Manifest, Path]:
    """A bundle in the store, with a model and nothing that could run it."""
    model = Item.of_file("src/model.onnx", write_model(tmp_path / version / "model.onnx"))
    bundle = manifest(version=version, model=("src/model.onnx",), files=(model.file,))
    with BundleStore().workspace() as folder:
        stage((model, Item.of_bytes(MANIFEST, bundle.to_bytes())), folder)
        stored, _ = BundleStore().add(folder, bundle)
    return bundle, stored.path


def make(cache: ImageCache, bundle: Manifest, path: Path, packages: bytes = b"packages") -> Made:
    base = base_for()
    for layer in (layer_with("usr/bin/python3.11", b"not really"), layer_with("opt/x", packages)):
        with layer.open() as stream:
            cache.put(stream.read(), layer.descriptor())
    own = tuple(Part("code", layer.name, layer.blob(), layer.digest) for layer in layers_of(path))
    image = Image(bundle.ref(), (assemble(bundle, base, (part("pure", "opt/x", packages), *own), 65532),))
    made = Made(image, "none", (Statement(image.digest, "https://example.com/v1", b'{"said":1}'),))
    keep(made, cache)
    return made


def test_an_image_is_found_by_its_bundle_with_all_its_content(cache: ImageCache, tmp_path: Path) -> None:
    bundle, path = stored_bundle(tmp_path, "1.0.0")
    made = make(cache, bundle, path)
    (found,) = images_of(bundle.digest())
    assert found.image.digest == made.image.digest
    assert found.statements == made.statements
    for part_ in found.image.platforms[0].parts:
        with part_.blob.open(0) as stream:
            assert Descriptor.of(stream.read(), LAYER_TAR).digest == part_.blob.descriptor.digest


def test_the_cache_holds_no_copy_of_a_model(cache: ImageCache, tmp_path: Path) -> None:
    bundle, path = stored_bundle(tmp_path, "1.0.0")
    make(cache, bundle, path)
    content = (path / "src/model.onnx").read_bytes()
    assert not any(content in blob.read_bytes() for blob in cache.folder.rglob("sha256/*"))


def test_an_image_that_has_lost_a_layer_is_none(cache: ImageCache, tmp_path: Path) -> None:
    bundle, path = stored_bundle(tmp_path, "1.0.0")
    made = make(cache, bundle, path)
    cache.path(made.image.platforms[0].parts[1].blob.descriptor.digest).unlink()
    assert images_of(bundle.digest()) == ()


def test_how_the_last_image_was_made_is_known_even_if_content_is_gone(
    cache: ImageCache, tmp_path: Path
) -> None:
    bundle, path = stored_bundle(tmp_path, "1.0.0")
    assert last_of(bundle.digest()) is None
    made = make(cache, bundle, path)
    cache.path(made.image.platforms[0].parts[1].blob.descriptor.digest).unlink()
    assert last_of(bundle.digest()) == Recorded("none", ("linux/amd64",))


def test_reclaiming_keeps_what_kept_bundles_need(cache: ImageCache, tmp_path: Path) -> None:
    old, old_path = stored_bundle(tmp_path, "1.0.0")
    new, new_path = stored_bundle(tmp_path, "1.1.0")
    make(cache, old, old_path, b"old packages")
    make(cache, new, new_path, b"new packages")
    would = reclaim({new.digest()}, dry_run=True)
    assert len(images_of(old.digest())) == 1
    assert reclaim({new.digest()}) == would > 0
    assert images_of(old.digest()) == ()
    assert len(images_of(new.digest())) == 1
    assert reclaim({new.digest()}) == 0


def test_nothing_is_reclaimed_while_an_image_is_made(cache: ImageCache) -> None:
    with cache.in_use(), cache.in_use(), pytest.raises(BlockingIOError):
        reclaim(set())


def test_reclaiming_where_there_are_no_images_does_nothing() -> None:
    assert reclaim(set()) == 0
    assert not (files.home() / "images").exists()


def test_what_a_maker_that_died_left_is_swept(cache: ImageCache) -> None:
    with cache.scratch() as living:
        dead = living.with_name("dead")
        dead.mkdir()
        (dead / "layer").write_bytes(b"half")
        dead.with_suffix(".lock").touch()
        cache.sweep()
        assert [path.name for path in living.parent.iterdir() if path.is_dir()] == [living.name]
    assert not list((cache.folder / "work").iterdir())
