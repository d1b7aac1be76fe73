"""The lock made of tags: never two at once, whatever the registry answers, and the dead block nobody."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Sequence

import pytest

from modeldeploy.errors import RegistryUnavailable
from modeldeploy.registry.remote import claims
from modeldeploy.registry.remote.claims import Claim, Contender, LeaseOver
from modeldeploy.registry.remote.refusals import Broken


class Board:
    """A registry's tags in memory, with the faults of a network."""

    host = "memory"

    def __init__(self, *, deletes: bool = True, faults: float = 0.0, clock: bool = True) -> None:
        self.tags: dict[str, bytes] = {}
        self.unreadable: set[str] = set()
        self.deletes, self.faults, self.clock = deletes, faults, clock
        self.lock = threading.Lock()
        self.random = random.Random(7)

    def meet(self) -> None:
        time.sleep(self.random.uniform(0, 0.003))
        if self.random.random() < self.faults:
            raise Broken("a fault")

    def claims(self) -> Sequence[str]:
        self.meet()
        with self.lock:
            return [*self.tags, *self.unreadable]

    def read(self, tag: str) -> bytes | None:
        self.meet()
        with self.lock:
            return self.tags.get(tag)

    def write(self, tag: str, content: bytes) -> None:
        self.meet()
        with self.lock:
            self.tags[tag] = content
            self.unreadable.discard(tag)
        self.meet()  # done, and the answer is lost

    def erase(self, content: bytes) -> bool | None:
        self.meet()
        if not self.deletes:
            return False
        with self.lock:
            tags = [tag for tag, there in self.tags.items() if there == content]
            for tag in tags:
                del self.tags[tag]
        self.meet()
        return bool(tags) or None

    def now(self) -> float | None:
        return time.time() if self.clock else None


class Witness:
    """Sees whether two are inside at once."""

    def __init__(self) -> None:
        self.inside = 0
        self.most = 0
        self.entries = 0

    def enter(self, seconds: float) -> None:
        self.inside += 1
        self.most = max(self.most, self.inside)
        self.entries += 1
        time.sleep(seconds)
        self.inside -= 1


def attempt(board: Board, witness: Witness, slot: str, by: str) -> bool:
    contender = Contender(board, slot, by)
    try:
        contender.acquire().check()
        witness.enter(0.005)
    except LeaseOver:
        return False
    finally:
        contender.withdraw()
    return True


@pytest.fixture
def short(monkeypatch: pytest.MonkeyPatch) -> None:
    """The same protocol in a hurry."""
    monkeypatch.setattr(claims, "LEASE", 0.5)
    monkeypatch.setattr(claims, "GUARD", 0.2)
    monkeypatch.setattr(claims, "WAIT", 20.0)
    monkeypatch.setattr(claims, "_BETWEEN", (0.001, 0.01))


@pytest.mark.usefixtures("short")
@pytest.mark.parametrize("deletes", [True, False])
@pytest.mark.parametrize("faults", [0.0, 0.1])
@pytest.mark.parametrize("clock", [True, False])
def test_never_are_two_inside_at_once(*, deletes: bool, faults: float, clock: bool) -> None:
    board, witness = Board(deletes=deletes, faults=faults, clock=clock), Witness()

    def work(number: int) -> None:
        for round_ in range(3):
            slot = str(number) if not deletes else f"{number}-{round_}"
            while not attempt(board, witness, slot, f"user{number}@host"):
                slot += "x"  # in doubt: another one

    threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert witness.most == 1
    assert witness.entries == 12


@pytest.mark.usefixtures("short")
def test_who_was_killed_while_he_held_it_blocks_the_others_for_a_lease_at_most() -> None:
    board = Board()
    Contender(board, "dead", "dead@host").acquire()
    began = time.monotonic()
    Contender(board, "next", "next@host").acquire()

    assert claims.LEASE <= time.monotonic() - began < 2 * claims.LEASE
    assert list(board.tags) == ["_lock.next"]  # and nobody else has to wait for the dead one


@pytest.mark.usefixtures("short")
def test_a_claim_that_was_left_long_ago_delays_nobody() -> None:
    board = Board()
    board.tags["_lock.old"] = Claim("old@host", "1", time.time() - 3600).content()
    began = time.monotonic()
    Contender(board, "next", "next@host").acquire()

    assert time.monotonic() - began < claims.LEASE / 2


@pytest.mark.usefixtures("short")
@pytest.mark.parametrize("content", [b"no json", b'{"artifactType": "%s"}' % claims.ARTIFACT.encode()])
def test_a_claim_that_cannot_be_understood_counts_as_one(content: bytes) -> None:
    board = Board()
    board.tags["_lock.odd"] = content
    began = time.monotonic()
    Contender(board, "next", "next@host").acquire()

    assert time.monotonic() - began >= claims.LEASE


@pytest.mark.usefixtures("short")
def test_a_claim_that_cannot_be_read_counts_as_one_and_is_tidied_up_after_a_lease() -> None:
    board = Board()
    board.unreadable.add("_lock.odd")
    began = time.monotonic()
    Contender(board, "next", "next@host").acquire()

    assert time.monotonic() - began >= claims.LEASE
    assert list(board.claims()) == ["_lock.next"]


def test_somebody_elses_tag_of_that_form_is_left_alone() -> None:
    board = Board()
    board.tags["_lock.mine"] = b'{"schemaVersion": 2}'
    Contender(board, "next", "next@host").acquire()

    assert "_lock.mine" in board.tags


@pytest.mark.usefixtures("short")
def test_a_lease_ends() -> None:
    lease = Contender(Board(), "slot", "me@host").acquire()
    lease.check()
    time.sleep(claims.LEASE - claims.GUARD)

    with pytest.raises(LeaseOver):
        lease.check()


@pytest.mark.usefixtures("short")
def test_who_waits_in_vain_is_told_for_whom(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(claims, "WAIT", 0.3)
    board = Board()
    Contender(board, "dead", "ada@laptop").acquire()

    with pytest.raises(RegistryUnavailable, match="ada@laptop"):
        Contender(board, "next", "next@host").acquire()
    assert list(board.tags) == ["_lock.dead"]


def test_what_is_taken_back_leaves_nothing_where_the_registry_deletes() -> None:
    board = Board()
    contender = Contender(board, "slot", "me@host")
    contender.acquire()

    contender.withdraw()
    assert not contender.stays
    assert not board.tags


def test_where_it_does_not_delete_a_slot_that_is_free_stays() -> None:
    board = Board(deletes=False)
    contender = Contender(board, "slot", "me@host")
    contender.acquire()

    contender.withdraw()
    assert contender.stays
    assert Claim.read(board.tags["_lock.slot"]) is None


@pytest.mark.usefixtures("short")
def test_a_slot_is_not_used_again_when_its_release_may_come_late(monkeypatch: pytest.MonkeyPatch) -> None:
    board = Board(deletes=False)
    contender = Contender(board, "slot", "me@host")
    contender.acquire()
    write, lost = board.write, [True]

    def lose_one(tag: str, content: bytes) -> None:
        write(tag, content)
        if lost:
            lost.clear()
            raise Broken("no answer")

    monkeypatch.setattr(board, "write", lose_one)
    contender.withdraw()

    assert contender.stays is False
    with pytest.raises(LeaseOver):
        contender.acquire()
