"""Where a process target keeps its files, and the short paths of its sockets."""

from __future__ import annotations

import hashlib
import os
import shutil
import stat
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from modeldeploy import files
from modeldeploy.errors import TargetRefused
from modeldeploy.model import RevisionId

LONGEST_SOCKET_PATH = 100
"""Bytes; the kernel's limit is 104 on macOS and 108 on Linux, with the closing zero."""


@dataclass(frozen=True, slots=True)
class Layout:
    """The files of one target.

    ``root`` holds everything that must survive a reboot. Sockets live in `sockets`, a folder whose
    path is short, since a socket's path may have only some hundred bytes.
    """

    root: Path

    @classmethod
    def of(cls, project: str, target: str) -> Layout:
        """The layout of a project's target in mdeploy's home."""
        # Resolved: the sockets' folder is named by this path, and every way to it must give one name.
        return cls(files.home().resolve() / "targets" / project / target)

    @property
    def home(self) -> Path:
        """mdeploy's home that this target is in."""
        return self.root.parents[2]

    @property
    def rollouts(self) -> Path:
        """Journals and the rollout lock: outlive the target."""
        return self.root / "rollouts"

    @property
    def revisions(self) -> Path:
        return self.root / "revisions"

    @property
    def desired(self) -> Path:
        return self.root / "desired.json"

    @property
    def desired_lock(self) -> Path:
        return self.root / "desired.lock"

    @property
    def report(self) -> Path:
        return self.root / "state.json"

    @property
    def envoy(self) -> Path:
        """The router's configuration: only the supervisor writes here."""
        return self.root / "envoy"

    @property
    def router_lock(self) -> Path:
        return self.root / "envoy.lock"

    @property
    def router_log(self) -> Path:
        return self.root / "envoy.log"

    @property
    def active_lock(self) -> Path:
        """Held by the supervisor at work."""
        return self.root / "supervisor.lock"

    @property
    def standby_lock(self) -> Path:
        """Held by the supervisor that waits for the first one's end."""
        return self.root / "standby.lock"

    @property
    def supervisor_log(self) -> Path:
        return self.root / "supervisor.log"

    @property
    def doorbell(self) -> Path:
        """A named pipe: a byte in it wakes the supervisor."""
        return self.root / "doorbell"

    @property
    def sockets(self) -> Path:
        """Folder of the target's sockets, in mdeploy's home where the path is short enough."""
        name = hashlib.sha256(os.fsencode(self.root)).hexdigest()[:12]
        near = self.home / "run" / name
        if len(os.fsencode(near / "w-12345678-999.sock")) <= LONGEST_SOCKET_PATH:
            return near
        return Path("/tmp") / f"mdeploy-{os.geteuid()}" / name  # noqa: S108 (owner and mode are checked)

    @property
    def squatted(self) -> TargetRefused | None:
        """Why the socket folder, which may be in /tmp, must not be used; None if it is ours or not there."""
        try:
            for folder in (self.sockets.parent, self.sockets):
                _insist_on_own(folder)
        except FileNotFoundError:
            return None
        except TargetRefused as error:
            return error
        return None

    @property
    def admin(self) -> Path:
        """Envoy's admin socket."""
        return self.sockets / "admin.sock"

    def revision(self, revision: RevisionId) -> RevisionLayout:
        """Where one revision's files are."""
        return RevisionLayout(self.revisions / revision, self.sockets)

    def make(self) -> None:
        """Make the folders. Raises `TargetRefused` if somebody else has the socket folder."""
        for folder in (self.root, self.revisions, self.envoy):
            files.private(folder)
        make_socket_folder(self.sockets)

    def clear(self) -> None:
        """Remove everything but the journals, `desired` and its lock last; then empty folders."""
        shutil.rmtree(self.sockets, ignore_errors=True)
        last = (self.desired, self.desired_lock)
        keep = {self.rollouts.name, *(path.name for path in last)}
        for entry in self.root.iterdir():
            if entry.name not in keep:
                remove(entry)
        for path in last:
            path.unlink(missing_ok=True)
        with suppress(OSError):  # not empty: journals, other targets
            self.root.rmdir()
            self.root.parent.rmdir()


@dataclass(frozen=True, slots=True)
class RevisionLayout:
    """The files of one revision."""

    root: Path
    sockets: Path

    @property
    def spec(self) -> Path:
        return self.root / "spec.json"

    @property
    def log(self) -> Path:
        return self.root / "log"

    @property
    def work(self) -> Path:
        """Working directory of the revision's processes: theirs to write in, gone with it."""
        return self.root / "work"

    def preparation_log(self) -> Path:
        return self.log / "prepare.log"

    def preparation_lock(self) -> Path:
        return self.root / "prepare.lock"

    def worker_log(self, number: int) -> Path:
        return self.log / f"worker-{number}.log"

    def worker_lock(self, number: int) -> Path:
        return self.root / f"worker-{number}.lock"

    def worker_socket(self, number: int) -> Path:
        """Where a worker listens. The name is a digest: revision ids may be long."""
        name = hashlib.sha256(self.root.name.encode()).hexdigest()[:8]
        return self.sockets / f"w-{name}-{number}.sock"

    def make(self) -> None:
        for folder in (self.root, self.log, self.work):
            files.private(folder)

    def remove(self) -> None:
        """Make the revision unknown in one act, then remove its files."""
        self.spec.unlink(missing_ok=True)
        remove(self.root)


def remove(path: Path) -> None:
    """Remove a file or a folder; what cannot be removed stays."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)


def make_socket_folder(folder: Path) -> None:
    """Make it, if need be. Raises `TargetRefused` if it, or the folder that it is in, is somebody else's."""
    for each in (folder.parent, folder):
        with suppress(FileExistsError):  # no folder at all: refused below
            files.private(each)
        _insist_on_own(each)


def _insist_on_own(folder: Path) -> None:
    """Raises `TargetRefused` for a folder that is not this user's alone, or a link in its place."""
    found = folder.lstat()
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.geteuid() or found.st_mode & 0o077:
        raise TargetRefused(
            f"{folder} is not a folder that only this user can enter; sockets there would not be safe",
            hint=f"remove it (rm -r '{folder}'), or set MDEPLOY_HOME to a folder with a shorter path",
        )
