"""A process target with small real workers and a real Envoy, emptied at the end of a test."""

import os
import signal
import socket
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path

from modeldeploy import files
from modeldeploy.model import BundleRef, HttpRequest, Observed, RevisionId, RevisionSpec, Sealed, Traffic
from modeldeploy.targets.process import ProcessTarget
from modeldeploy.targets.process.layout import Layout
from modeldeploy.targets.process.locks import pid_in
from modeldeploy.testing.place import state_of

TINY_SUPERVISOR = (str(Path(__file__).with_name("tiny_supervisor.py")),)


def free_port() -> int:
    """A port that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def spec(
    folder: Path, version: str, *, replicas: int = 1, env: Mapping[str, str] | None = None
) -> RevisionSpec:
    """A revision of a "bundle" that is an empty folder."""
    folder.mkdir(parents=True, exist_ok=True)
    return RevisionSpec(
        id=RevisionId(f"{version}-0123abcd"),
        project="digits",
        bundle=BundleRef("digits", version, "sha256:" + "0" * 64),
        bundle_path=str(folder),
        rollout="000001-a",
        replicas=replicas,
        env=Sealed(env or {}),
    )


class Scene:
    """One target, and what a test does to it."""

    def __init__(
        self, folder: Path, *, port: int | None = None, supervisor: tuple[str, ...] = TINY_SUPERVISOR
    ) -> None:
        self.folder = folder
        self.port = port or free_port()
        self.supervisor = supervisor
        self.layout = Layout.of("digits", "local")
        self.target = self.open()

    def open(self) -> ProcessTarget:
        """The target as another terminal opens it."""
        return ProcessTarget("digits", "local", {"port": self.port}, supervisor=self.supervisor)

    def spec(self, version: str, *, replicas: int = 1, **env: str) -> RevisionSpec:
        return spec(self.folder / "bundle", version, replicas=replicas, env=env)

    def until(self, wanted: Callable[[Observed], object], what: str, *, within: float = 20.0) -> Observed:
        """Look until it is as wanted."""
        deadline = time.monotonic() + within
        while not wanted(observed := self.target.observe()):
            assert time.monotonic() < deadline, f"not {what} within {within:g} s: {observed}"
            time.sleep(0.02)
        return observed

    def until_state(self, revision: RevisionSpec, state: str, *, within: float = 20.0) -> Observed:
        return self.until(
            lambda seen: state_of(seen, revision.id) == state, f"{revision.id} {state}", within=within
        )

    def run(self, *revisions: RevisionSpec) -> None:
        """Create revisions and wait until they are ready."""
        for revision in revisions:
            self.target.create(revision)
        for revision in revisions:
            self.until_state(revision, "ready")

    def route(self, traffic: Traffic, *, within: float = 10.0) -> None:
        """Set traffic and wait until Envoy applies it."""
        self.target.set_traffic(traffic)
        self.until_routed(traffic, within=within)

    def until_routed(self, traffic: Traffic, *, within: float = 10.0) -> Observed:
        return self.until(
            lambda seen: seen.up and seen.traffic == traffic, f"routed as {traffic}", within=within
        )

    def ask(self, path: str = "/", *, revision: RevisionSpec) -> str:
        """The body of an answer of a revision, past the router."""
        return self.target.call(revision.id, HttpRequest("GET", path, timeout=5)).body.decode()

    def pid_of_worker(self, revision: RevisionSpec, number: int = 0) -> int:
        return _pid(self.layout.revision(revision.id).worker_lock(number))

    def until_restarted(self, revision: RevisionSpec, number: int, before: int) -> None:
        """Wait until a worker is another process than before."""
        lock = self.layout.revision(revision.id).worker_lock(number)
        eventually(lambda: pid_in(lock) not in {None, before}, "started again")

    @property
    def pid_of_router(self) -> int:
        return _pid(self.layout.router_lock)

    @property
    def pid_of_supervisor(self) -> int:
        return _pid(self.layout.active_lock)

    @property
    def pid_of_standby(self) -> int:
        return _pid(self.layout.standby_lock)

    def until_paired(self) -> tuple[int, int]:
        """Wait until a supervisor works and another stands by; their process ids."""
        eventually(lambda: files.is_locked(self.layout.active_lock), "a supervisor at work")
        # For a moment after taking over, the new supervisor holds both locks.
        eventually(self._stands_by, "a standby")
        return self.pid_of_supervisor, self.pid_of_standby

    def _stands_by(self) -> bool:
        held = files.is_locked(self.layout.standby_lock)
        return held and self.pid_of_standby != self.pid_of_supervisor

    def until_power_cut(self) -> None:
        """End all its processes at once, as a machine that loses power does."""
        doomed = self.everything()
        for number in (signal.SIGSTOP, signal.SIGKILL):
            for pid in doomed:
                os.kill(pid, number)
        eventually(lambda: not self.everything(), "all dead")

    def everything(self) -> list[int]:
        """Ids of all processes of the target that live."""
        locks = [path for path in self.layout.root.rglob("*.lock") if path.name != "desired.lock"]
        pids = [pid_in(path) for path in locks if files.is_locked(path)]
        return [pid for pid in pids if pid]


@contextmanager
def scene(folder: Path, **options: object) -> Iterator[Scene]:
    """A scene; at the end everything it started is gone, whatever the test did."""
    stage = Scene(folder, **options)  # type: ignore[arg-type]  # passed through as they are
    try:
        yield stage
    finally:
        stage.target.destroy()
        deadline = time.monotonic() + 20
        while stage.layout.desired.exists() and time.monotonic() < deadline:
            time.sleep(0.05)
        left = stage.everything()
        for pid in left:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        assert not left, f"processes left behind: {left}"


def eventually(wanted: Callable[[], object], what: str, *, within: float = 10.0) -> None:
    """Wait until it is so."""
    deadline = time.monotonic() + within
    while not wanted():
        assert time.monotonic() < deadline, f"not within {within:g} s: {what}"
        time.sleep(0.02)


def _pid(lock: Path) -> int:
    """The process id in a lock, as soon as it is that of a living process."""
    eventually(lambda: _lives(pid_in(lock)), f"somebody holds {lock.name}")
    pid = pid_in(lock)
    assert pid is not None
    return pid


def _lives(pid: int | None) -> bool:
    try:
        os.kill(pid or 0, 0)
    except ProcessLookupError:
        return False
    return pid is not None
