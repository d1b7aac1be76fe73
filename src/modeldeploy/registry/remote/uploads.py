"""Sending blobs: not at all where they are there, mounted where they can be, else in pieces that may fail.

A blob of up to one piece is one request. A larger one is sent piece by piece; after a failure the registry
is asked how far it came, and where it has forgotten the upload, another is begun. Where an upload is, is
kept in mdeploy's home, so that a push that was killed goes on too.

Source: https://github.com/opencontainers/distribution-spec/blob/v1.1.1/spec.md#push
"""

from __future__ import annotations

import hashlib
import re
from contextlib import suppress
from dataclasses import replace
from typing import BinaryIO
from urllib.parse import quote

from modeldeploy.errors import RegistryRefused
from modeldeploy.oci.descriptor import Blob, Descriptor, short
from modeldeploy.registry.base import Moved, Sent
from modeldeploy.registry.remote import refusals
from modeldeploy.registry.remote.auth import Scopes
from modeldeploy.registry.remote.refusals import Broken
from modeldeploy.registry.remote.session import Session
from modeldeploy.registry.remote.unfinished import Memory, remembered
from modeldeploy.registry.remote.wire import READ, Answer, Ask

PIECE = 8 << 20
"""Bytes of one request. What was sent of a piece that fails is lost; so is the time of many small ones."""
_LARGEST_PIECE = 256 << 20
_SLOWEST_CHECK = 20 << 20
"""Bytes per second at which a registry may check a digest, after the last piece."""
_RANGE = re.compile(r"(?:bytes=)?0-(\d{1,18})")
_LOST = (400, 404, 416)
"""Answers of a registry that does not know the upload any more, or knows another state of it."""
_NO_PIECES = (405, 411, 501)
"""Answers of a registry that takes content only as a whole."""
_ENOUGH = 2
_OCTETS = {"Content-Type": "application/octet-stream"}


class Lost(Broken):
    """The upload cannot go on: another has to be begun."""


class Piece:
    """A part of a blob as a request's body: counts what was taken, remembers why reading failed."""

    def __init__(self, stream: BinaryIO, length: int, moved: Moved) -> None:
        self._stream, self._left, self._moved = stream, length, moved
        self.taken = 0
        self.failure: Exception | None = None

    def read(self, most: int = -1) -> bytes:
        """As of a file."""
        if not self._left:
            return b""
        try:
            part = self._stream.read(self._left if most < 0 else min(most, self._left))
        except Exception as error:
            self.failure = error  # the connection would be blamed for it otherwise
            raise
        if not part:
            self.failure = RegistryRefused("content ended before the size that its descriptor says")
            raise self.failure
        self._left -= len(part)
        self.taken += len(part)
        self._moved(len(part))
        return part


class Upload:
    """One blob on its way."""

    def __init__(self, session: Session, repository: str, scopes: Scopes, blob: Blob, moved: Moved) -> None:
        self._session, self._repository, self._scopes = session, repository, scopes
        self._blob, self._moved = blob, moved
        self._what = f"room for content {short(blob.descriptor.digest)} in {repository}"
        self._size = blob.descriptor.size
        self._base = self._told = self._wire = 0
        self._piece = PIECE
        self._no_pieces = 0
        """How often the registry did not take a piece."""

    def run(self, location: str | None) -> Sent:
        """Send it, beginning at an upload that the registry has opened already, if it has."""
        if self._size <= PIECE:
            self._send(location, None)
            return Sent(self._wire, "sent")
        with remembered(
            self._session.address.origin, self._repository, self._blob.descriptor.digest
        ) as memory:
            self._send(memory.location() or location, memory, resumed=memory.location() is not None)
            memory.forget()
        return Sent(self._wire, "sent")

    def _send(self, location: str | None, memory: Memory | None, *, resumed: bool = False) -> None:
        tries, furthest, offset = self._session.tries(self._what), 0, 0
        asks_first = resumed
        while True:
            try:
                if location and asks_first:
                    location, offset = self._how_far(location)
                    self._base = offset if resumed else self._base
                resumed = asks_first = False
                location = location or self._begin()
                self._settle(offset)
                while self._goes_in_pieces(offset):
                    location, offset = self._patch(location, offset, memory)
                    if offset > furthest:
                        furthest = offset
                        tries.progressed()
                self._finish(location, offset)
            except Broken as broken:
                if isinstance(broken, Lost):
                    location, offset = None, 0
                asks_first = True
                tries.failed(broken)
                if self._is_there():
                    return
            else:
                return

    def _goes_in_pieces(self, offset: int) -> bool:
        return self._size > PIECE and offset < self._size and self._no_pieces < _ENOUGH

    def _settle(self, offset: int) -> None:
        """Take back what was told to have moved and did not stay."""
        self._base = min(self._base, offset)
        kept = offset - self._base
        if kept != self._told:
            self._moved(kept - self._told)
            self._told = kept

    def _count(self, count: int) -> None:
        self._told += count
        self._wire += count
        self._moved(count)

    def _begin(self) -> str:
        url = self._session.url(self._repository, "blobs/uploads/")
        answer = self._session.once(Ask("POST", url, self._what, self._scopes, (202,), body=b""))
        return self._next(answer, url)

    def _next(self, answer: Answer, base: str) -> str:
        """Where the next request goes."""
        answer.drop_body()
        least = answer.headers.get("OCI-Chunk-Min-Length", "")
        if least.isascii() and least.isdigit() and len(least) < 12:
            self._piece = min(max(self._piece, int(least)), _LARGEST_PIECE)
        return self._session.follow(base, answer.headers.get("Location", ""), self._what)

    def _how_far(self, location: str) -> tuple[str | None, int]:
        """Ask the registry what it has of the upload; nothing where it has forgotten it."""
        if self._size <= PIECE:
            return None, 0
        try:
            answer = self._session.once(Ask("GET", location, self._what, self._scopes, (200, 202, 204)))
        except RegistryRefused:
            return None, 0
        offset = self._kept(answer, 0)
        if offset is None or offset > self._size:
            answer.drop()
            return None, 0
        if not answer.headers.get("Location"):
            answer.drop_body()
            return location, offset
        return self._next(answer, location), offset

    def _kept(self, answer: Answer, otherwise: int | None) -> int | None:
        """How many bytes the header ``Range`` says that there are; ``0-0`` is said of none."""
        text = answer.headers.get("Range", "")
        if not text:
            return otherwise
        found = _RANGE.fullmatch(text)
        if not found:
            return None
        return int(found[1]) + 1 if int(found[1]) else 0

    def _patch(self, location: str, offset: int, memory: Memory | None) -> tuple[str, int]:
        end = min(offset + self._piece, self._size)
        if memory:
            memory.keep(location)
        headers = {**_OCTETS, "Content-Range": f"{offset}-{end - 1}"}
        ask = Ask("PATCH", location, self._what, self._scopes, (201, 202, 204), headers)
        answer = self._with_body(ask, offset, end)
        kept = self._kept(answer, end)
        if kept is None or not offset <= kept <= end:
            answer.drop()
            came = (
                f"the range {refusals.printable(answer.headers.get('Range', ''))!r} after {offset}-{end - 1}"
            )
            raise refusals.nonsense(self._session.host, self._what, came)
        location = self._next(answer, location)
        if memory:
            memory.keep(location)
        self._settle(kept)
        if kept == offset:
            raise Broken("it kept nothing of what was sent")
        return location, kept

    def _finish(self, location: str, offset: int) -> None:
        """The rest, and the digest of the whole, which the registry checks."""
        joint = "&" if "?" in location else "?"
        url = f"{location}{joint}digest={quote(self._blob.descriptor.digest, safe='')}"
        patience = READ + self._size / _SLOWEST_CHECK
        ask = Ask("PUT", url, self._what, self._scopes, (201, 204), _OCTETS, read=patience)
        answer = self._with_body(ask, offset, self._size)
        answer.drop_body()
        digest = answer.headers.get("Docker-Content-Digest", self._blob.descriptor.digest)
        if digest != self._blob.descriptor.digest:
            came = f"content {refusals.printable(digest)}"
            raise refusals.nonsense(self._session.host, self._what, came)

    def _with_body(self, ask: Ask, offset: int, end: int) -> Answer:
        """Send a part of the content as the body of a request."""
        with self._blob.open(offset) as stream:
            piece = Piece(stream, end - offset, self._count)
            body: bytes | Piece = piece if end > offset else b""
            try:
                answer = self._session.once(
                    replace(ask, fine=(*ask.fine, *_LOST, *_NO_PIECES), body=body, length=end - offset)
                )
            except Broken:
                if piece.failure:
                    raise piece.failure from None
                raise
            if answer.status in ask.fine:
                return answer
            self._no_pieces += ask.method == "PATCH"
            raise self._lost(answer, piece)

    def _lost(self, answer: Answer, piece: Piece) -> Exception:
        if piece.failure:
            return piece.failure
        reason = self._session.said(answer)
        if "DIGEST_INVALID" in reason or "digest" in reason.lower():
            if problem := _differs(self._blob):
                return RegistryRefused(
                    f"{short(self._blob.descriptor.digest)} is not what is to be sent: {problem}",
                    hint="the file has changed since it was read; run the same command again",
                )
            reason = "the content was changed on its way"
        if refusals.WRONG_SCHEME.lower() in reason.lower():
            return refusals.refused(self._session.host, self._what, answer.status, reason)
        return Lost(f"it answered {answer.status}{f' ({reason})' if reason else ''}")

    def _is_there(self) -> bool:
        """The answer to the last request may have been lost, and not the request."""
        with suppress(Broken):
            return is_there(self._session, self._repository, self._scopes, self._blob.descriptor)
        return False


def _differs(blob: Blob) -> str:
    """In what the content at hand is not what its descriptor says; empty where it is."""
    state, size = hashlib.sha256(), 0
    with blob.open(0) as stream:
        while part := stream.read(1 << 20):
            state.update(part)
            size += len(part)
            if size > blob.descriptor.size:
                return f"it is longer than {blob.descriptor.size} bytes"
    if size != blob.descriptor.size:
        return f"it has {size} bytes instead of {blob.descriptor.size}"
    return "" if f"sha256:{state.hexdigest()}" == blob.descriptor.digest else "its digest is another"


def is_there(session: Session, repository: str, scopes: Scopes, descriptor: Descriptor) -> bool:
    """Whether a repository has a blob, tried once. A size of -1 is that of any."""
    what = f"content {short(descriptor.digest)} of {repository}"
    url = session.url(repository, f"blobs/{descriptor.digest}")
    answer = session.once(Ask("HEAD", url, what, scopes, (200, 404)))
    answer.drop_body()
    if answer.status == 404 and "html" not in answer.type:
        return False
    digest = answer.headers.get("Docker-Content-Digest", descriptor.digest)
    size = answer.length if answer.length is not None else descriptor.size
    came = ""
    if "html" in answer.type:
        came = "a web page"
    elif digest != descriptor.digest:
        came = f"content {refusals.printable(digest)}"
    elif descriptor.size not in (-1, size):
        came = f"{size} bytes instead of {descriptor.size}"
    if came:
        raise refusals.nonsense(session.host, what, came)
    return "Docker-Content-Digest" in answer.headers or answer.length is not None


def mounted(
    session: Session, repository: str, source: str, scopes: Scopes, digest: str
) -> tuple[bool, str | None]:
    """Ask to take a blob over from another repository: whether it was, else where it may be uploaded."""
    what = f"content {short(digest)} of {source} for {repository}"
    base = session.url(repository, "blobs/uploads/")
    url = f"{base}?mount={quote(digest, safe='')}&from={quote(source, safe='')}"
    try:
        answer = session.ask(Ask("POST", url, what, scopes, (201, 202), body=b""))
    except RegistryRefused:
        return False, None
    answer.drop_body()
    if answer.status == 201:
        return answer.headers.get("Docker-Content-Digest", digest) == digest, None
    return False, session.follow(base, answer.headers.get("Location", ""), what)
