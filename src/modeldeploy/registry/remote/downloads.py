"""Content as it comes, which goes on where it ended when the connection breaks."""

from __future__ import annotations

import io
import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import BinaryIO

from modeldeploy.errors import RegistryRefused
from modeldeploy.oci.descriptor import Descriptor, short
from modeldeploy.registry.remote import refusals
from modeldeploy.registry.remote.auth import Scopes
from modeldeploy.registry.remote.refusals import Broken
from modeldeploy.registry.remote.session import Session
from modeldeploy.registry.remote.wire import Answer, Ask

_PIECE = 1 << 18
_RANGE = re.compile(r"bytes (\d{1,18})-(\d{1,18})/(?:\d{1,18}|\*)")


class Download(io.RawIOBase):
    """Reads a blob from a byte offset to its end, over as many connections as it takes."""

    def __init__(
        self, session: Session, url: str, what: str, scopes: Scopes, descriptor: Descriptor, start: int
    ) -> None:
        self._session, self._url, self._what, self._scopes = session, url, what, scopes
        self._size, self._position = descriptor.size, start
        self._tries = session.tries(what)
        self._answer: Answer | None = None
        self._renew()

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]  # any writable buffer would do
        while self._position < self._size:
            try:
                part = self._open().some(min(len(buffer), self._size - self._position))
                if not part:
                    raise Broken(f"it ended after {self._position} of {self._size} bytes")  # noqa: TRY301 - as a cut connection
            except Broken as broken:
                self._drop()
                self._tries.failed(broken)
                continue
            self._tries.progressed()
            self._position += len(part)
            buffer[: len(part)] = part
            return len(part)
        return 0

    def close(self) -> None:
        self._drop()
        super().close()

    def _renew(self) -> None:
        """Ask now, so that content that is not there is refused before anybody reads."""
        while self._position < self._size or not self._size:
            try:
                self._open()
            except Broken as broken:
                self._tries.failed(broken)
                continue
            return

    def _drop(self) -> None:
        if self._answer:
            self._answer.drop()
        self._answer = None

    def _open(self) -> Answer:
        if self._answer is None:
            headers = {"Range": f"bytes={self._position}-"} if self._position else {}
            ask = Ask("GET", self._url, self._what, self._scopes, (200, 206), headers)
            answer = self._session.once(ask)
            self._check(answer)
            self._answer = answer
            if answer.status == 200:
                self._skip(answer, self._position)
        return self._answer

    def _check(self, answer: Answer) -> None:
        """What the headers say must be what was asked for."""
        first = self._position if answer.status == 206 else 0
        came = ""
        if "html" in answer.type:
            came = "a web page"
        elif answer.headers.get("Content-Encoding", "identity").lower() != "identity":
            came = "it compressed, which was not asked for"
        elif answer.length is not None and answer.length != self._size - first:
            came = f"{answer.length} bytes instead of {self._size - first}"
        elif answer.status == 206 and not self._right_range(answer.headers.get("Content-Range", "")):
            came = "another part of it"
        if came:
            answer.drop()
            raise refusals.nonsense(self._session.host, self._what, came)

    def _right_range(self, text: str) -> bool:
        found = _RANGE.fullmatch(text)
        return bool(found) and int(found[1]) == self._position and int(found[2]) == self._size - 1  # type: ignore[index]  # bool() hides it

    def _skip(self, answer: Answer, count: int) -> None:
        """For a registry that sends all of it although a part was asked for."""
        while count:
            part = answer.some(min(count, _PIECE))
            if not part:
                self._drop()
                raise Broken("it ended early")
            count -= len(part)


@contextmanager
def opened(
    session: Session, repository: str, scopes: Scopes, descriptor: Descriptor, start: int
) -> Iterator[BinaryIO]:
    """A stream of a blob's bytes from an offset."""
    what = f"content {short(descriptor.digest)} of {repository}"
    if not 0 <= start <= descriptor.size:
        raise RegistryRefused(f"{what} has {descriptor.size} bytes; there is no byte {start}")
    url = session.url(repository, f"blobs/{descriptor.digest}")
    download = Download(session, url, what, scopes, descriptor, start)
    with io.BufferedReader(download, _PIECE) as stream:
        yield stream
