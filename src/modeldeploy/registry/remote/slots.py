"""Whose claim is whose: one contender at a time in each home, and names for claims that nobody else has."""

from __future__ import annotations

import hashlib
import json
import os
import platform
import random
import secrets
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import asdict, dataclass

from modeldeploy import files
from modeldeploy.errors import RegistryUnavailable
from modeldeploy.registry.remote.claims import WAIT

_SETTLES = 2.0
"""Seconds after which a request of a process that was killed has been carried out, or never will be."""


@dataclass(frozen=True, slots=True)
class Kept:
    """What the last contender of this home left."""

    slot: str = ""
    node: str = ""
    """The machine: a home that was copied or is shared does not hand its slot on."""
    stays: bool = False
    """The registry does not delete: the slot is used again, so that there is one tag for each home."""
    at: float = 0.0
    """When the turn began, in Unix seconds; 0 for one that has come to its end."""


class Turn:
    """This process is the only one of its home that may contend in this repository."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        kept = _read(descriptor)
        mine = kept.node == platform.node()
        self.slot = kept.slot if mine and kept.stays else secrets.token_hex(8)
        self.left: str | None = None
        """The slot of a contender who was killed: its claim is dead."""
        if mine and kept.slot and not kept.stays:
            self.left = kept.slot
        if mine and kept.at:
            time.sleep(min(_SETTLES, max(0.0, kept.at + _SETTLES - time.time())))
        self._stays = mine and kept.stays
        self._write(Kept(self.slot, platform.node(), self._stays, time.time()))

    def over(self, *, stays: bool | None) -> None:
        """The claim has been taken back; ``stays`` as of `Contender`."""
        again = self._stays if stays is None else stays
        self._write(Kept(self.slot, platform.node(), stays=True) if again else Kept())

    def _write(self, kept: Kept) -> None:
        try:
            os.ftruncate(self._descriptor, 0)
            os.pwrite(self._descriptor, json.dumps(asdict(kept)).encode(), 0)
        except OSError as error:
            raise files.disk_full(files.home() / "cache" / "claims", error) or error from error


@contextmanager
def turn(origin: str, repository: str) -> Iterator[Turn]:
    """Wait for the others of this home. The kernel ends the turn of a process that dies.

    Raises `RegistryUnavailable` where it does not come: the other may have been stopped (Ctrl-Z).
    """
    folder = files.private(files.home() / "cache" / "claims")
    key = hashlib.sha256(f"{origin}\n{repository}".encode()).hexdigest()
    with ExitStack() as held:
        deadline = time.monotonic() + WAIT
        while True:
            try:
                descriptor = held.enter_context(files.locked(folder / f"{key[:40]}.json", wait=False))
                break
            except BlockingIOError as error:
                if time.monotonic() > deadline:
                    raise _taken(repository) from error
                time.sleep(random.uniform(0.01, 0.04))  # noqa: S311 - keeps no secret
        yield Turn(descriptor)


def _taken(repository: str) -> RegistryUnavailable:
    return RegistryUnavailable(
        f"another mdeploy of this user has been moving a tag of {repository} for more than {WAIT:.0f} s",
        hint="see whether one has been stopped (jobs, ps), then run the same command again",
    )


def _read(descriptor: int) -> Kept:
    with suppress(ValueError, TypeError):
        return Kept(**json.loads(os.pread(descriptor, 4096, 0)))
    return Kept()
