"""The Python of a Debian base, run in place on this machine: it compiles what goes into the image.

It is started by its own loader with its own libraries, so neither a chroot nor root is needed, and the
bytecode is that of exactly the interpreter that will read it.
"""

from __future__ import annotations

import platform
import re
import shutil
import tempfile
from pathlib import Path

from modeldeploy import files
from modeldeploy.errors import BundleError, ModelDeployError
from modeldeploy.image.base.compiler import Compiler, Source
from modeldeploy.image.base.tree import Tree
from modeldeploy.oci.descriptor import Platform

_ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64"}
_PYTHON = re.compile(r"usr/bin/(python3\.\d+)")
_LIBRARY = re.compile(r"usr/lib/(?:[^/]+-linux-gnu/)?([^/]+\.so[.\d]*)")


def here() -> Platform:
    """The platform whose programs this machine runs; its operating system may be another than Linux."""
    machine = platform.machine().lower()
    return Platform(platform.system().lower(), _ARCHITECTURES.get(machine, machine))


def path_in(tree: Tree) -> str:
    """Where Python is in a base, e.g. ``usr/bin/python3.11``. Raises `BundleError` without exactly one."""
    found = [path for path in tree.paths("usr/bin/python3.") if _PYTHON.fullmatch(path)]
    if len(found) != 1:
        raise BundleError(f"the base must have one Python 3, and has {', '.join(found) or 'none'}")
    return found[0]


def lay_out(tree: Tree, folder: Path) -> None:
    """Put the interpreter of a base, its standard library and its shared libraries into a new folder.

    Does nothing where the folder is there: it appears as a whole.
    """
    if folder.is_dir():
        return
    fresh = Path(tempfile.mkdtemp(dir=files.private(folder.parent), prefix=".new-"))
    try:
        for path, to in _needed(tree).items():
            (fresh / to).parent.mkdir(parents=True, exist_ok=True)
            (fresh / to).write_bytes(tree.read(path))
            (fresh / to).chmod(0o755)
        fresh.rename(folder)
    except OSError as error:
        if not folder.is_dir():  # or else somebody was faster
            raise files.disk_full(folder, error) or error from error
    finally:
        shutil.rmtree(fresh, ignore_errors=True)


def _needed(tree: Tree) -> dict[str, str]:
    """Paths in the base, and where they go: all shared libraries into one folder, by the names in use."""
    program = path_in(tree)
    standard_library = f"usr/lib/{program.rpartition('/')[2]}/"
    names = {path: path for path in (program, *tree.paths(standard_library, ".py"))}
    found = [(path, _LIBRARY.fullmatch(path)) for path in tree.paths("usr/lib/")]
    return names | {path: f"lib/{match[1]}" for path, match in found if match}


def in_folder(folder: Path) -> Compiler:
    """The interpreter that `lay_out` put there. Raises `BundleError` where it does not run here."""
    loader = next((folder / "lib").glob("ld-linux*"), None)
    program = next((folder / "usr/bin").glob("python3.*"), None)
    if not loader or not program:
        raise BundleError(f"{folder} holds no Python", hint=f"have it made again: rm -r '{folder}'")
    try:
        return Compiler.started_by([str(loader), "--library-path", str(folder / "lib"), str(program)])
    except ModelDeployError as error:
        raise BundleError(
            f"the Python of the base does not run on this machine: {error}", details=error.details
        ) from error


def add_bytecode(tree: Tree, compiler: Compiler, scratch: Path, origin: str) -> int:
    """Compile all Python of a base, beside its sources; returns how many files. ``scratch`` is empty."""
    paths = tree.files("usr/lib/python3", ".py")
    sources = [
        Source(scratch / f"{number}.py", f"/{path}", scratch / f"{number}.pyc")
        for number, path in enumerate(paths)
    ]
    for path, source in zip(paths, sources, strict=True):
        source.path.write_bytes(tree.read(path))
    compiler.compile(sources)
    made = [(path, source.to) for path, source in zip(paths, sources, strict=True) if source.to.exists()]
    for path, compiled in made:
        folder, _, name = path.rpartition("/")
        cached = f"{folder}/__pycache__/{name.removesuffix('.py')}.{compiler.tag}.pyc"
        tree.file(cached, compiled.read_bytes(), origin)
    return len(made)
