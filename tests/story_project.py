"""A user in a folder: types real commands, edits the project file, and leaves nothing running.

Environments, locks and BentoML's part of a build are made once per test run and shared by all stories.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

from modeldeploy.testing.load import Load, Report
from process_place import free_port

ROOT = Path(__file__).parents[1]
EXAMPLES = ROOT / "examples"
MDEPLOY = str(Path(sys.executable).with_name("mdeploy"))
PYTHON = f"{sys.version_info.major}.{sys.version_info.minor}"

IMAGE_LOCK = "modeldeploy.image.lock"
KINDS_OF_LINES = {"event", "result", "error", "log"}


@dataclass(frozen=True)
class Typed:
    """A command that was typed, and what came of it."""

    words: tuple[str, ...]
    code: int
    out: str
    err: str

    @property
    def text(self) -> str:
        """All that a person saw."""
        return f"{self.out}\n{self.err}"

    @property
    def lines(self) -> list[dict[str, Any]]:
        """Standard output as JSON lines; each must be one of a known type."""
        told = [json.loads(line) for line in self.out.splitlines()]
        assert {line["type"] for line in told} <= KINDS_OF_LINES, self.out
        return told

    @property
    def result(self) -> dict[str, Any]:
        """The result of a ``--json`` command: its last line."""
        last = self.lines[-1]
        assert last["type"] == "result", self.out
        found: dict[str, Any] = last["result"]
        return found

    @property
    def error(self) -> dict[str, Any]:
        """The error of a ``--json`` command: its last line."""
        last = self.lines[-1]
        assert last["type"] == "error", self.out
        found: dict[str, Any] = last["error"]
        return found

    def events(self, kind: str) -> list[dict[str, Any]]:
        """The events of one kind, oldest first."""
        return [line for line in self.lines if line["type"] == "event" and line["kind"] == kind]


@dataclass
class Running:
    """A command at work. What it prints is read as it comes."""

    words: tuple[str, ...]
    process: subprocess.Popen[str]
    out: list[str] = field(default_factory=list)
    err: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._readers = [
            threading.Thread(target=self._read, args=pair, daemon=True)
            for pair in ((self.process.stdout, self.out), (self.process.stderr, self.err))
        ]
        for reader in self._readers:
            reader.start()

    @staticmethod
    def _read(stream: Any, lines: list[str]) -> None:
        with stream:
            lines.extend(stream)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.send(signal.SIGKILL)
        self.end()

    def until_told(self, text: str, *, within: float = 60, or_ended: bool = False) -> None:
        """Wait until it has printed that; ``or_ended`` allows that it ends without."""
        deadline = time.monotonic() + within
        while text not in self.told():
            if self.process.poll() is not None and not any(reader.is_alive() for reader in self._readers):
                assert or_ended or text in self.told(), f"ended before it told {text!r}\n{self.told()}"
                return
            assert time.monotonic() < deadline, f"not told within {within:g} s: {text!r}\n{self.told()}"
            time.sleep(0.01)

    def send(self, number: signal.Signals) -> None:
        """Send it a signal, if it still runs."""
        with suppress(ProcessLookupError):
            self.process.send_signal(number)

    def end(self, *, within: float = 120) -> Typed:
        """Wait for its end."""
        code = self.process.wait(within)
        for reader in self._readers:
            reader.join()
        return Typed(self.words, code, "".join(self.out), "".join(self.err))

    def told(self) -> str:
        return "".join([*self.out, *self.err])


class Story:
    """One project, one home, and the commands that are typed there."""

    def __init__(self, folder: Path, home: Path, shared: Path) -> None:
        self.folder = folder
        self.home = home
        self.shared = shared
        self.port = free_port()
        self.begun: list[Running] = []
        self.environment = {**os.environ, "MDEPLOY_HOME": str(home)}

    @property
    def endpoint(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def file(self) -> Path:
        return self.folder / "modeldeploy.toml"

    # Commands.

    def type(self, line: str | Sequence[str], *, ends_with: int | None = 0, **how: Any) -> Typed:
        """Type a command line (without ``mdeploy``), and insist on its exit code."""
        words = tuple(line.split() if isinstance(line, str) else line)
        environment = {**self.environment, **how.pop("env", {})}
        done = subprocess.run(
            [MDEPLOY, *words],
            cwd=how.pop("cwd", self.folder),
            env=environment,
            timeout=180,
            check=False,
            capture_output=True,
            **{"stdin": subprocess.DEVNULL, **how},
        )
        typed = Typed(words, done.returncode, done.stdout.decode(), done.stderr.decode())
        told = f"mdeploy {' '.join(words)} ended with {typed.code}\n{typed.text[-4000:]}"
        assert ends_with is None or typed.code == ends_with, told
        assert "\nTraceback" not in f"\n{typed.text}", told
        return typed

    def ask(self, line: str, *, ends_with: int | None = 0, **how: Any) -> Typed:
        """The same with ``--json``; standard output must be JSON lines, and standard error empty."""
        typed = self.type([*line.split(), "--json"], ends_with=ends_with, **how)
        assert typed.lines, "no line was printed"
        assert not typed.err, typed.err
        return typed

    def begin(self, line: str, **how: Any) -> Running:
        """Begin a command in another terminal."""
        words = tuple(line.split())
        process = subprocess.Popen(
            [MDEPLOY, *words],
            cwd=self.folder,
            env=self.environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            **how,
        )
        self.begun.append(Running(words, process))
        return self.begun[-1]

    # The project.

    def init(self) -> None:
        """A project from the template, on a free port, with a lock that was resolved before."""
        self.folder.mkdir(parents=True, exist_ok=True)
        self.type("init --template onnx")
        self.edit("python", f'"{PYTHON}"')
        self.edit("port", str(self.port))
        self.give_lock("onnx")

    def edit(self, key: str, value: str) -> None:
        """Change the value of a key that occurs once, as with an editor."""
        text, count = re.subn(rf"(?m)^{key} = [^#\n]*", f"{key} = {value}  ", self.file.read_text())
        assert count == 1, f"{key} occurs {count} times"
        self.file.write_text(text)

    def hurry(self, *, steps: str = "[10, 50]", soak: str = "1s", requests: int = 30, **gates: str) -> None:
        """Steps and gates for a machine that does much else at the same time."""
        self.edit("steps", steps)
        self.edit("soak", f'"{soak}"')
        self.edit("min_requests", str(requests))
        for gate, value in {"p95": '"5s"', **gates}.items():
            self.edit(gate, value)

    def second_model(self) -> None:
        """A better model, with golden samples of its own."""
        shutil.copy(EXAMPLES / "digits/model-v2.onnx", self.folder / "model.onnx")
        shutil.copy(EXAMPLES / "digits/golden-v2.npz", self.folder / "golden.npz")

    def own_service(self, fault: str) -> None:
        """The model behind a service of one's own, with a fault."""
        text = (EXAMPLES / "faulty/service.py").read_text()
        (self.folder / "service.py").write_text(text.replace('FAULT = "none"', f'FAULT = "{fault}"'))
        if "[service]" not in self.file.read_text():
            text = self.file.read_text().replace(
                "[build]\n",
                '[service]\nentrypoint = "service:Digits"\n\n[build]\ninclude = ["service.py"]\n',
            )
            self.file.write_text(text)
            self.give_lock("own")

    def build(self, line: str = "build") -> dict[str, Any]:
        """Build, and keep for other stories what took long."""
        result = self.ask(line).result
        self.keep_lock()
        return result

    def give_lock(self, kind: str) -> None:
        """The lock that another story resolved; it is checked, and resolved again if it does not fit."""
        self._kind = kind
        if self._kept_lock.exists():
            shutil.copy(self._kept_lock, self.folder / "modeldeploy.lock")

    def keep_lock(self) -> None:
        shutil.copy(self.folder / "modeldeploy.lock", self._kept_lock)

    @property
    def _kept_lock(self) -> Path:
        return self.shared / f"story-{self._kind}.lock"

    # What is live.

    def deploy(self, line: str = "deploy local") -> dict[str, Any]:
        return self.ask(line).result

    def status(self) -> dict[str, Any]:
        return self.ask("status local").result

    def weights(self) -> dict[str, int]:
        """Share per bundle version of all revisions that the target has; several may have one version."""
        shares: dict[str, int] = {}
        for revision in self.status()["revisions"]:
            version = revision["bundle"].partition(":")[2]
            shares[version] = shares.get(version, 0) + revision["weight"]
        return shares

    @contextmanager
    def users(self, *, keep_alive: int = 3, fresh: int = 1, pause: float = 0.005) -> Iterator[Load]:
        """Users of the endpoint; from the end of the context on ``load.report`` says what they saw."""
        body = (self.folder / "samples.json").read_bytes()
        with Load(self.endpoint, body, keep_alive=keep_alive, fresh=fresh, pause=pause) as load:
            time.sleep(0.5)
            yield load

    # The end.

    def processes(self) -> dict[int, str]:
        """All processes of this home that live, by their command lines."""
        listed = subprocess.run(
            ["ps", "-A", "-ww", "-o", "pid=,stat=,command="], check=True, capture_output=True
        )
        found = {}
        for line in listed.stdout.decode(errors="replace").splitlines():
            pid, state, command = line.split(None, 2)
            ours = str(self.home) in command or str(self.folder) in command
            if ours and not state.startswith("Z") and int(pid) != os.getpid():
                found[int(pid)] = command
        return found

    def close(self) -> None:
        """End everything that runs, whatever the story did; insist that `destroy` was enough."""
        for running in self.begun:
            running.send(signal.SIGKILL)
            running.end()
        ended: Typed | None = None
        if self.file.exists() and (self.home / "targets").exists():
            ended = self.type("destroy local --yes", ends_with=None)
        deadline = time.monotonic() + 10
        while self.processes() and time.monotonic() < deadline:
            time.sleep(0.05)
        left = self.processes()
        for pid in left:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        assert ended is None or ended.code == 0, ended
        assert not left, f"processes left behind: {left}"


@contextmanager
def story(folder: Path, home: Path, shared: Path) -> Iterator[Story]:
    """A story; at its end everything that it started is gone."""
    for name in ("envs", "cache"):
        (shared / name).mkdir(parents=True, exist_ok=True)
    told = Story(folder, home, shared)
    try:
        yield told
    finally:
        told.close()


def share(home: Path, shared: Path) -> None:
    """Let a new home use the environments and caches that all stories share."""
    home.mkdir(mode=0o700, parents=True)
    (home / "format").write_text("1")
    for name in ("envs", "cache"):
        (home / name).symlink_to(shared / name)


@contextmanager
def sharing_images(user: Story) -> Iterator[None]:
    """Let a project use the base, packages and image lock that stories share; keep its lock for them."""
    images, kept = user.shared / "images", user.shared / IMAGE_LOCK
    images.mkdir(exist_ok=True)
    (user.home / "images").symlink_to(images)
    if kept.exists():
        shutil.copy(kept, user.folder)
    yield
    shutil.copy(user.folder / IMAGE_LOCK, kept)


def only_from(report: Report, version: str) -> Mapping[str, int]:
    """What users saw fail, without the errors that a revision of that version answered itself."""
    return {seen: count for seen, count in report.failures.items() if f"from {version}-" not in seen}
