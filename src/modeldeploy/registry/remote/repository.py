"""Registries and their repositories, behind the protocol that folders and S3 have too."""

from __future__ import annotations

import io
import json
import re
from collections.abc import Sequence
from contextlib import AbstractContextManager
from functools import partial
from pathlib import Path
from typing import BinaryIO
from urllib.parse import urljoin

from modeldeploy.errors import RegistryRefused
from modeldeploy.oci.descriptor import DIGEST, Blob, Descriptor, short
from modeldeploy.registry.base import Moved, Sent
from modeldeploy.registry.names import insist_on_name, insist_on_tag
from modeldeploy.registry.remote import claims, downloads, refusals, tagging, uploads
from modeldeploy.registry.remote.address import Address, is_name, origin_of
from modeldeploy.registry.remote.auth import Auth
from modeldeploy.registry.remote.credentials import Credentials, Found, look_up
from modeldeploy.registry.remote.manifests import Manifests
from modeldeploy.registry.remote.patience import Patience
from modeldeploy.registry.remote.session import Session
from modeldeploy.registry.remote.wire import LARGEST_ANSWER, Answer, Ask, Wire

_TAG = re.compile(r"[\w.-]{1,128}", re.ASCII)
"""What a list of tags may hold; other tools may be less strict than we are."""
_PAGES = 2000
_MOST_TAGS = 200_000
_NEXT = re.compile(r'<([^<>]{1,4096})>\s*;[^,]*\brel="?next"?')


class RemoteRegistry:
    """A registry, or one prefix of it. Nothing is asked before something is wanted."""

    def __init__(
        self,
        url: str,
        *,
        ca: Path | None = None,
        username: str | None = None,
        password: str | None = None,
        patience: Patience | None = None,
    ) -> None:
        self._address = Address.parse(url)
        self.url = url
        own = Credentials(username, password) if username and password else None
        wire = Wire(self._address, ca)
        self._session = Session(wire, Auth(wire, partial(self._look_up, own)), patience or Patience())

    def repository(self, name: str) -> RemoteRepository:
        """A repository by name."""
        insist_on_name(name)
        full = insist_on_name(f"{self._address.prefix}/{name}".lstrip("/"))
        return RemoteRepository(self._session, full, self._address.prefix)

    def _look_up(self, own: Credentials | None) -> Found:
        return Found(own) if own else look_up(self._address.host, self._address.prefix)


class RemoteRepository:
    """One name in a registry of the OCI distribution protocol."""

    def __init__(self, session: Session, name: str, prefix: str) -> None:
        self._session, self._name, self._prefix = session, name, prefix
        self._pull = frozenset({f"repository:{name}:pull"})
        self._push = frozenset({f"repository:{name}:pull,push"})
        self._manifests = Manifests(session, name, self._pull, self._push)
        self.where = f"{session.host}/{name}"

    def has_blob(self, digest: str) -> bool:
        return self._is_there(Descriptor("", _digest(digest), -1))

    def _is_there(self, descriptor: Descriptor) -> bool:
        tries = self._session.tries(f"content {short(descriptor.digest)} of {self._name}")
        while True:
            try:
                return uploads.is_there(self._session, self._name, self._pull, descriptor)
            except refusals.Broken as broken:
                tries.failed(broken)

    def push_blob(self, blob: Blob, *, moved: Moved) -> Sent:
        """Send a blob unless it is there, or can be mounted from one of its sources."""
        _digest(blob.descriptor.digest)
        if self._is_there(blob.descriptor):
            return Sent(0, "present")
        location = None
        for source in blob.sources:
            full = source[1:] if source.startswith("/") else f"{self._prefix}/{source}".lstrip("/")
            if full == self._name or not is_name(full):
                continue
            scopes = self._push | {f"repository:{full}:pull"}
            done, opened = uploads.mounted(self._session, self._name, full, scopes, blob.descriptor.digest)
            if done:
                return Sent(0, "mounted")
            location = location or opened
        return uploads.Upload(self._session, self._name, self._push, blob, moved).run(location)

    def open_blob(self, descriptor: Descriptor, *, start: int = 0) -> AbstractContextManager[BinaryIO]:
        _digest(descriptor.digest)
        return downloads.opened(self._session, self._name, self._pull, descriptor, start)

    def put_manifest(self, content: bytes, media_type: str) -> Descriptor:
        return self._manifests.put(content, media_type)

    def manifest(self, digest: str) -> bytes:
        return self._manifests.get(_digest(digest))

    def tags(self) -> Sequence[str]:
        """All tags but those of locks, sorted."""
        return sorted(tag for tag in self._all_tags() if not tag.startswith(claims.PREFIX))

    def tag(self, tag: str) -> Descriptor | None:
        return self._manifests.tagged(_tag(tag))

    def set_tag(self, tag: str, to: Descriptor, *, was: str | None) -> None:
        """Point a tag to a manifest under the lock of the repository (`claims`)."""
        move = tagging.Move(_tag(tag), to, self.manifest(to.digest), was)
        move.insist(self.tag(tag))
        empty = Blob(claims.EMPTY, lambda start: io.BytesIO(b"{}"[start:]))
        self.push_blob(empty, moved=lambda _: None)
        board = tagging.RepositoryBoard(self._session, self._name, self._manifests, self._all_tags)
        tagging.swap(move, board, self._manifests, (self._session.address.origin, self._name))

    def _all_tags(self) -> list[str]:
        what = f"the tags of {self._name}"
        url = self._session.url(self._name, "tags/list?n=1000")
        found: dict[str, None] = {}
        for _ in range(_PAGES):
            answer = self._session.ask(Ask("GET", url, what, self._pull, (200, 404)))
            if answer.status == 404:
                self._insist_on_unknown(answer, what)
                return []
            page = self._page(answer, what)
            before = len(found)
            found.update(dict.fromkeys(page))
            following = self._next_page(answer, what)
            if following is None:
                return list(found)
            if len(found) == before or len(found) > _MOST_TAGS:
                break
            url = following
        raise refusals.nonsense(self._session.host, what, "pages that do not end")

    def _insist_on_unknown(self, answer: Answer, what: str) -> None:
        """A 404 of a registry means that there is no such repository; one of others means nothing."""
        body = self._session.text(answer, what, LARGEST_ANSWER)
        reason = refusals.said(body, answer.type)
        if not refusals.is_unknown(reason):
            raise refusals.refused(self._session.host, what, 404, reason)

    def _page(self, answer: Answer, what: str) -> list[str]:
        body = self._session.text(answer, what, LARGEST_ANSWER)
        try:
            tags = json.loads(body)["tags"] or []
            if isinstance(tags, list) and all(isinstance(tag, str) and _TAG.fullmatch(tag) for tag in tags):
                return tags
        except (ValueError, LookupError, TypeError, RecursionError):
            pass
        raise refusals.nonsense(self._session.host, what, "something else than a list of tags")

    def _next_page(self, answer: Answer, what: str) -> str | None:
        link = answer.headers.get("Link", "")
        if not link:
            return None
        found = _NEXT.search(link)
        try:
            url = urljoin(answer.url, found[1]) if found else ""
            if origin_of(url) == self._session.address.origin:
                return url
        except ValueError:
            pass
        raise refusals.nonsense(self._session.host, what, "a next page that is elsewhere")


def _digest(digest: str) -> str:
    if not DIGEST.fullmatch(digest):
        raise RegistryRefused(f"{digest!r:.80} is no digest: sha256: and 64 hexadecimal digits were expected")
    return digest


def _tag(tag: str) -> str:
    if tag.startswith(claims.PREFIX):
        raise RegistryRefused(f"the tag {tag[:140]!r} belongs to a lock", hint="choose another tag")
    return insist_on_tag(tag)
