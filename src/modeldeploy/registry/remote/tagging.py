"""Moving a tag: compare-and-swap under the lock of the repository."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from modeldeploy import identity
from modeldeploy.errors import RegistryRefused, RegistryUnavailable
from modeldeploy.oci.descriptor import Descriptor
from modeldeploy.registry.base import TagMoved
from modeldeploy.registry.remote import claims, slots
from modeldeploy.registry.remote.claims import GUARD, PREFIX, Contender, Lease, LeaseOver
from modeldeploy.registry.remote.manifests import Doubts, Manifests
from modeldeploy.registry.remote.refusals import Broken
from modeldeploy.registry.remote.session import Session
from modeldeploy.registry.remote.wire import Ask

_AGAIN = 0.2
"""Seconds between two tries of a request while the lock is held."""
_ROUNDS = 4
"""How often the lock is taken for one move, when its time ran out each time."""


@dataclass(slots=True)
class Move:
    """One tag, from where to where."""

    tag: str
    to: Descriptor
    content: bytes
    """The manifest that ``to`` names."""
    was: str | None
    sent: bool = False
    """It has been asked for at least once; what became of that may not be known."""

    def insist(self, found: Descriptor | None) -> None:
        """Raise `TagMoved` for a tag that is elsewhere than it was thought to be."""
        if (found.digest if found else None) != self.was:
            raise TagMoved(self.tag, found)

    def under(self, lease: Lease, manifests: Manifests) -> None:
        """Do it while the lock is held. Raises `LeaseOver` when there is no time left to try again."""
        doubts = Doubts()
        while True:
            lease.check()
            try:
                there = manifests.once(self.tag, read=GUARD)
                found = there[0] if there else None
                if self.sent and found and found.digest == self.to.digest:
                    return
                self.insist(found)
                self.sent = True
                manifests.put_once(self.tag, self.content, self.to.media_type, read=GUARD, check=lease.check)
            except Broken as broken:
                doubts.add(broken)
                time.sleep(_AGAIN)
            else:
                return


def swap(move: Move, board: RepositoryBoard, manifests: Manifests, where: tuple[str, str]) -> None:
    """Move a tag of a repository; ``where`` is its registry and its name."""
    for _ in range(_ROUNDS):
        with slots.turn(*where) as turn:
            left = frozenset({f"{PREFIX}{turn.left}"} if turn.left else ())
            contender = Contender(board, turn.slot, identity.current(), dead=left)
            try:
                move.under(contender.acquire(), manifests)
            except LeaseOver:
                continue
            else:
                return
            finally:
                contender.withdraw()
                turn.over(stays=contender.stays)
    known = "it is not known whether it was moved" if move.sent else "it was not moved"
    raise RegistryUnavailable(
        f"{board.host} was too slow to move the tag {move.tag} of {where[1]}; {known}",
        hint="run the same command again",
    )


class RepositoryBoard:
    """Claims as tags of a repository."""

    def __init__(
        self, session: Session, name: str, manifests: Manifests, all_tags: Callable[[], Sequence[str]]
    ) -> None:
        self._session, self._name, self._manifests, self._all_tags = session, name, manifests, all_tags
        self._erasing = frozenset({f"repository:{name}:delete,pull,push"})
        self._doubts = Doubts()
        self.host = session.host

    def claims(self) -> Sequence[str]:
        return [tag for tag in self._all_tags() if tag.startswith(PREFIX)]

    def read(self, tag: str) -> bytes | None:
        try:
            found = self._manifests.once(tag, read=GUARD)
        except RegistryRefused:
            return None
        return found[1] if found else None

    def write(self, tag: str, content: bytes) -> None:
        try:
            self._manifests.put_once(tag, content, claims.MEDIA_TYPE, read=GUARD)
        except Broken as broken:
            self._doubts.add(broken)
            raise

    def erase(self, content: bytes) -> bool | None:
        digest = Descriptor.of(content, "").digest
        url = self._session.url(self._name, f"manifests/{digest}")
        what = f"the removal of a claim from {self._name}"
        try:
            answer = self._session.once(Ask("DELETE", url, what, self._erasing, (200, 202, 204, 400, 404)))
        except RegistryRefused:
            return False
        answer.drop_body()
        if answer.status == 400:  # docker-registry, while another tag is being written
            raise Broken("it could not read its own tags")
        return answer.status != 404 or None

    def now(self) -> float | None:
        return self._session.now()
