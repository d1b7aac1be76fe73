"""The Python environments that bundles run in: made from a bundle's lock, shared by all with the same one.

``python -m modeldeploy.bundle.environment BUNDLE`` makes a bundle's environment as a program of its own.

An environment lives in ``envs/KEY`` of mdeploy's home. It is made in place (the programs in a virtual
environment know its path) under a lock, and a marker written last says that it is whole: whoever finds
no marker starts anew, so a process killed midway costs time and nothing else.
"""

from __future__ import annotations

import contextlib
import os
import platform
import shutil
import sys
import sysconfig
from dataclasses import dataclass
from pathlib import Path

from modeldeploy import files, shell
from modeldeploy.bundle import progress, uvtool
from modeldeploy.bundle.manifest import LOCK, Manifest, canonical
from modeldeploy.errors import BundleError
from modeldeploy.events import Emit, Event
from modeldeploy.oci.descriptor import digest_of

MARKER = ".mdeploy-environment"
_ANSWERS_WITHIN = 60.0


@dataclass(frozen=True, slots=True)
class Environment:
    """The environment for one lock and one Python on this platform. Nothing is made before `create`."""

    path: Path
    version: str
    """The Python asked for, e.g. ``3.11``."""
    lock: str
    """The lock's text."""

    @classmethod
    def of(cls, bundle: Path) -> Environment:
        """The environment of an unpacked bundle. Raises `BundleError` for what is no bundle."""
        manifest = Manifest.read(bundle)
        try:
            return cls.for_lock((bundle / LOCK).read_text(), manifest.python)
        except OSError as error:
            raise BundleError(
                f"{bundle} has lost its lock ({LOCK}): {error.strerror}", hint="build it again: mdeploy build"
            ) from error

    @classmethod
    def for_lock(cls, lock: str, version: str) -> Environment:
        """The environment for a lock's text and a Python version."""
        where = [sysconfig.get_platform(), platform.libc_ver()[0], platform.machine()]
        key = digest_of(canonical([lock, version, *where])).removeprefix("sha256:")[:24]
        return cls(files.home() / "envs" / key, version, lock)

    @property
    def python(self) -> Path:
        """The environment's interpreter."""
        return self.path / "bin" / "python"

    @property
    def ready(self) -> bool:
        """True once it is whole. False again if the interpreter that it builds on was removed."""
        return (self.path / MARKER).exists() and self.python.exists()

    def create(self, emit: Emit) -> None:
        """Make it unless it is there. Two callers at once: one makes it, the other waits.

        Raises `BundleError` where the Python is missing or a package cannot be had.
        """
        if self.ready and self._touch():
            return
        files.private(self.path.parent)
        with files.locked(self.lock_file) as lock:
            if not self.ready:
                self._make(emit, lock)

    @property
    def lock_file(self) -> Path:
        """Held by who makes it, or removes it."""
        return self.path.parent / f"{self.path.name}.lock"

    def _touch(self) -> bool:
        """Note that it is used, so that `gc` keeps it; False if that was just removing it."""
        with contextlib.suppress(OSError), files.locked(self.lock_file):
            os.utime(self.path / MARKER)
        return self.ready

    def _make(self, emit: Emit, lock: int) -> None:
        count = self.lock.count("\n") - self.lock.count("--hash")
        facts = {"path": str(self.path), "packages": count}
        with progress.step(emit, "environment", f"installing {count} packages", **facts) as told:
            shutil.rmtree(self.path, ignore_errors=True)
            try:
                self._install(lock)
            except BaseException:
                with contextlib.suppress(OSError):
                    shutil.rmtree(self.path)
                raise
            files.write_json(self.path / MARKER, {"python": self.version})
            told["message"] = f"installed {count} packages"

    def _install(self, held: int) -> None:
        # uv inherits the lock: if we are killed it goes on for a while, and nobody may begin anew meanwhile.
        uvtool.run(
            ["venv", "--quiet", "--no-project", "--python", interpreter(self.version), str(self.path)],
            doing=f"making an environment with Python {self.version}",
            keep=(held,),
        )
        lock = self.path / "requirements.lock"
        files.write_atomic(lock, self.lock.encode())
        uvtool.run(
            [
                *("pip", "sync", "--quiet", "--require-hashes", "--compile-bytecode"),
                *("--python", str(self.python), str(lock)),
            ],
            doing="installing the bundle's packages",
            cwd=self.path,
            keep=(held,),
        )


def interpreter(version: str) -> str:
    """An interpreter of that version on this machine. Raises `BundleError` saying how to get one."""
    if ".".join(str(part) for part in sys.version_info[: version.count(".") + 1]) == version:
        return str(Path(getattr(sys, "_base_executable", sys.executable)))
    try:
        found = uvtool.run(
            ["python", "find", "--no-project", "--system", version], doing="looking for Python"
        )
    except BundleError as error:
        raise BundleError(
            f"Python {version} is not on this machine; the bundle is locked for it",
            hint=f"install it ('{uvtool.binary()}' python install {version}), or set [build] python to "
            f"{sys.version_info.major}.{sys.version_info.minor}",
        ) from error
    return found.output.strip()


def exact_version(version: str) -> str:
    """The whole version of the interpreter that `interpreter` finds, e.g. ``3.11.7``.

    Where this machine has none, the newest that uv knows of; and the version as it is, if it knows none.
    """
    try:
        program = interpreter(version)
    except BundleError:
        return _newest(version)
    if program == str(Path(getattr(sys, "_base_executable", sys.executable))):
        return platform.python_version()
    code = "import platform; print(platform.python_version())"
    return shell.run([program, "-I", "-c", code], timeout=_ANSWERS_WITHIN).output.strip()


def _newest(version: str) -> str:
    import json

    known = []
    with contextlib.suppress(BundleError, ValueError):
        asked = ["python", "list", "--only-downloads", "--output-format", "json", version]
        known = json.loads(uvtool.run(asked, doing="looking for Python").output)
    return next((str(one["version"]) for one in known if one["implementation"] == "cpython"), version)


def main() -> None:
    """Make the environment of the bundle named on the command line; events as JSON lines."""
    import json  # only this form prints

    from modeldeploy.errors import ModelDeployError

    def tell(event: Event) -> None:
        line = {"kind": event.kind, "at": event.at, "message": event.message, "data": dict(event.data)}
        print(json.dumps(line), flush=True)  # noqa: T201  # stdout is this program's interface

    try:
        Environment.of(Path(sys.argv[1])).create(tell)
    except ModelDeployError as error:
        sys.exit(f"{error.message}\n{error.hint or ''}".strip())


if __name__ == "__main__":
    main()
