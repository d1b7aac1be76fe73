"""``modeldeploy.lock``: every package that a bundle runs on, pinned by version and by the hash of its files.

The project keeps it beside its project file and commits it. Its first line holds a digest of what it was
resolved from, the exact Python that it was resolved on, and the platforms for which every package is there
as a wheel. While the digest stays the same, the lock is used as it is and nothing is asked of the network.
One lock serves all platforms. No package index is named in it.
"""

from __future__ import annotations

import contextlib
import re
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from modeldeploy import files
from modeldeploy.bundle import environment, formats, frameworks, uvtool, wheels
from modeldeploy.bundle.manifest import canonical
from modeldeploy.bundle.recipe import Recipe
from modeldeploy.errors import BundleError
from modeldeploy.oci.descriptor import digest_of

FILENAME = "modeldeploy.lock"
_HEADER = "# Made by mdeploy; commit it, do not edit it. Resolved from"
_FIRST = re.compile(
    rf"^{re.escape(_HEADER)} (sha256:[0-9a-f]{{64}})"
    r"(?: on Python (3\.[0-9]+(?:\.[0-9]+[a-z0-9]*)?)(?: for ([a-z0-9/]+(?:, [a-z0-9/]+)*))?)?$"
)
_PIN = re.compile(r"^([A-Za-z0-9][A-Za-z0-9._-]*)(\[[^\]]*\])?\s*(==|@\s*https://)")
_HASH = re.compile(r"\s+--hash=sha256:[0-9a-f]{64}(\s*\\)?\s*")
_NAMED = re.compile(r"([A-Za-z0-9][A-Za-z0-9._-]*(?:\[[^\]]*\])?)\s*(?:==|@)\s*(.*)")
_SHA256 = re.compile(r"sha256:[0-9a-f]{64}")
_OPTION = re.compile(r"\s-")
_LARGEST = 20_000_000
"""Bytes. A thousand packages with all their hashes have some two million."""
_URL = re.compile(r"@\s*(\S+)")

BENTOML = "bentoml>=1.4.39,<1.5"
SERVING = (
    *(BENTOML, "httptools>=0.6.4,<1", "numpy>=1.26,<3", "orjson>=3.10,<4", "uvicorn>=0.34,<0.60"),
    'uvloop>=0.21,<1; sys_platform != "win32"',
)
"""What every bundle needs to be served; the project's own requirements come on top."""
ARROW = "pyarrow>=18,<27"


@dataclass(frozen=True, slots=True)
class Lock:
    """Pinned requirements as uv and pip read them, without comments. ``digest`` is of just this text."""

    text: str
    python: str = ""
    """The exact Python that it was resolved on, e.g. ``3.11.7``."""
    platforms: tuple[str, ...] = ()
    """Where every package is there as a wheel, e.g. ``linux/arm64``."""

    @property
    def digest(self) -> str:
        """``sha256:`` of the text."""
        return digest_of(self.text.encode())

    @property
    def count(self) -> int:
        """How many packages are pinned, over all platforms."""
        return sum(not line.startswith(" ") for line in self.text.splitlines())

    def version(self, package: str) -> str:
        """The version that a package is pinned to; "" for one that is not in it."""
        return next((pin.version for pin in pins(self.text) if pin.name == package), "")


@dataclass(frozen=True, slots=True)
class Pin:
    """One package of a lock. One that two platforms have in two versions is there twice."""

    name: str
    version: str
    """Or the address of its file."""
    marker: str
    """Where it is installed, e.g. ``sys_platform == 'linux'``; "" for everywhere."""
    hashes: frozenset[str]


def pins(text: str) -> tuple[Pin, ...]:
    """The packages of a lock's text, in its order."""
    found: list[tuple[str, str, str, set[str]]] = []
    for line in text.splitlines():
        if line.startswith(" ") and found:
            found[-1][3].update(_SHA256.findall(line))
        elif named := _NAMED.match(line):
            version, _, marker = named[2].rstrip(" \\").partition(" ; ")
            found.append((named[1].lower(), version.strip(), marker.strip(), set()))
    return tuple(Pin(name, version, marker, frozenset(hashes)) for name, version, marker, hashes in found)


def wanted(recipe: Recipe) -> tuple[str, ...]:
    """All requirements that the lock must meet: the project's, and what serving needs."""
    return tuple(sorted({*SERVING, *_frameworks(recipe), *_extras(recipe), *recipe.requirements}))


def _extras(recipe: Recipe) -> Iterator[str]:
    """What the protocols and the tracing run on that the project wants, and that most bundles do without."""
    if "grpc" in recipe.service.protocols:
        from modeldeploy.serving.protocols import grpc

        yield from grpc.REQUIREMENTS
    if "arrow" in recipe.service.protocols:
        yield ARROW
    if recipe.service.tracing:
        from modeldeploy.serving.observe import tracing

        yield from tracing.REQUIREMENTS


def _frameworks(recipe: Recipe) -> tuple[str, ...]:
    """What the models of a generated service run on. A model that cannot be read now counts as ONNX."""
    if recipe.entrypoint:
        return ()
    found, tables = set(), False
    for model in recipe.models:
        try:
            framework = formats.recognise(model.path, insisted=model.framework).framework
        except BundleError:
            framework = model.framework or frameworks.ONNX
        found.add(framework)
        tables |= framework == frameworks.SKLEARN and len({each.dtype for each in model.inputs}) > 1
    return frameworks.packages(sorted(found), recipe.requirements, tables=tables)


def present(recipe: Recipe) -> Lock | None:
    """The project's lock, if it was resolved from what the project asks for now.

    Raises `BundleError` for a file of that name which mdeploy did not write.
    """
    found = _read(recipe.root / FILENAME)
    return found[1] if found and found[0] == _inputs(recipe) else None


def latest(recipe: Recipe) -> Lock | None:
    """The project's lock, whether it fits or not; None where there is none. Raises as `present`."""
    found = _read(recipe.root / FILENAME)
    return found[1] if found else None


def _read(path: Path) -> tuple[str, Lock] | None:
    """The digest of what a lock was resolved from, and the lock; None where there is none."""
    try:
        head, _, body = files.read_small(path, _LARGEST, "lock").decode().partition("\n")
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise BundleError(
            f"cannot read {path}: {reason}", hint=f"restore it, or delete it: rm '{path}'"
        ) from error
    found = _FIRST.match(head)
    if not found:
        raise BundleError(
            f"{path}: its first line is not mdeploy's", hint=f"move it away: mv '{path}' '{path}.old'"
        )
    platforms = tuple(found[3].split(", ")) if found[3] else ()
    return found[1], Lock(_checked(path, body), found[2] or "", platforms)


def resolve(recipe: Recipe, *, upgrade: bool = False) -> Lock:
    """Resolve the requirements anew and write the lock. Versions that still fit stay, unless ``upgrade``.

    Raises `BundleError` for a package that does not exist or that a platform has no wheel of, requirements
    that contradict each other, no network, or a folder that cannot be written to.
    """
    _check_requirements(recipe.requirements)
    path = recipe.root / FILENAME
    text = _checked(path, _compiled(recipe, None if upgrade else path))
    wheels.insist(text, recipe.python, recipe.platforms)
    made = Lock(text, _exact_python(recipe, None if upgrade else path), recipe.platforms)
    _write(path, f"{_HEADER} {_inputs(recipe)}{_where(made)}\n{text}".encode())
    return made


def _where(lock: Lock) -> str:
    return f" on Python {lock.python}" + (f" for {', '.join(lock.platforms)}" if lock.platforms else "")


def _exact_python(recipe: Recipe, former: Path | None) -> str:
    """The Python of the former lock, while it is of the wanted version; else the one of this machine."""
    with contextlib.suppress(BundleError):
        known = _read(former) if former else None
        if known and known[1].python.startswith(f"{recipe.python}."):
            return known[1].python
    return environment.exact_version(recipe.python)


def _write(path: Path, content: bytes) -> None:
    try:
        files.write_atomic(path, content, mode=0o644)
    except OSError as error:
        raise BundleError(
            f"cannot write {path}: {error.strerror}",
            hint="make the folder writable, or build in a copy of it and bring modeldeploy.lock back",
        ) from error


def _inputs(recipe: Recipe) -> str:
    wants = {"python": recipe.python, "platforms": recipe.platforms, "requirements": wanted(recipe)}
    return digest_of(canonical({"format": 2, **wants}))


def _compiled(recipe: Recipe, former: Path | None) -> str:
    """The text that uv makes of the requirements; it keeps the versions of the former lock that fit."""
    with tempfile.TemporaryDirectory(prefix="mdeploy-lock-") as folder:
        output = Path(folder) / "lock.txt"
        if former and former.is_file():
            shutil.copyfile(former, output)
        arguments = [
            *("pip", "compile", "-", "--quiet", "--universal", "--generate-hashes"),
            *("--python-version", recipe.python, "--output-file", str(output)),
            *("--no-header", "--no-annotate", "--no-emit-index-url"),
        ]
        requirements = "\n".join(wanted(recipe)).encode()
        uvtool.run(arguments, doing="locking the requirements", cwd=Path(folder), stdin=requirements)
        return output.read_text()


def _checked(path: Path, text: str) -> str:
    """The lock's text, if every line of it is a pinned package, one of its hashes or a comment."""
    lines = [line for line in text.splitlines() if line.strip() and not line.lstrip().startswith("#")]
    for number, line in enumerate(lines):
        hashed = number > 0 and _HASH.fullmatch(line)
        if not hashed and (not _PIN.match(line) or _OPTION.search(line)):
            raise BundleError(
                f"{path}: a line is neither a pinned package nor a hash: {line.strip()[:80]!r}",
                hint="make the lock anew: mdeploy build --upgrade",
            )
    return "".join(f"{line}\n" for line in lines)


def _check_requirements(requirements: Sequence[str]) -> None:
    """Refuse what cannot be locked for other machines, or would carry an index or a secret along."""
    for requirement in requirements:
        text = requirement.strip()
        url = _URL.search(text)
        if text.startswith("-") or not text or "\n" in text:
            problem = "is an option, not a package"
        elif url and not url[1].startswith("https://"):
            problem = "names a place that other machines cannot fetch with a hash"
        elif url and uvtool.CREDENTIALS.search(url[1]):
            problem = "holds a password"
        else:
            continue
        raise BundleError(
            f"[build] requirements: {uvtool.CREDENTIALS.sub('://***@', text)[:120]!r} {problem}",
            hint="name packages as 'name>=version'; set an index by UV_INDEX or in uv's user configuration",
        )
