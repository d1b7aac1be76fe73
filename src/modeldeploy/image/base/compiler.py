"""The exact CPython that compiles ``.pyc`` files: another patch release writes other bytes here and there.

Compiled are unchecked-hash files (PEP 552): they hold no time, and Python does not look at their source. The
marks that marshal puts on strings tell what else the compiling process has seen: it has seen nothing.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from modeldeploy import shell
from modeldeploy.bundle import uvtool
from modeldeploy.errors import BundleError, ModelDeployError

_SECONDS = 900.0
_CHUNK = 250
"""Files per process: enough that starting it does not show."""
_ISOLATED = ("-I", "-S", "-B", "-W", "ignore")
_VERSION = "import sys; print('.'.join(map(str, sys.version_info[:3])))"

_SCRIPT = r"""
import sys, marshal, posix, _imp
frozen = sys.modules["_frozen_importlib_external"]
letters = [sys.intern(chr(code)) for code in range(256)]

def write(source, name, to):
    with open(source, "rb") as stream:
        text = stream.read()
    try:
        code = compile(text, name.decode("utf-8", "surrogateescape"), "exec", 0, True, 0)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return
    head = frozen.MAGIC_NUMBER + (1).to_bytes(4, "little")
    with open(to, "wb") as stream:
        stream.write(head + _imp.source_hash(frozen._RAW_MAGIC_NUMBER, text) + marshal.dumps(code))

left = sys.stdin.buffer.read().split(b"\0")[:-1]
while left:
    wanted = left[:3]
    del left[:3]
    child = posix.fork()
    if not child:
        failed = True
        try:
            write(*wanted)
            failed = False
        finally:
            posix._exit(failed)
    if posix.waitpid(child, 0)[1]:
        sys.exit(f"it ended while it compiled {wanted[0]}")
"""
"""One process per file: what was compiled before would show. So would letters that are interned or not.
The flag of 1 says that the file is named by the hash of its source, which is not to be looked at."""


@dataclass(frozen=True, slots=True)
class Source:
    """One file to compile."""

    path: Path
    """Where the source is now."""
    name: str
    """Where it will be in the image, for tracebacks: ``/opt/mdeploy/site-packages/numpy/__init__.py``."""
    to: Path
    """Where to put the bytecode; its folder exists."""


@dataclass(frozen=True, slots=True)
class Compiler:
    """A CPython on this machine, ready to compile."""

    version: str
    """Exact, such as ``3.11.2``."""
    argv: tuple[str, ...] = ()
    """Begins every command line."""
    prepare: Callable[[], Compiler] | None = None
    """Where ``argv`` is empty: gets the interpreter, once there is something to compile."""

    @classmethod
    def started_by(cls, argv: Sequence[str]) -> Compiler:
        """The interpreter that this command line starts, asked for its version. Raises `ToolFailed`."""
        told = shell.run([*argv, *_ISOLATED, "-c", _VERSION], timeout=60).output.strip()
        return cls(told, tuple(argv))

    @property
    def tag(self) -> str:
        """What its bytecode is called: ``cpython-311``."""
        return f"cpython-{''.join(self.version.split('.')[:2])}"

    def compile(self, sources: Iterable[Source]) -> None:
        """Write the bytecode of each source. One that is no Python of this version is left out.

        Raises `BundleError` where the interpreter itself fails.
        """
        wanted = list(sources)
        if not wanted:
            return
        ready = self if self.argv or not self.prepare else self.prepare()
        if ready.version != self.version:
            raise BundleError(
                f"bytecode is to be made by CPython {self.version}, and there is {ready.version}",
                hint="lock anew with what is here: mdeploy image --upgrade",
            )
        chunks = [wanted[start : start + _CHUNK] for start in range(0, len(wanted), _CHUNK)]
        with ThreadPoolExecutor(os.cpu_count() or 1) as pool:
            for done in [pool.submit(_compile, ready, chunk) for chunk in chunks]:
                done.result()


def _compile(compiler: Compiler, sources: Sequence[Source]) -> None:
    fields = [os.fsencode(field) for each in sources for field in (each.path, each.name, each.to)]
    stdin = b"".join(field + b"\0" for field in fields)
    try:
        shell.run([*compiler.argv, *_ISOLATED, "-c", _SCRIPT], stdin=stdin, timeout=_SECONDS)
    except shell.ToolFailed as error:
        raise BundleError(
            f"CPython {compiler.version} could not compile to bytecode: {error}", details=error.details
        ) from error


def installed(python: str) -> Compiler:
    """A CPython of this machine: of just that version, or of any patch release for ``3.11``.

    Raises `BundleError` where there is none.
    """
    asked = ["python", "find", "--no-project", f"cpython@{python}"]
    try:
        path = uvtool.run(asked, doing=f"looking for CPython {python}").output.strip()
        return Compiler.started_by([path])
    except ModelDeployError as error:
        raise BundleError(
            f"bytecode in the image is made by CPython {python}, which is not on this machine",
            hint=f"uv python install {python}, or lock anew with what is here: mdeploy image --upgrade",
        ) from error
