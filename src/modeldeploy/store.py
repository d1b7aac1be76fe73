"""A folder as a `RolloutStore`: for targets on this machine, and for the fake one."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict
from pathlib import Path

from modeldeploy import files
from modeldeploy.errors import LockHeld
from modeldeploy.model import Holder

_NUMBERED = re.compile(r"[0-9]+(-|$)")


class FolderStore:
    """Journals as ``ID.jsonl`` files, and a lock that the kernel drops when its holder dies.

    Rollout ids begin with their time in a form that sorts, so names are in order of age.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    @contextmanager
    def lock(self, holder: Holder) -> Iterator[None]:
        files.private(self.folder)
        with ExitStack() as held:
            try:
                held.enter_context(files.locked(self._lock, wait=False))
            except BlockingIOError:
                raise self._held() from None
            self._holder.unlink(missing_ok=True)  # one that was killed left its name behind
            files.write_json(self._holder, asdict(holder))
            yield

    def holder(self) -> Holder | None:
        return self._named() if files.is_locked(self._lock) else None

    def append(self, rollout: str, line: bytes) -> None:
        files.private(self.folder)
        files.append_durable(self._journal(rollout), line)

    def read(self, rollout: str) -> Sequence[bytes]:
        return files.read_lines(self._journal(rollout))

    def rollouts(self) -> Sequence[str]:
        return sorted(path.stem for path in self.folder.glob("*.jsonl") if _NUMBERED.match(path.stem))

    @property
    def _lock(self) -> Path:
        return self.folder / "lock"

    @property
    def _holder(self) -> Path:
        # Beside the lock, not in it: replacing the locked file would free its name for a second holder.
        return self.folder / "holder.json"

    def _journal(self, rollout: str) -> Path:
        return self.folder / f"{rollout}.jsonl"

    def _named(self) -> Holder | None:
        """Who took the lock, with patience for one that has it and is just writing its name down."""
        deadline = time.monotonic() + 0.5
        while (holder := self._recorded()) is None and time.monotonic() < deadline:
            time.sleep(0.01)
        return holder

    def _recorded(self) -> Holder | None:
        try:
            recorded = files.read_json(self._holder)
        except ValueError:
            return None
        return Holder(**recorded) if recorded else None

    def _held(self) -> LockHeld:
        holder = self._named()
        if holder is None:
            return LockHeld("another process is changing this target", hint="wait for it to end")
        return LockHeld(
            f"{holder.owner} (pid {holder.pid}) is changing this target: {holder.command}",
            hint=f"wait for it to end; or end it (kill {holder.pid}): it takes its candidate back then",
            details=asdict(holder),
        )
