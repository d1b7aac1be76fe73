"""A base in a real registry: its layers are mounted there, and streamed anywhere else."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Iterator
from pathlib import Path

import pytest

from modeldeploy.config.settings import RegistrySettings
from modeldeploy.image.base.choose import Chooser, Wish
from modeldeploy.image.base.connecting import anywhere
from modeldeploy.image.base.model import Base
from modeldeploy.image.cache import ImageCache
from modeldeploy.oci.descriptor import Blob, Descriptor, Platform
from modeldeploy.oci.manifest import IMAGE_CONFIG, IMAGE_MANIFEST, LAYER_GZIP, Manifest, canonical
from modeldeploy.registry.folder import FolderRegistry
from modeldeploy.registry.remote import RemoteRegistry
from registry_place import Place, registry

LAYER = hashlib.sha256(b"seed").digest() * 40_000
CONFIG = canonical(
    {
        "os": "linux",
        "architecture": "amd64",
        "config": {"Env": ["PYTHON_VERSION=3.11.9"]},
        "rootfs": {"type": "layers", "diff_ids": ["sha256:" + "d" * 64]},
    }
)


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    with registry(tmp_path_factory.mktemp("registry")) as place:
        yield place


def keep(place: Place, name: str) -> Descriptor:
    """Keep a base under that name."""
    repository = RemoteRegistry(f"http://{place.host}").repository(name)
    found = []
    for content, kind in ((CONFIG, IMAGE_CONFIG), (LAYER, LAYER_GZIP)):
        descriptor = Descriptor.of(content, kind)
        stream = Blob(descriptor, lambda start, content=content: io.BytesIO(content[start:]))  # type: ignore[misc]  # mypy does not see the default
        repository.push_blob(stream, moved=lambda _: None)
        found.append(descriptor)
    return repository.put_manifest(Manifest(found[0], (found[1],)).to_bytes(), IMAGE_MANIFEST)


def base_in(place: Place, root: Path, name: str, top: Descriptor, own: str) -> Base:
    chooser = Chooser(ImageCache(), lambda _: None, anywhere(RegistrySettings(own, root)))
    wish = Wish(root, f"{place.host}/{name}@{top.digest}", "3.11")
    return chooser.choose(wish, [Platform("linux", "amd64")], None).bases[0]


@pytest.mark.parametrize("name", ["library/python", "team/python"])
def test_in_the_projects_own_registry_no_byte_of_it_is_sent(
    place: Place, tmp_path: Path, home: Path, name: str
) -> None:
    top = keep(place, name)
    own = f"http://{place.host}/team"
    base = base_in(place, tmp_path, name, top, own)
    assert base.digest == top.digest
    digits = RemoteRegistry(own).repository(f"digits-{name[:4]}")
    sent = digits.push_blob(base.layers[0], moved=lambda _: None)
    assert (sent.how, sent.sent) == ("mounted", 0)
    assert not (home / "images/blobs").exists(), "nothing of it was kept here"


def test_to_another_registry_it_goes_without_touching_the_disk(
    place: Place, tmp_path: Path, home: Path
) -> None:
    top = keep(place, "library/python")
    base = base_in(place, tmp_path, "library/python", top, str(tmp_path / "other"))
    to = FolderRegistry(tmp_path / "other").repository("digits")
    assert to.push_blob(base.layers[0], moved=lambda _: None).how == "sent"
    with to.open_blob(base.layers[0].descriptor) as stream:
        assert stream.read() == LAYER
    assert not (home / "images/blobs").exists()
