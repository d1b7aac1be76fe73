"""A base by reference, from a registry and from a layout: only its manifest and configuration are read."""

from __future__ import annotations

import io
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, BinaryIO

import pytest

from modeldeploy.config.settings import RegistrySettings
from modeldeploy.errors import BundleError, RegistryUnavailable
from modeldeploy.image.base import registry_base
from modeldeploy.image.base.choose import Chooser, Wish
from modeldeploy.image.base.connecting import anywhere, held_in
from modeldeploy.image.base.lockfile import ImageLock
from modeldeploy.image.base.reference import InRegistry, Place, Reference, place_of
from modeldeploy.image.cache import ImageCache
from modeldeploy.oci.descriptor import Blob, Descriptor, Platform
from modeldeploy.oci.manifest import (
    DOCKER_LAYER,
    IMAGE_CONFIG,
    IMAGE_INDEX,
    IMAGE_MANIFEST,
    LAYER_GZIP,
    Index,
    Manifest,
    canonical,
)
from modeldeploy.registry.folder import FolderRegistry

AMD, ARM = Platform("linux", "amd64"), Platform("linux", "arm64")
LAYER = b"a layer's bytes"
DIFF_ID = "sha256:" + "d" * 64


def kept(content: bytes, media_type: str) -> Blob:
    return Blob(Descriptor.of(content, media_type), lambda start: io.BytesIO(content[start:]))


def image(repository: Any, platform: Platform = AMD, kind: str = LAYER_GZIP, **settings: Any) -> Descriptor:
    """Keep an image of one layer; ``settings`` are of its containers."""
    values = {"Env": ["PATH=/usr/local/bin:/bin", "PYTHON_VERSION=3.11.9"], "Cmd": ["python3"], **settings}
    config = {
        "os": platform.os,
        "architecture": platform.architecture,
        "config": values,
        "rootfs": {"type": "layers", "diff_ids": [DIFF_ID]},
        "history": [{"created_by": "one"}, {"created_by": "ENV", "empty_layer": True}],
    }
    blob, layer = kept(canonical(config), IMAGE_CONFIG), kept(LAYER, kind)
    for each in (blob, layer):
        repository.push_blob(each, moved=lambda _: None)
    manifest = Manifest(blob.descriptor, (layer.descriptor,)).to_bytes()
    found: Descriptor = repository.put_manifest(manifest, IMAGE_MANIFEST)
    return found


@pytest.fixture
def repository(tmp_path: Path) -> Any:
    return FolderRegistry(tmp_path / "registry").repository("python")


def resolved(place: Place, text: str = "host:5000/python:3.11", **how: Any) -> Any:
    how = {"python": "3.11", "platform": AMD, **how}
    return registry_base.resolve(Reference.parse(text), place, how.pop("platform"), **how)


@pytest.mark.parametrize(
    ("text", "host", "name", "tag", "digest"),
    [
        ("python", "docker.io", "library/python", "", ""),
        ("python:3.11-slim", "docker.io", "library/python", "3.11-slim", ""),
        ("team/python", "docker.io", "team/python", "", ""),
        ("host:5000/a/b:1", "host:5000", "a/b", "1", ""),
        ("localhost/a", "localhost", "a", "", ""),
        ("ghcr.io/a/b@sha256:" + "0" * 64, "ghcr.io", "a/b", "", "sha256:" + "0" * 64),
        ("ghcr.io/a/b:1@sha256:" + "0" * 64, "ghcr.io", "a/b", "1", "sha256:" + "0" * 64),
        ("oci:base", "", "base", "", ""),
        ("oci:../a b/base:3.11", "", "../a b/base", "3.11", ""),
        ("oci:/srv/base@sha256:" + "0" * 64, "", "/srv/base", "", "sha256:" + "0" * 64),
    ],
)
def test_references_are_read_as_docker_reads_them(
    text: str, host: str, name: str, tag: str, digest: str
) -> None:
    assert Reference.parse(text) == Reference(text, host, name, tag, digest)


@pytest.mark.parametrize("text", ["", "a b", "https://host/a", "host/a@sha256:1", "-a", "a\nb"])
def test_what_is_no_reference_is_refused(text: str) -> None:
    with pytest.raises(BundleError, match="no reference to an image"):
        Reference.parse(text)


def test_a_base_is_found_by_its_tag_and_then_by_the_lock_alone(repository: Any) -> None:
    top = image(repository)
    repository.set_tag("3.11", top, was=None)
    place = InRegistry(repository, ("python",))
    locked = resolved(place)
    assert (locked.manifest, locked.interpreter, locked.python) == (
        top.digest,
        "/usr/local/bin/python3.11",
        "3.11.9",
    )
    base = registry_base.base_of(locked, Reference.parse("host:5000/python:gone"), place, AMD)
    assert base.diff_ids == (DIFF_ID,) and base.digest == top.digest
    assert base.source == "host:5000/python:gone"
    assert "Cmd" not in base.config and base.environment["PATH"] == "/usr/local/bin:/bin"
    assert [entry.get("created_by") for entry in base.history] == ["one", "ENV"]
    assert base.layers[0].sources == ("python",)
    with base.layers[0].open(2) as stream:
        assert stream.read() == LAYER[2:]


def test_dockers_kinds_of_layers_are_called_by_the_names_of_the_oci(repository: Any) -> None:
    locked = resolved(InRegistry(repository), f"host/python@{image(repository, kind=DOCKER_LAYER).digest}")
    base = registry_base.base_of(locked, Reference.parse("host/python"), InRegistry(repository), AMD)
    assert base.layers[0].descriptor.media_type == LAYER_GZIP


def test_of_an_index_the_image_of_the_platform_is_taken(repository: Any) -> None:
    found = [image(repository, each) for each in (AMD, ARM)]
    entries = tuple(
        Descriptor(each.media_type, each.digest, each.size, platform=platform)
        for each, platform in zip(found, (AMD, ARM), strict=True)
    )
    top = repository.put_manifest(Index(entries).to_bytes(), IMAGE_INDEX)
    repository.set_tag("3.11", top, was=None)
    assert resolved(InRegistry(repository), platform=ARM).manifest == found[1].digest
    with pytest.raises(BundleError, match="is not for linux/s390x; it is for linux/amd64, linux/arm64"):
        resolved(InRegistry(repository), platform=Platform("linux", "s390x"))


@pytest.mark.parametrize(
    ("settings", "python", "why"),
    [
        ({"Env": []}, "3.11", "does not say where its Python is"),
        ({"Env": ["PYTHON_VERSION=3.11.9; rm"]}, "3.11", "does not say where its Python is"),
        ({"Labels": {"dev.mdeploy.python": "python"}}, "3.11", "'python' is no path such as"),
        ({}, "3.13", "has Python 3.11.9, and the bundle is for 3.13"),
    ],
)
def test_a_base_without_the_right_python_is_refused(
    repository: Any, settings: dict[str, Any], python: str, why: str
) -> None:
    repository.set_tag("3.11", image(repository, **settings), was=None)
    with pytest.raises(BundleError, match=why) as caught:
        resolved(InRegistry(repository), python=python)
    assert caught.value.hint


def test_a_label_tells_where_python_is(repository: Any) -> None:
    top = image(repository, Env=[], Labels={"dev.mdeploy.python": "/usr/bin/python3.11"})
    locked = resolved(InRegistry(repository), f"host/python@{top.digest}")
    assert (locked.interpreter, locked.python) == ("/usr/bin/python3.11", "3.11")


def test_another_platform_than_said_is_refused(repository: Any) -> None:
    top = image(repository, ARM)
    with pytest.raises(BundleError, match="is for linux/arm64, not for linux/amd64"):
        resolved(InRegistry(repository), f"host/python@{top.digest}")


def test_a_tag_that_is_not_there_is_named(repository: Any) -> None:
    image(repository)
    with pytest.raises(BundleError, match=r"there is no host:5000/python:3\.11"):
        resolved(InRegistry(repository))


class Lying:
    """A repository that answers with other content than was asked for."""

    def __init__(self, real: Any, content: bytes) -> None:
        self.real, self.reply = real, content

    def __getattr__(self, name: str) -> Any:
        return getattr(self.real, name)

    def open_blob(self, descriptor: Descriptor, *, start: int = 0) -> AbstractContextManager[BinaryIO]:
        return io.BytesIO(self.reply[start:])


@pytest.mark.parametrize("content", [b"{}", b"", b"x" * (1 << 20)])
def test_a_configuration_that_is_not_what_its_digest_says_is_refused(repository: Any, content: bytes) -> None:
    top = image(repository)
    with pytest.raises(BundleError, match="not what its digest says"):
        resolved(InRegistry(Lying(repository, content)), f"host/python@{top.digest}")


def test_a_manifest_of_nonsense_is_refused(tmp_path: Path, repository: Any) -> None:
    config = kept(b"[]", IMAGE_CONFIG)
    repository.push_blob(config, moved=lambda _: None)
    top = repository.put_manifest(Manifest(config.descriptor).to_bytes(), IMAGE_MANIFEST)
    with pytest.raises(BundleError, match="no image that can be built on"):
        resolved(InRegistry(repository), f"host/python@{top.digest}")


def chooser(connect: Any) -> Chooser:
    return Chooser(ImageCache(), lambda _: None, connect)


def nowhere(host: str, name: str) -> Any:
    raise AssertionError(f"nobody should go to {host}/{name}")


def test_a_layout_is_a_base_and_the_lock_names_no_folder_of_this_machine(
    tmp_path: Path, repository: Any
) -> None:
    folder = tmp_path / "registry/python"
    repository.set_tag("slim", image(repository), was=None)
    wish = Wish(tmp_path / "project", f"oci:{folder}", "3.11")
    first = chooser(nowhere).choose(wish, [AMD], None)
    assert first.bases[0].diff_ids == (DIFF_ID,)
    assert first.lock.base == "oci:../registry/python"
    assert str(tmp_path) not in first.lock.to_bytes().decode()
    again = chooser(nowhere).choose(wish, [AMD], ImageLock.from_bytes(first.lock.to_bytes()))
    assert again.lock == first.lock and again.bases[0].digest == first.bases[0].digest


def test_the_lock_holds_until_it_is_upgraded(repository: Any, tmp_path: Path) -> None:
    repository.set_tag("3.11", image(repository), was=None)
    wish = Wish(tmp_path, "host/python:3.11", "3.11")
    there = chooser(lambda host, name: (repository, ()))
    first = there.choose(wish, [AMD], None)
    newer = image(repository, WorkingDir="/x")
    repository.set_tag("3.11", newer, was=repository.tag("3.11").digest)
    assert there.choose(wish, [AMD], first.lock).lock == first.lock
    assert there.choose(wish, [AMD], first.lock, upgrade=True).bases[0].digest == newer.digest


def test_debian_packages_cannot_be_added_to_a_base_by_reference(tmp_path: Path) -> None:
    with pytest.raises(BundleError, match="cannot be added to the base host/python"):
        chooser(nowhere).choose(Wish(tmp_path, "host/python", "3.11", ("curl",)), [AMD], None)


def test_a_folder_that_is_no_layout_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BundleError, match="is no OCI layout"):
        place_of(Reference.parse("oci:gone"), tmp_path, nowhere)


@pytest.mark.parametrize(
    ("url", "host", "name", "where", "mountable"),
    [
        ("https://host/team", "host", "team/python", "host/team/python", ("python",)),
        ("https://host/team", "host", "library/python", "host/library/python", ("/library/python",)),
        ("https://host", "host", "library/python", "host/library/python", ("library/python",)),
        ("https://host/team", "other", "team/python", "other/team/python", ()),
        ("https://host:5000", "host", "python", "host/python", ()),
        ("/srv/registry", "host", "python", "host/python", ()),
    ],
)
def test_only_what_is_in_the_projects_own_registry_can_be_mounted(
    tmp_path: Path, url: str, host: str, name: str, where: str, mountable: tuple[str, ...]
) -> None:
    repository, found = anywhere(RegistrySettings(url, tmp_path))(host, name)
    assert (repository.where, found) == (where, mountable)


def test_a_registry_that_does_not_answer_holds_no_layers(repository: Any) -> None:
    class Silent:
        def has_blob(self, digest: str) -> bool:
            raise RegistryUnavailable("no answer")

    layer = kept(LAYER, LAYER_GZIP)
    assert held_in(Silent())(layer.descriptor) is None  # type: ignore[arg-type]  # all that is asked
    assert held_in(repository)(layer.descriptor) is None
    repository.push_blob(layer, moved=lambda _: None)
    found = held_in(repository)(layer.descriptor)
    assert found
    with found.open(0) as stream:
        assert stream.read() == LAYER
