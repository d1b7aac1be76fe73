"""Reading an object as it comes, and going on where a connection broke."""

from __future__ import annotations

import io
from typing import Any

from modeldeploy.errors import RegistryError, RegistryRefused, RegistryUnavailable
from modeldeploy.registry.s3 import faults
from modeldeploy.registry.s3.bucket import PAUSES, Bucket
from modeldeploy.registry.s3.faults import Answered

BUFFER = 1 << 18


class ObjectReader(io.RawIOBase):
    """An object of a known size, from a byte offset. Raises `RegistryError`, also while reading."""

    def __init__(self, bucket: Bucket, key: str, size: int, start: int) -> None:
        self._bucket, self._key, self._size = bucket, key, size
        self._position, self._failed = start, 0
        self._body: Any = None
        if start < size:
            self._body = self._opened()
        elif (found := bucket.head(key)) is None or found["ContentLength"] != size:
            raise self._not_it(found["ContentLength"] if found else None)

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        while self._position < self._size:
            try:
                piece = self._some(min(len(buffer), self._size - self._position))
            except RegistryUnavailable as error:
                self._again(error)
                continue
            buffer[: len(piece)] = piece
            self._position += len(piece)
            self._failed = 0
            return len(piece)
        return 0

    def close(self) -> None:
        self._drop()
        super().close()

    def _some(self, count: int) -> bytes:
        if self._body is None:
            self._body = self._opened()
        with faults.asking(self._bucket.where):
            piece: bytes = self._body.read(count)
        if not piece:
            raise RegistryUnavailable(
                f"{self._bucket.where} ended an answer early", hint="run the same command again"
            )
        return piece

    def _opened(self) -> Any:
        try:
            answer = self._bucket.call("get_object", key=self._key, Range=f"bytes={self._position}-")
        except Answered as refused:
            if refused.missing or refused.status == 416:
                raise self._not_it(None) from refused
            raise self._bucket.error(refused) from refused
        if answer["ContentLength"] != self._size - self._position:
            answer["Body"].close()
            raise self._not_it(answer["ContentLength"] + self._position)
        return answer["Body"]

    def _again(self, error: RegistryError) -> None:
        """Get ready for another try, after a pause; the bytes that came are not asked for again."""
        self._drop()
        if self._failed == len(PAUSES):
            raise error
        self._bucket.clock.sleep(PAUSES[self._failed])
        self._failed += 1

    def _drop(self) -> None:
        if self._body is not None:
            self._body.close()
            self._body = None

    def _not_it(self, found: int | None) -> RegistryRefused:
        told = f"has {found} bytes" if found is not None else "is not there or too short"
        name = self._key.rpartition("/")[2][:12]
        return RegistryRefused(
            f"{self._bucket.where}: {name}… should have {self._size} bytes and {told}",
            hint="push it again from a machine that has it: mdeploy push",
        )
