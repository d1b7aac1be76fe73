"""A server that speaks S3 on this machine, and buckets in it."""

from __future__ import annotations

import functools
import itertools
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

import pytest

from modeldeploy.registry.s3 import S3Registry
from modeldeploy.registry.s3.upload import sum_of

_numbers = itertools.count(1)


@dataclass(frozen=True)
class Place:
    """A bucket of its own. ``endpoint`` is where S3 is spoken."""

    endpoint: str
    bucket: str

    @property
    def client(self) -> Any:
        import boto3

        return boto3.client("s3", endpoint_url=self.endpoint)

    def open(self, endpoint: str | None = None) -> partial[S3Registry]:
        return partial(S3Registry, f"s3://{self.bucket}/team", endpoint=endpoint or self.endpoint)

    def objects(self) -> dict[str, int]:
        found = self.client.list_objects_v2(Bucket=self.bucket)
        return {entry["Key"]: entry["Size"] for entry in found.get("Contents", ())}

    def uploads(self) -> list[str]:
        found = self.client.list_multipart_uploads(Bucket=self.bucket)
        return [entry["Key"] for entry in found.get("Uploads", ())]


def log_in(monkeypatch: pytest.MonkeyPatch) -> None:
    """Credentials that the server here takes, and none of this machine's own configuration."""
    for name, value in {
        "AWS_ACCESS_KEY_ID": "testing",
        "AWS_SECRET_ACCESS_KEY": "testing",
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_CONFIG_FILE": "/nonexistent/config",
        "AWS_SHARED_CREDENTIALS_FILE": "/nonexistent/credentials",
        "AWS_EC2_METADATA_DISABLED": "true",
    }.items():
        monkeypatch.setenv(name, value)


@contextmanager
def serving() -> Iterator[str]:
    """The server, on a free port; yields its address."""
    from moto.server import ThreadedMotoServer

    _say_when_there_is_no_upload()
    _refuse_what_was_damaged()
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    try:
        yield f"http://{host}:{port}"
    finally:
        server.stop()


def _say_when_there_is_no_upload() -> None:
    """S3 answers 404 NoSuchUpload to a part of an upload that has ended; moto fails over it (500)."""
    from moto.s3.exceptions import NoSuchUpload
    from moto.s3.models import S3Backend

    real = S3Backend.upload_part
    if hasattr(real, "__wrapped__"):
        return

    @functools.wraps(real)
    def upload_part(self: Any, bucket_name: str, multipart_id: str, *rest: Any, **named: Any) -> Any:
        if multipart_id not in self.get_bucket(bucket_name).multiparts:
            raise NoSuchUpload(upload_id=multipart_id)
        return real(self, bucket_name, multipart_id, *rest, **named)

    S3Backend.upload_part = upload_part  # type: ignore[method-assign]  # the one answer to put right


def _refuse_what_was_damaged() -> None:
    """S3 answers 400 BadDigest to content that is not what its sum says; moto believes the sum."""
    from moto.s3.exceptions import S3ClientError
    from moto.s3.responses import S3Response

    real = S3Response._get_checksum
    if hasattr(real, "__wrapped__"):
        return

    @functools.wraps(real)
    def checksum(self: Any, *what: Any) -> Any:
        told = self.headers.get("x-amz-checksum-sha256")
        if told and told != sum_of(self.body or b""):
            raise S3ClientError("BadDigest", "The sum that was sent is not that of what came.")
        return real(self, *what)

    S3Response._get_checksum = checksum  # type: ignore[method-assign,assignment]  # the one check to add


def new_place(endpoint: str) -> Place:
    place = Place(endpoint, f"models-{next(_numbers)}")
    place.client.create_bucket(Bucket=place.bucket)
    return place
