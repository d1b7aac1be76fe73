"""A lock in a registry that has none: moving a tag by compare-and-swap where there is no conditional PUT.

Whoever wants to move a tag of a repository raises a *claim*: a tag ``_lock.<slot>`` of his own, which points
to a manifest that says who, which ticket, and until when. Then he reads all claims. If no other one is alive,
he holds the lock; otherwise he waits or takes his claim back, and begins again. To unlock, he takes it back.

Why no two hold the lock at once
    Let A and B both hold it. Each raised his claim, and after that listed all claims and found none alive
    but his own. Of the two claims one was raised later, say B's. B listed after that, so his list is younger
    than A's claim. A's claim was either still up: then B saw it and did not hold the lock. Or A had taken it
    back: then A did not hold it any more. Or B thought it dead: see below. A claim that is listed and cannot
    be read counts as alive. This needs a registry whose list of tags shows what was written before it was
    asked: a registry with one storage. Caches and replicas that lag behind break it.

    Nobody else raises a claim in my slot: its name is random, and is used again only where the registry does
    not delete, by processes that take turns at a lock of the kernel (`slots`).

Why a holder who was killed does not block the others for long
    A claim is a lease. Its holder acts for `LEASE - GUARD` seconds after he *began* to raise it, by his
    monotonic clock, and then never again under that claim. Another may take it for dead once he has
    seen the very same claim for `LEASE` seconds of *his* monotonic clock, which begin later: no clocks are
    compared. Claims that are older than that by the registry's own ``Date``, plus `SKEW` for registries of
    several machines, count as dead at sight: those that were left behind long ago delay nobody.

What it does not give
    A request that was sent in time and is carried out by the registry more than `GUARD` seconds later (a
    proxy that held it back) is not fenced off: only conditional requests could do that. A holder whose
    machine was suspended between the look at his clock and the system call that sends is such a case too.

Why somebody gets on
    Of those who contend, the one with the lowest ticket, whoever came first, keeps his claim up and waits
    until the others have taken theirs back. Pauses are random.
"""

from __future__ import annotations

import hashlib
import json
import random
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Protocol, TypeVar

from modeldeploy.errors import RegistryError, RegistryUnavailable
from modeldeploy.oci.descriptor import Descriptor
from modeldeploy.registry.remote.refusals import Broken, printable

T = TypeVar("T")
PREFIX = "_lock."
LEASE = 15.0
GUARD = 5.0
SKEW = 30.0
"""Seconds, all three; see above."""
WAIT = 120.0
"""Seconds after which somebody who waits for the lock gives up."""
_BETWEEN = (0.05, 0.3)
MEDIA_TYPE = "application/vnd.oci.image.manifest.v1+json"
ARTIFACT = "application/vnd.mdeploy.claim.v1+json"
EMPTY = Descriptor.of(b"{}", "application/vnd.oci.empty.v1+json")
"""What a claim has instead of content. It must be in the repository before the claim."""
_KEY = "dev.mdeploy.claim."


class Board(Protocol):
    """What the protocol needs of a repository. Each is tried once, and raises `Broken` where it failed."""

    host: str

    def claims(self) -> Sequence[str]:
        """The tags that begin with `PREFIX`."""
        ...

    def read(self, tag: str) -> bytes | None:
        """The manifest behind a tag; None where there is a tag and it cannot be read, or none any more."""
        ...

    def write(self, tag: str, content: bytes) -> None:
        """Point a tag to a manifest, which is put too."""
        ...

    def erase(self, content: bytes) -> bool | None:
        """Delete a manifest, and with it its tags.

        False where the registry does not delete; None where there was no such manifest.
        """
        ...

    def now(self) -> float | None:
        """Unix seconds by the registry's clock; None where it has none."""
        ...


@dataclass(frozen=True, slots=True)
class Claim:
    """What a claim says."""

    by: str
    ticket: str
    expires: float
    """Unix seconds by the registry's clock; 0 where it has none."""

    def content(self) -> bytes:
        """The manifest."""
        return _manifest({"by": self.by, "ticket": self.ticket, "expires": f"{self.expires:.3f}"})

    @classmethod
    def read(cls, content: bytes) -> Claim | None:
        """None for a manifest that is not a claim. Raises ValueError for one that cannot be understood."""
        try:
            value = json.loads(content)
        except RecursionError:
            raise ValueError("no claim") from None
        if not isinstance(value, dict) or value.get("artifactType") != ARTIFACT:
            return None
        try:
            said: dict[str, Any] = value["annotations"]
            if said.get(f"{_KEY}released"):
                return None
            by, ticket, expires = (str(said[f"{_KEY}{name}"]) for name in ("by", "ticket", "expires"))
            return cls(printable(by), ticket, float(expires))
        except (LookupError, TypeError, AttributeError) as error:
            raise ValueError("no claim") from error


def _manifest(said: dict[str, str]) -> bytes:
    value = {
        "schemaVersion": 2,
        "mediaType": MEDIA_TYPE,
        "artifactType": ARTIFACT,
        "config": EMPTY.to_json(),
        "layers": [EMPTY.to_json()],
        "annotations": {f"{_KEY}{name}": text for name, text in said.items()},
    }
    return json.dumps(value, sort_keys=True).encode()


def released() -> bytes:
    """What a slot points to while it is nobody's, in a registry that does not delete. Each is another."""
    return _manifest({"released": f"{random.getrandbits(64):016x}"})


class LeaseOver(Exception):
    """The holder has taken too long: he must not act under this claim any more."""


@dataclass(frozen=True, slots=True)
class Lease:
    """The lock, held."""

    raised: float

    def check(self) -> None:
        """To be called right before each act. Raises `LeaseOver`."""
        if time.monotonic() - self.raised >= LEASE - GUARD:
            raise LeaseOver


class Contender:
    """One who wants the lock of a repository."""

    def __init__(
        self,
        board: Board,
        slot: str,
        by: str,
        *,
        dead: frozenset[str] = frozenset(),
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._board, self._tag, self._by, self._sleep = board, f"{PREFIX}{slot}", by, sleep
        self._dead = dead
        """Tags of claims whose holder is known to have ended."""
        self._ticket = ""
        self._seen: dict[tuple[str, str], float] = {}
        self._mine: bytes | None = None
        self._spoiled = False
        self.stays: bool | None = None
        """Whether the slot is to be used again: the registry does not delete. None: as it was."""

    def acquire(self) -> Lease:
        """The lock. Raises `RegistryUnavailable` where it does not come free in time.

        Raises `LeaseOver` where it has to be asked for with another slot.
        """
        deadline = time.monotonic() + WAIT
        others: Sequence[str] = ()
        while time.monotonic() < deadline:
            if self._spoiled:
                raise LeaseOver
            try:
                others = [by for _, by in self._alive()]
                lease = None if others else self._raise_and_look()
            except Broken:
                lease = None
            if lease:
                for tag in self._dead:
                    self._quietly(partial(self._clear, tag))
                return lease
            self._pause()
        who = ", ".join(others) or "nobody who says so"
        raise RegistryUnavailable(
            f"the lock of this repository at {self._board.host} did not come free within {WAIT:.0f} s; "
            f"it is held by {who}",
            hint="run the same command again",
        )

    def withdraw(self) -> None:
        """Take the claim back, if there is one."""
        content, self._mine = self._mine, None
        if content is None:
            return
        erased = self._quietly(lambda: self._board.erase(content))
        if erased is False:
            self.stays = self._release()
        elif not erased:
            self._quietly(lambda: self._clear(self._tag))
        # A request of which the end is not known may come late, and take the next claim of this slot away.
        self._spoiled = not erased and not self.stays

    def _release(self) -> bool:
        """Overwrite the claim; False where it is in doubt whether that was done."""
        try:
            self._board.write(self._tag, released())
        except Broken:
            self._quietly(lambda: self._board.write(self._tag, released()))
            return False
        except RegistryError:
            return False
        return True

    def _clear(self, tag: str) -> None:
        """Take a tag away of which the manifest may be gone: some registries fail between the two."""
        if tag in self._board.claims():
            content = released()
            self._board.write(tag, content)
            self._board.erase(content)

    def _raise_and_look(self) -> Lease | None:
        """Put the claim up; the lock, or None once somebody with a lower ticket has been seen."""
        now = self._board.now()
        self._ticket = self._ticket or f"{now or 0:015.3f}-{random.getrandbits(64):016x}"
        raised = time.monotonic()
        claim = Claim(self._by, self._ticket, now + LEASE if now else 0.0)
        self._mine = claim.content()
        try:
            self._board.write(self._tag, self._mine)
            while time.monotonic() - raised < LEASE - GUARD:
                tickets = self._alive()
                if not tickets:
                    return Lease(raised)
                if min(ticket for ticket, _ in tickets) < self._ticket:
                    break
                self._pause()
        except BaseException:
            self.withdraw()
            raise
        self.withdraw()
        return None

    def _alive(self) -> list[tuple[str, str]]:
        """Ticket and owner of each claim of others that is alive."""
        found = []
        for tag in self._board.claims():
            if tag != self._tag and tag not in self._dead:
                content = self._board.read(tag)
                claim = _understood(content)
                if claim and not self._is_dead(tag, content, claim):
                    found.append((claim.ticket, claim.by))
        return found

    def _is_dead(self, tag: str, content: bytes | None, claim: Claim) -> bool:
        """Whether its holder, if there still is one, does not act under it any more. Then it is tidied up.

        Deleting is by digest: a newer claim under the same tag is not hit.
        """
        digest = hashlib.sha256(content or b"").hexdigest()
        first = self._seen.setdefault((tag, digest), time.monotonic())
        now = self._board.now()
        expired = bool(now and claim.expires and now > claim.expires + SKEW)
        if not expired and time.monotonic() - first < LEASE:
            return False
        if content is None:
            self._quietly(lambda: self._clear(tag))
        else:
            self._quietly(lambda: self._board.erase(content))
        return True

    def _quietly(self, act: Callable[[], T]) -> T | None:
        """What does not succeed here costs others some seconds, and not more."""
        for _ in range(3):
            try:
                return act()
            except Broken:
                self._pause()
            except RegistryError:
                return None
        return None

    def _pause(self) -> None:
        self._sleep(random.uniform(*_BETWEEN))  # noqa: S311 - keeps no secret


def _understood(content: bytes | None) -> Claim | None:
    """None for what is no claim. In doubt it is one: somebody's, who lets others go first."""
    try:
        return Claim.read(content) if content is not None else Claim("somebody", "~", 0.0)
    except ValueError:
        return Claim("somebody", "~", 0.0)
