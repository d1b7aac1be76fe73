"""How often something is tried again, and after which pauses."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from dataclasses import dataclass

from modeldeploy.registry.remote import refusals
from modeldeploy.registry.remote.refusals import Broken


@dataclass(frozen=True, slots=True)
class Patience:
    """Growing pauses with a random part, so that many who were cut off at once do not return at once."""

    tries: int = 8
    first: float = 0.25
    longest: float = 8.0
    """Seconds between two tries, unless the registry says how long to wait …"""
    longest_asked: float = 60.0
    """… which is heeded up to this; a registry that asks for more is not waited for."""
    strangers: int = 4
    """Tries where nobody ever answered at that address: it may well be mistyped."""
    sleep: Callable[[float], None] = time.sleep

    def pause(self, failures: int) -> float:
        """Seconds to wait after so many failures in a row."""
        whole = min(self.longest, self.first * 2.0 ** (failures - 1))
        return whole * random.uniform(0.5, 1.0)  # noqa: S311 - spreads load, keeps no secret


class Tries:
    """Counts the failures of one thing, and waits between them."""

    def __init__(self, patience: Patience, host: str, what: str, *, met: Callable[[], bool]) -> None:
        self._patience, self._host, self._what, self._met = patience, host, what, met
        self.failures = 0

    def failed(self, broken: Broken) -> None:
        """Wait before the next try, or raise `RegistryUnavailable` where there shall be none."""
        self.failures += 1
        most = self._patience.tries if self._met() else self._patience.strangers
        asked = broken.pause or 0.0
        if self.failures >= most or asked > self._patience.longest_asked:
            reason = broken.reason
            if asked > self._patience.longest_asked:
                reason += f"; it asks to wait for {asked:.0f} s"
            raise refusals.unanswered(
                self._host, self._what, reason, self.failures, met=self._met()
            ) from broken
        self._patience.sleep(max(asked, self._patience.pause(self.failures)))

    def progressed(self) -> None:
        """Something came through: the count begins anew."""
        self.failures = 0
