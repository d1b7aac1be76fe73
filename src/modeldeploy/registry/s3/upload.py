"""Sending a blob: small ones at once, large ones in parts, of which those that arrived are not sent again.

The upload of a large blob is found by its key, so another process or machine goes on with it. How large its
parts are follows from the blob's size alone. The whole blob is read and hashed here in any case: a part that
S3 has already is compared with what was just read, and nothing is completed that is not what its digest says.
"""

from __future__ import annotations

import base64
import hashlib
import re
import threading
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import Any, BinaryIO

from modeldeploy.errors import RegistryRefused, RegistryUnavailable
from modeldeploy.oci.descriptor import Blob, short
from modeldeploy.registry.base import Moved
from modeldeploy.registry.s3.bucket import Bucket
from modeldeploy.registry.s3.faults import Answered

PART = 8 << 20
"""Bytes; S3 wants 5 MiB at the least, and at most 10,000 parts."""
AT_ONCE = 4
"""Parts on their way at one time, and so in memory."""
_MOST_PARTS = 9_000
_TRIES = 5
_ENDED = {"NoSuchUpload", "InvalidPart", "404"}
"""What S3 says when somebody else has aborted the upload, or replaced a part of it."""
_MD5 = re.compile(r"[0-9a-f]{32}")


@dataclass(frozen=True, slots=True)
class Part:
    """One part that S3 has."""

    number: int
    etag: str
    size: int
    sha256: str | None

    def is_of(self, content: bytes, total: str) -> bool:
        """True if S3 has these very bytes, of which ``total`` is `sum_of`."""
        if self.size != len(content):
            return False
        if self.sha256:
            return self.sha256 == total
        return self.etag.strip('"') == hashlib.md5(content, usedforsecurity=False).hexdigest()

    @property
    def tells(self) -> bool:
        """True if S3 says by a sum what it has; a server with encryption of its own may not."""
        return bool(self.sha256 or _MD5.fullmatch(self.etag.strip('"')))

    def named(self) -> dict[str, object]:
        """As S3 wants it to put the blob together: it refuses if the part is another one by now."""
        told: dict[str, object] = {"PartNumber": self.number, "ETag": self.etag}
        return {**told, "ChecksumSHA256": self.sha256} if self.sha256 else told


def push(bucket: Bucket, key: str, blob: Blob, moved: Moved) -> int:
    """Send a blob; returns how many bytes went over the wire. Raises `RegistryError`."""
    if blob.descriptor.size <= PART:
        return _put(bucket, key, blob, moved)
    sent = 0
    for _ in range(_TRIES):
        upload = _Upload(bucket, key, blob, moved)
        try:
            upload.run()
            return sent + upload.sent
        except Answered as answer:
            sent += upload.sent
            if bucket.head(key):
                return sent  # somebody else completed the upload that this one went on with
            if answer.code not in _ENDED:
                raise bucket.error(answer) from answer
            moved(-upload.sent)
    raise RegistryUnavailable(
        f"{bucket.where}: others keep ending the upload of {short(blob.descriptor.digest)}…",
        hint="run the same command again when no other push of the same content runs",
    )


def part_size(size: int) -> int:
    """Bytes of each part but the last, for a blob of this size."""
    least = -(-size // _MOST_PARTS)
    return max(PART, -(-least // (1 << 20)) << 20)


def _put(bucket: Bucket, key: str, blob: Blob, moved: Moved) -> int:
    with blob.open(0) as stream:
        content = _exactly(stream, blob.descriptor.size + 1)
    _check(bucket, blob, len(content), hashlib.sha256(content).hexdigest())
    put(bucket, key, content)
    moved(len(content))
    return len(content)


def put(bucket: Bucket, key: str, content: bytes, **settings: str) -> None:
    """Keep an object that fits into memory. Raises `RegistryError`."""
    try:
        send = partial(bucket.call, "put_object", key=key, **settings)
        _insist(bucket, content, sum_of(content), send)
    except Answered as refused:
        raise bucket.error(refused) from refused


def _insist(bucket: Bucket, content: bytes, total: str, send: Callable[..., Any], number: int = 1) -> Part:
    """Send until what arrived is what was sent, a few times at most. Raises `Answered`, `RegistryError`."""
    for _ in range(_TRIES):
        try:
            answer = send(Body=content, ChecksumSHA256=total)
        except Answered as refused:
            if not refused.damaged:
                raise
            continue
        part = Part(number, answer["ETag"], len(content), answer.get("ChecksumSHA256"))
        if part.is_of(content, total) or not part.tells:
            return part
    raise RegistryUnavailable(
        f"{bucket.where} received other bytes than were sent, {_TRIES} times in a row",
        hint="run the same command again; if it stays so, look at the network and its proxies",
    )


class _Upload:
    """One run of an upload in parts, by several threads."""

    def __init__(self, bucket: Bucket, key: str, blob: Blob, moved: Moved) -> None:
        self._bucket, self._key, self._blob, self._moved = bucket, key, blob, moved
        self._slots = threading.BoundedSemaphore(AT_ONCE)
        self._lock = threading.Lock()
        self.sent = 0
        self._id, self._there = self._begun() or (self._begin(), {})

    def run(self) -> None:
        """Send what is missing and complete it. Raises `Answered` and `RegistryError`."""
        parts: list[Part] = []
        waiting: deque[Future[Part]] = deque()
        with ThreadPoolExecutor(AT_ONCE, thread_name_prefix="s3-part") as pool:
            try:
                for number, content in enumerate(self._pieces(), 1):
                    waiting.append(pool.submit(self._part, number, content))
                    while waiting and waiting[0].done():
                        parts.append(waiting.popleft().result())
            except BaseException:
                pool.shutdown(wait=True, cancel_futures=True)
                raise
        self._complete([*parts, *(each.result() for each in waiting)])

    def _begun(self) -> tuple[str, dict[int, Part]] | None:
        """The upload of this key that has come furthest, and its parts; None if there is none."""
        try:
            found = self._bucket.call("list_multipart_uploads", Prefix=self._key)
        except Answered as answer:
            if answer.status == 403:
                return None  # then it begins anew
            raise self._bucket.error(answer) from answer
        known = [
            (upload["UploadId"], self._parts(upload["UploadId"]))
            for upload in found.get("Uploads", ())
            if upload["Key"] == self._key
        ]
        return max(known, key=lambda each: len(each[1]), default=None)

    def _parts(self, upload: str) -> dict[int, Part]:
        parts: dict[int, Part] = {}
        marker = 0
        while True:
            try:
                page = self._bucket.call(
                    "list_parts", key=self._key, UploadId=upload, PartNumberMarker=marker
                )
            except Answered as answer:
                if answer.status in (403, 404):
                    return parts
                raise self._bucket.error(answer) from answer
            for told in page.get("Parts", ()):
                number = int(told["PartNumber"])
                parts[number] = Part(number, told["ETag"], told["Size"], told.get("ChecksumSHA256"))
            if not page.get("IsTruncated"):
                return parts
            marker = int(page["NextPartNumberMarker"])

    def _begin(self) -> str:
        return str(
            self._bucket.ask("create_multipart_upload", key=self._key, ChecksumAlgorithm="SHA256")["UploadId"]
        )

    def _pieces(self) -> Iterator[bytes]:
        """The blob's content part by part. What it is not by its digest is found before the last part."""
        wanted, state, count = self._blob.descriptor, hashlib.sha256(), 0
        size = part_size(wanted.size)
        with self._blob.open(0) as stream:
            while piece := self._next(stream, size):
                state.update(piece)
                count += len(piece)
                if count >= wanted.size:
                    count += len(stream.read(1))
                    break
                yield piece
        try:
            _check(self._bucket, self._blob, count, state.hexdigest())
        except RegistryRefused:
            self._abort()
            raise
        yield piece

    def _next(self, stream: BinaryIO, size: int) -> bytes:
        """The next piece, when there is room for it."""
        self._slots.acquire()
        return _exactly(stream, size)

    def _part(self, number: int, content: bytes) -> Part:
        try:
            known, total = self._there.get(number), sum_of(content)
            if known and known.is_of(content, total):
                return known
            part = _insist(self._bucket, content, total, partial(self._send, number), number)
            with self._lock:
                self.sent += len(content)
            self._moved(len(content))
            return part
        finally:
            self._slots.release()

    def _send(self, number: int, **content: object) -> Any:
        return self._bucket.call(
            "upload_part", key=self._key, UploadId=self._id, PartNumber=number, **content
        )

    def _complete(self, parts: list[Part]) -> None:
        named = {"Parts": [part.named() for part in parts]}
        self._bucket.call(
            "complete_multipart_upload", key=self._key, UploadId=self._id, MultipartUpload=named
        )
        found = self._bucket.head(self._key)
        if not found or found["ContentLength"] != self._blob.descriptor.size:
            raise RegistryRefused(
                f"{self._bucket.where} put {short(self._blob.descriptor.digest)}… together wrongly",
                hint="run the same command again; if it stays so, this server is not compatible with S3",
            )

    def _abort(self) -> None:
        """Nobody is to go on with parts of something else."""
        self._bucket.ask("abort_multipart_upload", key=self._key, UploadId=self._id)


def _exactly(stream: BinaryIO, size: int) -> bytes:
    """So many bytes, fewer only at the end."""
    pieces, missing = [], size
    while missing and (piece := stream.read(missing)):
        pieces.append(piece)
        missing -= len(piece)
    return pieces[0] if len(pieces) == 1 else b"".join(pieces)


def sum_of(content: bytes) -> str:
    """The SHA-256 as S3 wants it."""
    return base64.b64encode(hashlib.sha256(content).digest()).decode()


def _check(bucket: Bucket, blob: Blob, size: int, found: str) -> None:
    wanted = blob.descriptor
    if (size, f"sha256:{found}") != (wanted.size, wanted.digest):
        raise RegistryRefused(
            f"what was to be sent to {bucket.where} is not {short(wanted.digest)}… of {wanted.size} bytes",
            hint="it was changed or damaged on this disk: build it again (mdeploy build)",
        )
