"""Tags as small objects that S3 replaces only if they are still as they were read."""

from __future__ import annotations

import json
import secrets
from collections.abc import Mapping
from dataclasses import dataclass

from modeldeploy.errors import RegistryRefused, RegistryUnavailable
from modeldeploy.oci.descriptor import Descriptor
from modeldeploy.registry.base import TagMoved
from modeldeploy.registry.s3.bucket import Bucket
from modeldeploy.registry.s3.faults import Answered
from modeldeploy.registry.s3.upload import sum_of

_CONFLICTS = 8
"""How often S3 may say "409: at the same time as another, try again" about one write."""
_PROBE = ".mdeploy-conditional-writes"


@dataclass(frozen=True, slots=True)
class Pointer:
    """What a tag's object says. ``by`` is of one write alone, so that a writer knows its own again."""

    to: Descriptor
    by: str
    etag: str = ""

    def to_bytes(self) -> bytes:
        """JSON."""
        return json.dumps({**self.to.to_json(), "by": self.by}, sort_keys=True).encode()


def read(bucket: Bucket, key: str) -> Pointer | None:
    """A tag; None where there is none. Raises `RegistryRefused` for an object that is no tag."""
    found = bucket.get(key)
    if found is None:
        return None
    try:
        told = json.loads(found[0])
        return Pointer(Descriptor.from_json(told), str(told["by"]), found[1])
    except (ValueError, KeyError, TypeError) as error:
        raise RegistryRefused(
            f"{bucket.where}: s3://{bucket.name}/{key} is not a tag of mdeploy",
            hint="bring back its former version if the bucket keeps versions, or delete it",
        ) from error


def move(bucket: Bucket, key: str, to: Descriptor, was: str | None) -> None:
    """Make a tag point elsewhere, if it still is where it was. Raises `TagMoved`."""
    tag = key.rpartition("/")[2]
    found = read(bucket, key)
    if (found.to.digest if found else None) != was:
        raise TagMoved(tag, found.to if found else None)
    mine = Pointer(to, secrets.token_hex(8))
    condition = {"IfMatch": found.etag} if found else {"IfNoneMatch": "*"}
    for pause in range(_CONFLICTS):
        try:
            _put(bucket, key, mine.to_bytes(), condition)
        except Answered as answer:
            if answer.status == 409:
                bucket.clock.sleep(0.05 * 2**pause)
                continue
            _lost(bucket, key, mine, answer)
        return
    raise RegistryUnavailable(
        f"{bucket.where}: too many write the tag {tag} at once", hint="run the same command again"
    )


def _put(bucket: Bucket, key: str, content: bytes, condition: Mapping[str, str]) -> None:
    arguments = {"ContentType": "application/json", "ChecksumSHA256": sum_of(content), **condition}
    bucket.call("put_object", key=key, Body=content, **arguments)


def _lost(bucket: Bucket, key: str, mine: Pointer, answer: Answered) -> None:
    """Tell what a refused write means; an answer may have been lost, and the write be done."""
    if answer.status != 412 and not answer.missing:
        raise bucket.error(answer) from answer
    found = read(bucket, key)
    if found is None or found.by != mine.by:
        raise TagMoved(key.rpartition("/")[2], found.to if found else None) from answer


def insist_on_conditions(bucket: Bucket, prefix: str) -> None:
    """Refuse a server that ignores the conditions: of two who move a tag at once, both would succeed."""
    key = f"{prefix}{_PROBE}"
    for _ in range(2):
        try:
            bucket.call("put_object", key=key, Body=b"", IfNoneMatch="*")
        except Answered as answer:
            if answer.status in (409, 412):
                return
            if answer.status == 501:
                break
            raise bucket.error(answer) from answer
    raise RegistryRefused(
        f"{bucket.where}: this server has no conditional writes (If-None-Match), so two who push at once "
        "would undo each other's work",
        hint="use a server that has them, such as AWS S3 or a current MinIO, or a folder or OCI registry",
    )
