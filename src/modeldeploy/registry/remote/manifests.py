"""Manifests by digest and by tag. Each is checked against its digest before anybody sees it."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable

from modeldeploy.errors import RegistryRefused
from modeldeploy.oci.descriptor import DIGEST, Descriptor
from modeldeploy.registry.remote import refusals
from modeldeploy.registry.remote.auth import Scopes
from modeldeploy.registry.remote.refusals import Broken
from modeldeploy.registry.remote.session import Session
from modeldeploy.registry.remote.wire import LARGEST_ANSWER, READ, Answer, Ask

_TYPES = (
    "application/vnd.oci.image.manifest.v1+json",
    "application/vnd.oci.image.index.v1+json",
    "application/vnd.docker.distribution.manifest.v2+json",
    "application/vnd.docker.distribution.manifest.list.v2+json",
)
_KEPT = 64
_LARGEST_KEPT = 256 << 10
_CORRUPTED = 4
"""How often a manifest that is not what its digest says is asked for: the wire may have changed it."""


class Manifests:
    """The manifests of one repository."""

    def __init__(self, session: Session, repository: str, pull: Scopes, push: Scopes) -> None:
        self._session, self._repository = session, repository
        self._pull, self._push = pull, push
        self._kept: OrderedDict[str, bytes] = OrderedDict()
        self._lock = threading.Lock()

    def get(self, digest: str) -> bytes:
        """The bytes of a manifest."""
        with self._lock:
            if digest in self._kept:
                return self._kept[digest]
        found = self._patiently(digest)
        if not found:
            raise RegistryRefused(
                f"{self._session.host} has no manifest {digest} in {self._repository}",
                hint="push it first, or check the name and the version",
            )
        return found[1]

    def tagged(self, tag: str) -> Descriptor | None:
        """Where a tag points, read anew each time."""
        found = self._patiently(tag)
        return found[0] if found else None

    def once(self, reference: str, read: float = READ) -> tuple[Descriptor, bytes] | None:
        """A manifest by tag or digest, tried once."""
        what = f"the manifest {reference[:80]} of {self._repository}"
        url = self._session.url(self._repository, f"manifests/{reference}")
        headers = {"Accept": ", ".join(_TYPES)}
        answer = self._session.once(Ask("GET", url, what, self._pull, (200, 404), headers, read=read))
        content = self._session.text(answer, what, LARGEST_ANSWER)
        if answer.status == 404:
            reason = refusals.said(content, answer.type)
            if refusals.is_unknown(reason):
                return None
            raise refusals.refused(self._session.host, what, 404, reason)
        found = Descriptor.of(content, answer.type)
        self._check(found, reference, answer, what)
        self._keep(found.digest, content)
        return found, content

    def put(self, content: bytes, media_type: str) -> Descriptor:
        """Keep a manifest under its digest."""
        there = Descriptor.of(content, media_type)
        if there.size > LARGEST_ANSWER:
            raise RegistryRefused(f"a manifest of {there.size} bytes is more than registries take (4 MiB)")
        tries = self._session.tries(f"a place for a manifest in {self._repository}")
        doubts = Doubts()
        while True:
            try:
                self.put_once(there.digest, content, media_type)
            except Broken as broken:
                doubts.add(broken)
                tries.failed(broken)
            else:
                return there

    def put_once(
        self,
        reference: str,
        content: bytes,
        media_type: str,
        *,
        read: float = READ,
        check: Callable[[], None] = lambda: None,
    ) -> None:
        """Put a manifest under a tag or its digest, tried once; ``check`` is called right before."""
        what = f"a place for the manifest {reference[:80]} in {self._repository}"
        url = self._session.url(self._repository, f"manifests/{reference}")
        headers = {"Content-Type": media_type}
        answer = self._session.once(
            Ask("PUT", url, what, self._push, (201, 200, 400), headers, content, read=read, check=check)
        )
        if answer.status == 400:
            reason = self._session.said(answer)
            raise Corrupted(reason, refusals.refused(self._session.host, what, 400, reason))
        answer.drop_body()
        there = Descriptor.of(content, media_type)
        digest = answer.headers.get("Docker-Content-Digest", there.digest)
        if "html" in answer.type or digest != there.digest:
            came = "a web page" if "html" in answer.type else f"content {refusals.printable(digest)}"
            raise refusals.nonsense(self._session.host, what, came)
        self._keep(there.digest, content)

    def _patiently(self, reference: str) -> tuple[Descriptor, bytes] | None:
        what = f"the manifest {reference[:80]} of {self._repository}"
        tries, doubts = self._session.tries(what), Doubts()
        while True:
            try:
                return self.once(reference)
            except Broken as broken:
                doubts.add(broken)
                tries.failed(broken)

    def _check(self, found: Descriptor, reference: str, answer: Answer, what: str) -> None:
        told = answer.headers.get("Docker-Content-Digest", found.digest)
        by_digest = bool(DIGEST.fullmatch(reference))
        if (by_digest and told != reference) or not DIGEST.fullmatch(told):
            came = f"another one, {refusals.printable(told)}"
            raise refusals.nonsense(self._session.host, what, came)
        if not by_digest and found.media_type not in _TYPES:
            came = f"a manifest of the type {refusals.printable(found.media_type)!r}"
            raise refusals.nonsense(self._session.host, what, came)
        wanted = reference if by_digest else told
        if found.digest != wanted:
            came = f"{found.size} bytes with the digest {found.digest} instead of {wanted}"
            raise Corrupted(came, refusals.nonsense(self._session.host, what, came))

    def _keep(self, digest: str, content: bytes) -> None:
        if len(content) > _LARGEST_KEPT:
            return
        with self._lock:
            self._kept[digest] = content
            while len(self._kept) > _KEPT:
                self._kept.popitem(last=False)


class Corrupted(Broken):
    """Content that is not what its digest says: changed on its way, or at the registry.

    Registries that write their files in place say so too while another writes the same content.
    """

    def __init__(self, reason: str, refusal: RegistryRefused) -> None:
        super().__init__(reason)
        self.refusal = refusal
        """To be raised if it stays so."""


class Doubts:
    """Counts how often content was not what its digest says."""

    def __init__(self) -> None:
        self._count = 0

    def add(self, broken: Broken) -> None:
        """Raises the refusal once it was so too often."""
        if isinstance(broken, Corrupted):
            self._count += 1
            if self._count >= _CORRUPTED:
                raise broken.refusal from broken
