"""A bucket of S3 keeps the contract of registries, against a server that speaks its protocol."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from modeldeploy.registry.s3 import upload
from modeldeploy.testing import RepositoryContract, Shelf
from s3_place import Place, log_in, new_place, serving


@pytest.fixture(scope="module")
def endpoint() -> Iterator[str]:
    with serving() as address:
        yield address


@pytest.fixture
def place(endpoint: str, monkeypatch: pytest.MonkeyPatch) -> Place:
    log_in(monkeypatch)
    return new_place(endpoint)


@pytest.fixture
def shelf(place: Place) -> Shelf:
    def falsify(name: str, digest: str, content: bytes) -> None:
        key = f"team/{name}/manifests/{digest.replace(':', '/')}"
        place.client.put_object(Bucket=place.bucket, Key=key, Body=content)

    return Shelf(
        open=place.open(),
        part=upload.PART,
        resumes=upload.PART * (upload.AT_ONCE + 1),
        falsify=falsify,
    )


class TestS3(RepositoryContract):
    """All tests come from the contract."""
