"""``modeldeploy.image.lock``: what it says, and what is refused."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from modeldeploy.errors import BundleError
from modeldeploy.image.base.lockfile import (
    FILENAME,
    Compressor,
    DebianBase,
    ImageLock,
    Layer,
    Package,
    ReferencedBase,
    read,
    write,
)
from modeldeploy.oci.descriptor import Descriptor

PACKAGE = Package(
    "libc6", "1:2.36-9+deb12u14", "amd64", "glibc", "debian", "pool/main/g/glibc/libc6.deb", 5, "a" * 64
)
DEBIAN = DebianBase(
    "bookworm", "3.11.2", 1, (PACKAGE,), Layer(Descriptor.of(b"x", "layer"), "sha256:" + "b" * 64)
)
LOCK = ImageLock(
    "debian",
    ("libgomp1",),
    "3.11",
    "3.11.2",
    Compressor("zlib-ng", "1.1.0"),
    {
        "linux/arm64": ReferencedBase("sha256:" + "c" * 64, "/usr/local/bin/python3.11", "3.11"),
        "linux/amd64": DEBIAN,
    },
)


def test_what_is_written_is_read_again(tmp_path: Path) -> None:
    assert read(tmp_path) is None
    assert write(tmp_path, LOCK)
    assert read(tmp_path) == LOCK
    assert not write(tmp_path, LOCK), "the same lock leaves the file alone"


def test_the_bytes_do_not_depend_on_the_order_of_platforms() -> None:
    turned = replace(LOCK, platforms=dict(reversed(list(LOCK.platforms.items()))))
    assert turned.to_bytes() == LOCK.to_bytes()


def test_a_layer_that_was_not_made_yet_may_be_missing() -> None:
    lock = LOCK.with_platform("linux/amd64", DebianBase("bookworm", "3.11.2", 1, (PACKAGE,)))
    assert ImageLock.from_bytes(lock.to_bytes()) == lock


@pytest.mark.parametrize(
    ("where", "value"),
    [
        ("filename", "../../etc/passwd"),
        ("filename", "/etc/passwd"),
        ("filename", "-o/x"),
        ("sha256", "A" * 64),
        ("sha256", "a"),
        ("name", "a b"),
        ("name", "-o"),
        ("version", "-1"),
        ("size", -1),
        ("size", True),
        ("size", "5"),
        ("archive", "http://elsewhere"),
        ("source", None),
        ("architecture", "amd64 i386"),
    ],
)
def test_a_package_that_cannot_be_is_refused(where: str, value: object) -> None:
    document = json.loads(LOCK.to_bytes())
    document["platforms"]["linux/amd64"]["packages"][0][where] = value
    with pytest.raises(BundleError, match="not a lock of mdeploy's"):
        ImageLock.from_bytes(json.dumps(document).encode())


def changed(**values: Any) -> bytes:
    return json.dumps({**json.loads(LOCK.to_bytes()), **values}).encode()


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"[]",
        b"{",
        b'{"format": 1}',
        b"[" * 100_000,
        changed(python="3.11; rm"),
        changed(compiler=None),
        changed(platforms={"linux/amd64": {"manifest": "sha256:x", "interpreter": "/p", "python": "3.11"}}),
        changed(
            platforms={
                "linux/amd64": {"manifest": "sha256:" + "c" * 64, "interpreter": "p", "python": "3.11"}
            }
        ),
        changed(platforms=[1]),
    ],
)
def test_nonsense_is_refused(content: bytes) -> None:
    with pytest.raises(BundleError, match="not a lock of mdeploy's"):
        ImageLock.from_bytes(content)


def test_the_lock_of_another_mdeploy_is_named_as_such() -> None:
    with pytest.raises(BundleError, match="has format 2; this mdeploy reads format 1"):
        ImageLock.from_bytes(changed(format=2))


def test_what_is_no_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / FILENAME).mkdir()
    with pytest.raises(BundleError, match="it is not a file"):
        read(tmp_path)


def test_a_folder_that_cannot_be_written_to_is_named(tmp_path: Path) -> None:
    with pytest.raises(BundleError, match="cannot write"):
        write(tmp_path / "gone", LOCK)
