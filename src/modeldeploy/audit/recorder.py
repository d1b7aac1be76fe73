"""Writing to the log and reading it, as commands do: quick, and never in the way of a rollout."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from modeldeploy import identity
from modeldeploy.audit.chain import Broken, Entry, Intact, Record, new_id
from modeldeploy.audit.log import Log
from modeldeploy.audit.spool import Delivery, Spool
from modeldeploy.audit.telling import Telling, sweep
from modeldeploy.clock import Clock, SystemClock
from modeldeploy.errors import ModelDeployError
from modeldeploy.events import Emit, Event
from modeldeploy.registry.base import Repository

PATIENCE = 2.0
"""Seconds that a command waits for the registry to take its record, before it leaves that to the next one."""
INSISTENCE = 30.0
"""The same for a command that is nothing but its record, such as `approve`."""
UNKNOWN = "not known: [registry] of the project file cannot be read"


class Recorder:
    """One command's way to the audit log of one project."""

    def __init__(
        self,
        project: str,
        place: str | None,
        open_repository: Callable[[], Repository],
        *,
        command: str,
        emit: Emit,
        clock: Clock | None = None,
    ) -> None:
        self.project = project
        self._open = open_repository
        self._command = command
        self._emit = emit
        self._clock = clock or SystemClock()
        self._place = place
        self.spool = Spool(project, place or UNKNOWN)

    @property
    def where(self) -> str:
        """For people: the registry that holds the log."""
        return self._place or UNKNOWN

    def draft(self, kind: str, **facts: Any) -> Record:
        """A record of what is being done now, by who does it."""
        given = dict(facts.pop("data", {}))
        run = identity.circumstances()
        data = given | ({"run": run} if run else {})
        return Record(
            new_id(),
            self._clock.now(),
            kind,
            identity.current(),
            self._command,
            self.project,
            data=data,
            **facts,
        )

    def telling(self, record: Record) -> Telling:
        """Writes down what a rollout does, as it happens. What dead processes left is taken up first."""
        self._guarded(lambda: sweep(self.spool))
        return Telling(self.spool, record, self._emit)

    def record(self, record: Record) -> None:
        """Write a record down and try to deliver it. Never raises; says so where it has to wait."""
        if self._guarded(lambda: self.spool.add(record)):
            self.deliver()

    def deliver(self, *, patience: float = PATIENCE) -> Delivery:
        """Deliver all that waits, in order. Never raises; an event says what has to wait, and why."""
        found = Delivery(0)

        def try_it() -> None:
            nonlocal found
            sweep(self.spool)
            if self._place is not None:
                self.spool.adopt(Spool(self.project, UNKNOWN))
            found = self.spool.deliver(self._open, patience=patience)

        self._guarded(try_it)
        if found.waiting:
            told = "1 audit entry waits" if found.waiting == 1 else f"{found.waiting} audit entries wait"
            message = f"{told} for the registry ({found.reason}); the next command delivers what waits"
            data = {"waiting": found.waiting, "reason": found.reason, "folder": self.spool.folder.name}
            self._emit(Event("audit.delayed", self._clock.now(), message, data))
        return found

    def insist(self, record: Record) -> None:
        """Write a record down and deliver it, or raise what keeps it from being delivered."""
        self.spool.add(record)
        found = self.deliver(patience=INSISTENCE)
        if any(waiting.id == record.id for waiting in self.spool.waiting()):
            self.spool.withdraw(record)
            raise found.error or ModelDeployError(
                f"the registry did not take the record: {found.reason}", hint="run the same command again"
            )

    def entries(self) -> list[Entry]:
        """All entries, oldest first, after what waits here was delivered.

        Raises `RegistryError`; for a log that somebody edited, too.
        """
        self.deliver()
        log = Log(self._open(), self.project, cache=self.spool.segments)
        found, head = log.checked(self.spool.seen())
        self.spool.remember(head)
        return found

    def verify(self) -> Intact | Broken:
        """Look at every line of the log, and whether it still is the one that was seen before."""
        self.deliver()
        found = Log(self._open(), self.project).verify(self.spool.seen())
        if isinstance(found, Intact):
            self.spool.remember(found.head)
        return found

    def _guarded(self, act: Callable[[], None]) -> bool:
        try:
            act()
        except (OSError, ModelDeployError, ValueError) as error:
            self._emit(Event("audit.failed", self._clock.now(), f"cannot write the audit record: {error}"))
            return False
        return True
