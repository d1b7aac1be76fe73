"""Manifests and indexes: one form out, nothing but manifests in."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from modeldeploy.oci import manifest as oci
from modeldeploy.oci.descriptor import Descriptor, Platform
from modeldeploy.oci.manifest import Index, Manifest, parse

CONFIG = Descriptor.of(b"{}", oci.EMPTY_CONFIG)
LAYER = Descriptor.of(b"layer", oci.LAYER_TAR, annotations={"b": "2", "a": "ü"})


def image(**changes: Any) -> dict[str, Any]:
    value = json.loads(Manifest(CONFIG, (LAYER,)).to_bytes())
    return {key: text for key, text in (value | changes).items() if text is not None}


def read(value: object, media_type: str = "") -> Manifest | Index:
    return parse(json.dumps(value).encode(), media_type)


def test_a_manifest_comes_back_as_it_was() -> None:
    manifest = Manifest(
        CONFIG, (LAYER, LAYER), "application/x", LAYER, annotations={"z": "1", "a": "\N{SNOWMAN}"}
    )
    assert parse(manifest.to_bytes()) == manifest
    assert parse(manifest.to_bytes()).to_bytes() == manifest.to_bytes()
    assert manifest.content() == (CONFIG, LAYER, LAYER)


def test_an_index_comes_back_as_it_was() -> None:
    inner = Manifest(CONFIG, (LAYER,)).descriptor()
    one = Descriptor(inner.media_type, inner.digest, inner.size, platform=Platform("linux", "arm64"))
    index = Index((one,), annotations={"a": "b"})
    assert parse(index.to_bytes(), oci.IMAGE_INDEX) == index


def test_the_bytes_are_canonical_so_that_digests_are_the_same_anywhere() -> None:
    manifest = Manifest(CONFIG, (LAYER,), "application/x")
    assert manifest.to_bytes() == (
        b'{"artifactType":"application/x","config":{"digest":"'
        + CONFIG.digest.encode()
        + b'","mediaType":"application/vnd.oci.empty.v1+json","size":2},"layers":[{"annotations":'
        b'{"a":"\xc3\xbc","b":"2"},"digest":"'
        + LAYER.digest.encode()
        + b'","mediaType":"application/vnd.oci.image.layer.v1.tar","size":5}],"mediaType":'
        b'"application/vnd.oci.image.manifest.v1+json","schemaVersion":2}'
    )


def test_an_early_manifest_without_a_media_type_is_known_by_what_it_holds() -> None:
    assert isinstance(read(image(mediaType=None)), Manifest)
    assert isinstance(read({"schemaVersion": 2, "manifests": []}), Index)


def test_dockers_manifests_are_read_too() -> None:
    assert isinstance(read(image(mediaType=oci.DOCKER_MANIFEST), oci.DOCKER_MANIFEST), Manifest)
    assert isinstance(read({"schemaVersion": 2, "mediaType": oci.DOCKER_LIST, "manifests": []}), Index)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"null",
        b"[]",
        b'"text"',
        b"{",
        b"\xff\xfe",
        b"{}",
        b"[" * 200_000,
        b'{"a":' * 100_000,
        b'{"schemaVersion":2,"schemaVersion":2}',
        b'{"schemaVersion":NaN}',
        b'{"schemaVersion":' + b"9" * 10_000 + b"}",
        b" " * (oci.LARGEST + 1),
    ],
)
def test_nonsense_is_refused(content: bytes) -> None:
    with pytest.raises(ValueError, match=r"."):
        parse(content)


@pytest.mark.parametrize(
    "value",
    [
        image(schemaVersion=1),
        image(config=None),
        image(config=[]),
        image(config={"mediaType": "x", "digest": "sha256:" + "0" * 63, "size": 1}),
        image(config={"mediaType": "x", "digest": "md5:" + "0" * 64, "size": 1}),
        image(config={"mediaType": "x", "digest": "sha256:" + "A" * 64, "size": 1}),
        image(config={"mediaType": "x", "digest": "sha256:" + "0" * 64 + "\n", "size": 1}),
        image(layers=[{"mediaType": "x", "digest": CONFIG.digest, "size": -1}]),
        image(layers=[{"mediaType": "x", "digest": CONFIG.digest, "size": True}]),
        image(layers=[{"mediaType": "x", "digest": CONFIG.digest, "size": 1.5}]),
        image(layers=[{"mediaType": "x", "digest": CONFIG.digest, "size": 1 << 60}]),
        image(layers=[{"mediaType": "x", "digest": 5, "size": 1}]),
        image(layers=["x"]),
        image(layers="x"),
        image(layers=[CONFIG.to_json()] * (oci.MOST + 1)),
        image(annotations=[]),
        image(artifactType=[]),
        image(manifests=[]),
        image(mediaType=oci.IMAGE_INDEX),
        image(mediaType="text/html"),
        image(subject="x"),
    ],
)
def test_what_is_no_manifest_is_refused(value: object) -> None:
    with pytest.raises(ValueError, match=r"."):
        read(value)


def test_a_manifest_of_another_type_than_its_registry_says_is_refused() -> None:
    with pytest.raises(ValueError, match="says that it is"):
        read(image(), oci.IMAGE_INDEX)


def test_an_index_where_a_manifest_was_expected_is_refused() -> None:
    with pytest.raises(ValueError, match="an index"):
        Manifest.from_bytes(Index(()).to_bytes())


KEYS = st.sampled_from(
    ["schemaVersion", "mediaType", "config", "layers", "manifests", "annotations", "digest"]
)
ANY_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(KEYS | st.text(max_size=4), inner, max_size=4)
    ),
    max_leaves=12,
)


@given(changes=st.dictionaries(KEYS, ANY_JSON, max_size=3))
def test_whatever_is_in_it_the_one_error_is_a_value_error(changes: dict[str, Any]) -> None:
    try:
        found = read(image(**changes))
    except ValueError:
        return
    assert parse(found.to_bytes()) == found
