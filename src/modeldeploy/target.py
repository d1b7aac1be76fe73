"""The seam between the rollout engine and the places where models run.

A driver is the verbs of `Target` and nothing else. Five rules hold for each of them, and each rule
is a test in `modeldeploy.testing.TargetContract`, which every driver must pass:

1. *Idempotent by name*: creating what exists, deleting what is gone, setting the weights that are
   set already: all succeed.
2. *Non-blocking*: a verb starts the change and returns; `observe` tells how far it has come.
   Waiting, timeouts, drain, progress and Ctrl-C are written once, in the engine.
3. *Silent*: no printing, no sleeping, no exiting.
4. *Only our errors*: `TargetUnavailable` (try again) and `TargetRefused` (do not), mapped at one
   boundary inside the driver.
5. *The truth is on the target*: what `observe` tells is read from there, and a process that has no
   local files sees the same.

Third-party drivers register a factory under the entry point group ``modeldeploy.targets``.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager
from typing import Protocol, runtime_checkable

from modeldeploy.model import (
    Capabilities,
    Finding,
    Holder,
    HttpRequest,
    HttpResponse,
    Observed,
    RevisionId,
    RevisionSpec,
    Sample,
    Traffic,
)


class RolloutStore(Protocol):
    """Keeps a target's lock and the journals of its rollouts, beside the target."""

    def lock(self, holder: Holder) -> AbstractContextManager[None]:
        """Hold the target's lock for as long as the context lasts.

        A holder that dies loses it. Raises `LockHeld` at once where somebody else has it.
        """

    def holder(self) -> Holder | None:
        """Who holds the lock now."""

    def append(self, rollout: str, line: bytes) -> None:
        """Add one line (no newline in it) to a rollout's journal; on stable storage on return."""

    def read(self, rollout: str) -> Sequence[bytes]:
        """The journal's whole lines, oldest first. A torn last line is left out."""

    def rollouts(self) -> Sequence[str]:
        """Ids of all rollouts that have a journal, oldest first."""


@runtime_checkable
class Target(Protocol):
    """A named place to run revisions, with one router in front of them."""

    @property
    def capabilities(self) -> Capabilities:
        """What this driver can do on this target."""

    @property
    def store(self) -> RolloutStore:
        """Where this target's lock and journals are kept."""

    def check(self) -> Sequence[Finding]:
        """What stands in the way of using this target. Changes nothing."""

    def observe(self) -> Observed:
        """The target as it is now."""

    def create(self, spec: RevisionSpec) -> None:
        """Begin to run a revision at weight 0, and the router if there is none yet."""

    def set_traffic(self, traffic: Traffic) -> None:
        """Begin to route by these weights, absolute, in one atomic change.

        Every revision named must exist. Raises `TargetRefused` for one that is not ready.
        """

    def sample(self, revision: RevisionId) -> Sample:
        """The router's cumulative counters for a revision; zeros for one that had no requests."""

    def call(self, revision: RevisionId, request: HttpRequest) -> HttpResponse:
        """Send one request to this revision, past the weights. Not counted in `sample`."""

    def delete(self, revision: RevisionId, *, grace: float) -> None:
        """Begin to remove a revision, letting requests in flight finish for ``grace`` seconds.

        Raises `TargetRefused` while it has weight.
        """

    def logs(self, revision: RevisionId, *, tail: int, follow: bool = False) -> Iterator[str]:
        """The last ``tail`` lines that the revision wrote, without newlines; then what comes."""

    def start(self) -> None:
        """Begin to bring back what should be running: after a reboot, say."""

    def destroy(self) -> None:
        """Begin to remove everything this target holds, and only that. Journals stay."""
