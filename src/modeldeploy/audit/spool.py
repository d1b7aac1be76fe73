"""Records on their way: written down on this machine first, delivered to the registry as soon as it answers.

One folder for each log, in mdeploy's home::

    audit/PROJECT-KEY/place            where the log is, for people
    audit/PROJECT-KEY/waiting.jsonl    records that are not in the log yet, oldest first
    audit/PROJECT-KEY/open/ID.jsonl    a rollout that is being told of; locked while its process lives
    audit/PROJECT-KEY/seen.json        ends that the log has had: it may only grow from there
    audit/PROJECT-KEY/segments/        parts of the log that were read

A record is removed from here only after the log holds it. A process that dies in between leaves it here,
and the next one finds by its id that it is there already.
"""

from __future__ import annotations

import hashlib
import json
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from modeldeploy import files
from modeldeploy.audit.chain import Head, Record
from modeldeploy.audit.log import Log
from modeldeploy.errors import ModelDeployError
from modeldeploy.registry.base import Repository

REMEMBERED = 64
"""Ends of the log that are remembered: the oldest go first, but every second one stays longer."""

OpenRepository = Callable[[], Repository]


@dataclass(frozen=True, slots=True)
class Delivery:
    """What became of the records that wait."""

    waiting: int
    """How many still wait."""
    reason: str = ""
    """Why they do."""
    error: ModelDeployError | None = None


class Spool:
    """The records of one project that wait for one registry."""

    def __init__(self, project: str, place: str, *, home: Path | None = None) -> None:
        key = hashlib.sha256(place.encode()).hexdigest()[:12]
        self.project = project
        self.folder = (home or files.home()) / "audit" / f"{project}-{key}"
        self._place = place

    @property
    def segments(self) -> Path:
        """Where parts of the log are kept that were read."""
        return self.folder / "segments"

    def add(self, record: Record) -> None:
        """Write a record down, on stable storage on return. Raises OSError or `DiskFull`."""
        with self._locked("waiting.lock"):
            if all(known.id != record.id for known, _ in self._waiting()):
                line = {"record": record.to_json(), "after": self.last_seen().n}
                files.append_durable(self._file, json.dumps(line, allow_nan=False).encode())

    def waiting(self) -> list[Record]:
        """The records that are not in the log yet, oldest first."""
        return [record for record, _ in self._waiting()]

    def withdraw(self, record: Record) -> None:
        """Take a record back that could not be delivered."""
        self._drop({record.id})

    def deliver(self, open_repository: OpenRepository, *, patience: float) -> Delivery:
        """Put what waits into the log. Takes at most about ``patience`` seconds, whatever the registry does.

        What is not delivered by then waits on; the attempt may still succeed behind our back.
        """
        if not self._file.exists():
            return Delivery(0)
        failed: list[ModelDeployError] = []
        deadline = time.monotonic() + patience
        # A registry may hang for minutes, in a call that nobody can interrupt: nobody waits for the thread.
        worker = threading.Thread(target=self._deliver, args=(open_repository, deadline, failed), daemon=True)
        worker.start()
        worker.join(patience)
        left = len(self._waiting())
        if failed:
            return Delivery(left, failed[0].message, failed[0])
        return Delivery(left, f"no answer within {patience:g} s" if left else "")

    # The ends that were seen.

    def seen(self) -> list[Head]:
        """Ends that the log has had, the oldest first."""
        try:
            known = files.read_json(self.folder / "seen.json") or []
            return [Head(int(head["n"]), str(head["digest"])) for head in known]
        except (ValueError, KeyError, TypeError):
            return []  # a damaged memory is none

    def last_seen(self) -> Head:
        """The newest of them; an empty log's where none was seen."""
        seen = self.seen()
        return seen[-1] if seen else Head(0, "")

    def remember(self, head: Head) -> None:
        """The log had this end."""
        with self._locked("seen.lock"):
            heads = {known.n: known for known in self.seen()}
            if head.n < 1 or head.n in heads:
                return
            kept = sorted([*heads.values(), head], key=lambda known: known.n)
            if len(kept) > REMEMBERED:
                kept = [*kept[: REMEMBERED // 2 : 2], *kept[REMEMBERED // 2 :]]
            told = [{"n": known.n, "digest": known.digest} for known in kept]
            files.write_json(self.folder / "seen.json", told)

    # Rollouts that are being told of.

    @contextmanager
    def telling(self, identity: str) -> Iterator[Path]:
        """A file to tell of a rollout in, marked as alive while the context lasts."""
        path = files.private(self.folder / "open") / f"{identity}.jsonl"
        with files.locked(path.with_suffix(".lock")):
            yield path

    def abandoned(self) -> Iterator[tuple[Path, list[bytes]]]:
        """What processes told that died before they were done, the oldest first.

        Nobody else takes one of them while the caller is at it.
        """
        found = sorted((self.folder / "open").glob("*.jsonl"), key=lambda path: path.name)
        for path in found:
            with suppress(BlockingIOError), files.locked(path.with_suffix(".lock"), wait=False):
                if path.exists():
                    yield path, files.read_lines(path)

    @staticmethod
    def told(path: Path) -> None:
        """What this file told is a record now."""
        path.unlink(missing_ok=True)
        path.with_suffix(".lock").unlink(missing_ok=True)

    def adopt(self, other: Spool) -> None:
        """Take over what waits elsewhere: it was written down while nobody knew where the log is."""
        for record in other.waiting():
            self.add(record)
            other.withdraw(record)

    # Parts.

    @property
    def _file(self) -> Path:
        return self.folder / "waiting.jsonl"

    def _waiting(self) -> list[tuple[Record, int]]:
        found = []
        for line in files.read_lines(self._file):
            with suppress(ValueError, KeyError, TypeError):  # a damaged line must not keep the others
                value: Mapping[str, Any] = json.loads(line)
                found.append((Record.from_json(value["record"]), int(value["after"])))
        return found

    def _deliver(
        self, open_repository: OpenRepository, deadline: float, failed: list[ModelDeployError]
    ) -> None:
        try:
            with self._locked("deliver.lock", until=deadline):
                waiting = self._waiting()
                if not waiting:
                    return
                log = Log(open_repository(), self.project)
                last = self.last_seen()
                records = [record for record, _ in waiting]
                after = min(after for _, after in waiting)
                self.remember(log.append(records, after=after, seen=last if last.n else None))
                self._drop({record.id for record in records})
        except ModelDeployError as error:
            failed.append(error)
        except Exception as error:  # noqa: BLE001 - no fault whatever of a record may end a rollout
            failed.append(ModelDeployError(f"{type(error).__name__}: {error}"))

    def _drop(self, ids: set[str]) -> None:
        with self._locked("waiting.lock"):
            kept = [line for line in files.read_lines(self._file) if not _is_of(line, ids)]
            if kept:
                files.write_atomic(self._file, b"".join(line + b"\n" for line in kept))
            else:
                self._file.unlink(missing_ok=True)

    @contextmanager
    def _locked(self, name: str, *, until: float | None = None) -> Iterator[None]:
        files.private(self.folder)
        place = self.folder / "place"
        if not place.exists():
            files.write_atomic(place, f"{self._place}\n".encode())
        with ExitStack() as held:
            while True:
                try:
                    held.enter_context(files.locked(self.folder / name, wait=until is None))
                    break
                except BlockingIOError:
                    if time.monotonic() >= (until or 0.0):
                        raise ModelDeployError("another process is still delivering") from None
                    time.sleep(0.02)
            yield


def _is_of(line: bytes, ids: set[str] | Sequence[str]) -> bool:
    try:
        return json.loads(line)["record"]["id"] in ids
    except (ValueError, KeyError, TypeError):
        return False
